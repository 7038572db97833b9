"""What the webhook tells Prometheus about itself."""

from collections.abc import Callable, Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from vgpu.telemetry import REQUEST_BUCKETS


class WebhookMetrics:
    """The webhook's metrics, in a registry that is passed in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.admissions = Counter(
            "vgpu_webhook_admissions",
            "Admission reviews answered, by what was done and by the way the pod writes its slice",
            ["outcome", "dialect"],
            registry=registry,
        )
        self.refused = Counter(
            "vgpu_webhook_refused_requests",
            "HTTP requests that were not an admission review, by status code",
            ["code"],
            registry=registry,
        )
        self.latency = Histogram(
            "vgpu_webhook_admission_duration_seconds",
            "Time from the whole body of a review to its answer",
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self._cache_objects = Gauge(
            "vgpu_webhook_cache_objects", "Objects in a cache", ["resource"], registry=registry
        )
        self._certificate_expiry = Gauge(
            "vgpu_webhook_certificate_expiry_timestamp_seconds",
            "When the serving certificate ends, as seconds since the epoch",
            registry=registry,
        )

    def watch_caches(self, sizes: Mapping[str, Callable[[], float]]) -> None:
        """Show the size of each cache, read at the time of the scrape."""
        for resource, size in sizes.items():
            self._cache_objects.labels(resource=resource).set_function(size)

    def certificate_ends(self, at: datetime) -> None:
        """Show when the serving certificate ends."""
        self._certificate_expiry.set(at.timestamp())
