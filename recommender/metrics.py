"""What the recommender tells Prometheus about itself; `recommender.figures.table` tells of the workloads."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from vgpu.telemetry import LateGauge

_PREFIX: Final = "vgpu_recommender"
_PASS_BUCKETS: Final = (0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_SCALER_BUCKETS: Final = (0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
STAGES: Final = ("observe", "feed", "estimate", "decide", "compare", "publish")
"""What a pass does to workloads."""
_TIMED: Final = (*STAGES, "checkpoint", "backfill")


class RecommenderMetrics:
    """All metrics of the service itself, in the registry given.

    Args:
        registry: where they are shown.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._work()
        self._source()
        self._checkpoints()
        self._leadership()
        self._external_scalers()

    def watch(
        self, *, workloads: Callable[[], int], pods: Callable[[], int], queue: Callable[[], int]
    ) -> None:
        """Have the numbers of workloads and pods, and of those that wait, counted whenever somebody asks."""
        self.workloads.set_function(workloads)
        self.pods.set_function(pods)
        self.queue.set_function(queue)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Measure one stage of a pass."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._pass.labels(stage).observe(time.perf_counter() - begin)

    def end_term(self) -> None:
        """Show nothing any more that only a leader knows."""
        self.backfill_pending.set_function(lambda: 0)
        self.unwritten.set_function(lambda: 0)
        self.updates_held.clear()
        for known in (
            self.source_last_success,
            self.source_cursor,
            self.checkpoint_time,
            self.checkpoint_size,
            self.checkpoint_duration,
            self.checkpoint_generation,
        ):
            known.clear()

    def _work(self) -> None:
        self.workloads = self._gauge("workloads", "TensorFusionWorkloads that are looked after")
        self.pods = self._gauge("pods", "Gated pods that belong to a workload")
        self.queue = self._gauge("queue_length", "Pods and workloads that wait to be looked at")
        self.writes = self._counter("writes", "Writes to kube-apiserver", "object", "outcome")
        self.unwritten = self._gauge(
            "unwritten_workloads", "Workloads of which something waits to be written"
        )
        self.foreign_fields = self._counter(
            "foreign_fields", "Fields left as they are because somebody else owns them", "object"
        )
        self.events = self._counter(
            "events", "What was to be told as Kubernetes Events, by what became of it", "outcome"
        )
        self.evictions = self._counter(
            "evictions", "Pods that were to be made anew, by what became of it", "outcome"
        )
        self.updates_held = Gauge(
            f"{_PREFIX}_updates_held",
            "Workloads with running pods that should be made anew and are not now",
            ("reason",),
            registry=self._registry,
        )
        self.workload_errors = self._counter("workload_errors", "Errors of one workload or pod", "stage")
        self.late_passes = self._counter("late_passes", "Passes that took longer than the interval")
        self._pass = Histogram(
            f"{_PREFIX}_pass_duration_seconds",
            "Duration of the stages of a pass",
            ("stage",),
            buckets=_PASS_BUCKETS,
            registry=self._registry,
        )
        for stage in _TIMED:
            self._pass.labels(stage)
        for stage in STAGES:
            self.workload_errors.labels(stage)

    def _source(self) -> None:
        self.samples = self._counter("samples", "Usage samples read, by what became of them", "outcome")
        self.unfed_samples = self._counter(
            "unfed_samples", "Samples that were taken, but that no histogram took", "reason"
        )
        self.source_errors = self._counter("source_errors", "Failed polls of the metric source", "error")
        self.source_last_success = self._late_gauge(
            "source_last_success_timestamp_seconds", "When the metric source last answered in full"
        )
        self.source_cursor = self._late_gauge(
            "source_cursor_timestamp_seconds", "Time up to which usage has been read from the metric source"
        )
        self.clock_put_right = self._counter(
            "clock_put_right", "Times that the clock was found behind usage that had been read"
        )
        self.backfill_chunks = self._counter(
            "backfill_chunks",
            "Stretches of the past that were asked for on behalf of new workloads",
            "outcome",
        )
        self.backfill_pending = self._gauge(
            "backfill_pending_workloads", "Workloads of which the past is still to be read"
        )

    def _checkpoints(self) -> None:
        self.checkpoint_time = self._late_gauge(
            "checkpoint_timestamp_seconds",
            "When the histories were last saved in full, in this term or before it",
        )
        self.checkpoint_size = self._late_gauge("checkpoint_size_bytes", "Size of that checkpoint as stored")
        self.checkpoint_duration = self._late_gauge(
            "checkpoint_duration_seconds", "How long it took to save that checkpoint"
        )
        self.checkpoint_generation = self._late_gauge(
            "checkpoint_generation", "Number of that checkpoint; each has the next one"
        )
        self.checkpoint_failures = self._counter(
            "checkpoint_failures", "Checkpoints that could not be saved or read", "reason"
        )

    def _leadership(self) -> None:
        self.leader = self._gauge("leader", "Whether this replica holds its Lease and works: 1, else 0")
        self.leader_transitions = self._counter(
            "leader_transitions", "Times that this replica has become the leader"
        )
        self.lease_failures = self._counter(
            "lease_failures", "Times that the Lease could not be read or renewed"
        )

    def _external_scalers(self) -> None:
        self.external_scaler_requests = self._counter(
            "external_scaler_requests", "Times that an external scaler was to be asked", "outcome"
        )
        self.external_scaler_duration = Histogram(
            f"{_PREFIX}_external_scaler_duration_seconds",
            "How long it took to ask an external scaler",
            buckets=_SCALER_BUCKETS,
            registry=self._registry,
        )

    def external_scaler_asked(self, outcome: str, seconds: float) -> None:
        """Count an external scaler that was asked, or could not be.

        Args:
            outcome: the reason that the condition ExternalScalerAvailable gets.
            seconds: how long it took.
        """
        self.external_scaler_requests.labels(outcome).inc()
        self.external_scaler_duration.observe(seconds)

    def checkpoint_loaded(self, *, written: float) -> None:
        """Show when what is gone on from was saved: what came since is lost until the next is complete."""
        self.checkpoint_time.set(written)

    def checkpoint_saved(self, *, size: int, seconds: float, generation: int, now: float) -> None:
        """Show a checkpoint that is complete.

        Args:
            size: bytes that are stored.
            seconds: how long it took.
            generation: its number.
            now: seconds since the epoch.
        """
        self.checkpoint_size.set(size)
        self.checkpoint_duration.set(seconds)
        self.checkpoint_generation.set(generation)
        self.checkpoint_time.set(now)

    def checkpoint_failed(self, reason: str) -> None:
        """Count a checkpoint that could not be saved, or is there and cannot be used."""
        self.checkpoint_failures.labels(reason).inc()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", text, registry=self._registry)

    def _late_gauge(self, name: str, text: str) -> LateGauge:
        return LateGauge(f"{_PREFIX}_{name}", text, registry=self._registry)
