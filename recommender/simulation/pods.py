"""The pods of a simulation; a pod's name is as good as its UID here."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from recommender.bank.buckets import FloatArray, IndexArray
from recommender.cluster.gated import GatedMeta, GatedPod
from recommender.cluster.pods import TrackedPod
from recommender.keys import WorkloadKey
from recommender.simulation.measurements import Measurements
from vgpu.naming import Owner


class SimulatedPods:
    """The same pods for each of several workloads, made when they are first asked for.

    Args:
        measurements: the usage; a pod is gone after its latest sample.
        keys: the workloads.
    """

    def __init__(self, measurements: Measurements, keys: Sequence[WorkloadKey]) -> None:
        self._names = measurements.pods
        self._owners = tuple((key, Owner("apps/v1", "Deployment", key.name, key.name)) for key in keys)
        self._made: dict[int, TrackedPod] = {}
        self._last = _latest_samples(measurements)
        self._leaving = np.argsort(self._last, kind="stable")
        self._left = 0

    def number(self, workloads: IndexArray, of: IndexArray) -> IndexArray:
        """A number for each pair of a workload and a pod, both by their positions, shape (n,)."""
        return workloads * len(self._names) + of

    def named(self, numbers: IndexArray) -> tuple[TrackedPod, ...]:
        """The pods of such numbers."""
        return tuple(self._pod(number) for number in numbers.tolist())

    def gone(self, now: float) -> Iterator[str]:
        """UIDs of the pods whose latest sample has come by a time; each is told once, and dropped."""
        until = int(np.searchsorted(self._last[self._leaving], now, side="right"))
        for of in self._leaving[self._left : until].tolist():
            for workload in range(len(self._owners)):
                pod = self._made.pop(workload * len(self._names) + of, None)
                if pod is not None:
                    yield pod.uid
        self._left = until

    def _pod(self, number: int) -> TrackedPod:
        if number not in self._made:
            workload, of = divmod(number, len(self._names))
            (key, owner), name = self._owners[workload], self._names[of]
            metadata = GatedMeta(name=name, namespace=key.namespace, uid=f"{key.name}/{name}")
            pod = GatedPod(metadata=metadata)
            self._made[number] = TrackedPod(pod=pod, workload=key, root=owner, created=-math.inf)
        return self._made[number]


def _latest_samples(measurements: Measurements) -> FloatArray:
    """Time of each pod's latest sample, minus infinity without any, shape (pods,)."""
    latest = np.full(len(measurements.pods), -np.inf)
    for measured in measurements.resources.values():
        np.maximum.at(latest, measured.of, measured.times)
    return latest
