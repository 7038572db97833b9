"""Which workloads would scale which object: two autoscalers on one object stop each other."""

from collections.abc import Collection
from typing import NamedTuple

from recommender.cluster.pods import PodIndex, newest
from recommender.keys import WorkloadKey
from vgpu.naming import Owner


class ScaleTarget(NamedTuple):
    """An object that can be scaled; the version of its API group does not matter."""

    namespace: str
    group: str
    kind: str
    name: str


def scale_target(namespace: str, api_version: str, kind: str, name: str) -> ScaleTarget:
    """The scale target that a reference names."""
    return ScaleTarget(namespace, api_version.rpartition("/")[0], kind, name)


def target_of_root(namespace: str, root: Owner) -> ScaleTarget:
    """The scale target that a root controller is."""
    return scale_target(namespace, root.api_version, root.kind, root.name)


class Claims:
    """The workloads of every scale target.

    A root controller has several when its template has changed the workload's name. Then the workload of the
    newest live pod scales it: that pod is from the template that counts.

    Args:
        pods: the gated pods by workload.
    """

    def __init__(self, pods: PodIndex) -> None:
        self._pods = pods
        self._targets: dict[WorkloadKey, ScaleTarget] = {}
        # Nearly always there is one: then a tuple takes a quarter of a set.
        self._workloads: dict[ScaleTarget, tuple[WorkloadKey, ...]] = {}

    def of(self, target: ScaleTarget) -> Collection[WorkloadKey]:
        """The workloads that a target has."""
        return self._workloads.get(target, ())

    def claim(self, workload: WorkloadKey, target: ScaleTarget) -> None:
        """Take note of what a workload would scale."""
        if self._targets.get(workload) != target:
            self.forget(workload)
            self._targets[workload] = target
            self._workloads[target] = (*self.of(target), workload)

    def forget(self, workload: WorkloadKey) -> None:
        """Drop a workload that is no more, or that has nothing to scale."""
        target = self._targets.pop(workload, None)
        if target is not None:
            others = tuple(each for each in self._workloads.pop(target) if each != workload)
            if others:
                self._workloads[target] = others

    def winner(self, target: ScaleTarget) -> WorkloadKey:
        """The one of a target's workloads that may scale it; there must be one."""
        return max(self._workloads[target], key=self._precedence)

    def _precedence(self, workload: WorkloadKey) -> tuple[float, str, WorkloadKey]:
        pod = newest(self._pods.of(workload))
        return (pod.created, pod.pod.metadata.name, workload) if pod else (float("-inf"), "", workload)
