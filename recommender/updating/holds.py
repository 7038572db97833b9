"""Counts the workloads whose pods should be made anew and are not, by reason."""

from recommender.keys import WorkloadKey
from recommender.metrics import RecommenderMetrics
from recommender.updating.reasons import Reason


class Holds:
    """Keeps the gauge of held workloads in step.

    Args:
        metrics: shows them.
    """

    def __init__(self, metrics: RecommenderMetrics) -> None:
        self._held: dict[WorkloadKey, Reason] = {}
        self._gauge = metrics.updates_held
        for reason in Reason:
            self._gauge.labels(reason).set(0)

    def hold(self, key: WorkloadKey, reason: Reason) -> None:
        """A workload waits, for this reason alone."""
        self.settle(key)
        self._held[key] = reason
        self._gauge.labels(reason).inc()

    def settle(self, key: WorkloadKey) -> None:
        """A workload waits no longer."""
        reason = self._held.pop(key, None)
        if reason is not None:
            self._gauge.labels(reason).dec()
