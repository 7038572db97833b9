"""What the recommender tells Prometheus about itself and about every workload."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from recommender.estimators import Estimate
from recommender.keys import WorkloadKey
from vgpu.slices import Resource, VgpuSlice

_MILLI: Final = 1000
_PREFIX: Final = "vgpu_recommender"
_PASS_BUCKETS: Final = (0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
STAGES: Final = ("observe", "feed", "estimate", "decide", "publish")


class RecommenderMetrics:
    """All metrics of the service, in the registry given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"{_PREFIX}_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"{_PREFIX}_{name}", text, labels, registry=registry)

        workload = ("namespace", "workload", "resource", "kind")
        self.recommendation = gauge(
            "recommendation", "Recommended requests and limits, TFLOPS or bytes", *workload
        )
        self.estimate = gauge("estimate", "Target, lower and upper bound, TFLOPS or bytes", *workload)
        self.workloads = gauge("workloads", "TensorFusionWorkloads that are looked after")
        self.pods = gauge("pods", "Gated pods that belong to a workload")
        self.samples = counter("samples_total", "Usage samples read, by what became of them", "outcome")
        self.writes = counter("writes_total", "Writes to kube-apiserver", "object", "outcome")
        self.foreign_fields = counter(
            "foreign_fields_total", "Fields left as they are because somebody else owns them", "object"
        )
        self.workload_errors = counter("workload_errors_total", "Errors of one workload or pod", "stage")
        self.source_errors = counter("source_errors_total", "Failed polls of the metric source", "error")
        self.source_last_success = gauge(
            "source_last_success_timestamp_seconds", "When the metric source last answered in full"
        )
        self.source_cursor = gauge(
            "source_cursor_timestamp_seconds", "Time up to which usage has been read from the metric source"
        )
        self.clock_put_right = counter(
            "clock_put_right_total", "Times that the clock was found behind usage that had been read"
        )
        self.late_passes = counter("late_passes_total", "Passes that took longer than the interval")
        self._pass = Histogram(
            f"{_PREFIX}_pass_duration_seconds",
            "Duration of the stages of a pass",
            ("stage",),
            buckets=_PASS_BUCKETS,
            registry=registry,
        )
        for stage in STAGES:
            self._pass.labels(stage)

    def watch(self, *, workloads: Callable[[], int], pods: Callable[[], int]) -> None:
        """Have the numbers of workloads and pods counted whenever somebody asks."""
        self.workloads.set_function(workloads)
        self.pods.set_function(pods)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Measure one stage of a pass."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._pass.labels(stage).observe(time.perf_counter() - begin)

    def set_recommendation(self, key: WorkloadKey, recommendation: VgpuSlice | None) -> None:
        """Show a workload's recommendation, in TFLOPS and bytes."""
        for resource in Resource:
            for kind in ("requests", "limits"):
                amount = getattr(recommendation, kind).get(resource) if recommendation else None
                self._set(
                    self.recommendation, (*key, resource.value, kind.removesuffix("s")), resource, amount
                )

    def set_estimate(self, key: WorkloadKey, resource: Resource, estimate: Estimate | None) -> None:
        """Show what usage says of one resource of a workload, in TFLOPS or bytes; None shows nothing."""
        shown = (estimate.target, estimate.lower_bound, estimate.upper_bound) if estimate else (None,) * 3
        for kind, amount in zip(("target", "lower", "upper"), shown, strict=True):
            self._set(self.estimate, (*key, resource.value, kind), resource, amount)

    def forget(self, key: WorkloadKey) -> None:
        """Remove the series of a workload that is no more."""
        self.set_recommendation(key, None)
        for resource in Resource:
            self.set_estimate(key, resource, None)

    @staticmethod
    def _set(gauge: Gauge, labels: tuple[str, ...], resource: Resource, amount: float | None) -> None:
        if amount is None:
            # A series that was never there is removed without complaint.
            gauge.remove(*labels)
            return
        gauge.labels(*labels).set(amount / _MILLI if resource is Resource.TFLOPS else amount)
