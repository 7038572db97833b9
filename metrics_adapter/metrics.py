"""What the adapter tells Prometheus about itself."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from metrics_adapter.catalog import Metric
from metrics_adapter.samples import Drop
from metrics_adapter.table import Table
from vgpu.telemetry import REQUEST_BUCKETS

_PREFIX: Final = "vgpu_adapter"


class AdapterMetrics:
    """All metrics of the service, in the registry given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            f"{_PREFIX}_requests",
            "Requests answered; metric is empty for discovery and the like",
            ("verb", "metric", "code"),
            registry=registry,
        )
        self._latency = Histogram(
            f"{_PREFIX}_request_duration_seconds",
            "Time from the head of a request to its answer",
            ("verb", "metric"),
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self._table_time = Gauge(
            f"{_PREFIX}_table_timestamp_seconds",
            "When the source was asked for the table that is served, as seconds since the epoch",
            registry=registry,
        )
        self._table_age = Gauge(
            f"{_PREFIX}_table_age_seconds", "How old the table that is served is", registry=registry
        )
        self._table_size = Gauge(
            f"{_PREFIX}_table_values", "Values in the table by metric", ("metric",), registry=registry
        )
        self._drops = Gauge(
            f"{_PREFIX}_table_drops",
            "Series and pods left out of the table by reason",
            ("reason",),
            registry=registry,
        )
        self._source_errors = Counter(
            f"{_PREFIX}_source_errors", "Failed polls of the metric source", ("error",), registry=registry
        )
        self._poll = Histogram(
            f"{_PREFIX}_poll_duration_seconds",
            "Time of a poll: queries and making the table",
            registry=registry,
        )

        self._certificate_expiry = Gauge(
            f"{_PREFIX}_certificate_expiry_timestamp_seconds",
            "When the serving certificate ends, as seconds since the epoch",
            registry=registry,
        )

    def answered(self, *, verb: str, metric: str, code: int, seconds: float) -> None:
        """Count an answer."""
        self._requests.labels(verb, metric, code).inc()
        self._latency.labels(verb, metric).observe(seconds)

    def polled(self, table: Table, *, seconds: float) -> None:
        """Show the table that a poll has made."""
        self._poll.observe(seconds)
        self._table_time.set(table.time)
        sizes = table.sizes()
        for metric in Metric:
            self._table_size.labels(metric.value).set(sizes.get(metric.value, 0))
        for reason in Drop:
            self._drops.labels(reason.value).set(table.drops.get(reason, 0))

    def poll_failed(self, error: Exception) -> None:
        """Count a poll that failed."""
        self._source_errors.labels(type(error).__name__).inc()

    def watch_age(self, age: Callable[[], float]) -> None:
        """Show the age of the table, read at the time of the scrape."""
        self._table_age.set_function(age)

    def certificate_ends(self, at: datetime) -> None:
        """Show when the serving certificate ends."""
        self._certificate_expiry.set(at.timestamp())
