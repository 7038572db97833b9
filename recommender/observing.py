"""Takes in what has changed in the cluster, and keeps the workloads in step with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recommender.cluster.changes import Changes
from recommender.cluster.failures import Failures, in_parallel
from recommender.cluster.following import PodFollower
from recommender.cluster.pods import PodIndex, TrackedPod
from recommender.cluster.view import Cluster
from recommender.errors import OwnerGone
from recommender.keys import WorkloadKey
from recommender.publishing.workloads import Keeper, profile_name
from vgpu.kube.objects import CustomObject


@dataclass(frozen=True, slots=True)
class Observed:
    """What a pass has to work on.

    Attributes:
        workloads: the workloads to look at, as they are known.
        missing: those of them that are not there, or not yet.
        retired: those of the missing ones that have no pods either.
        pods_gone: UIDs of pods that are no more, and whose usage is waited for no longer.
        left: the last status of each workload that somebody deleted while its pods run.
        deleted_hpas: HorizontalPodAutoscalers that somebody deleted.
    """

    workloads: tuple[CustomObject, ...]
    missing: frozenset[WorkloadKey]
    retired: frozenset[WorkloadKey]
    pods_gone: frozenset[str]
    left: Mapping[WorkloadKey, Mapping[str, Any]]
    deleted_hpas: frozenset[WorkloadKey]


class Observer:
    """Follows pods, workloads and profiles.

    Args:
        cluster: the local copy of the cluster.
        changes: what has changed since the last pass.
        pods: the gated pods by workload.
        follower: keeps them current.
        keeper: creates and changes workloads.
        failures: contains errors.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        changes: Changes,
        pods: PodIndex,
        follower: PodFollower,
        keeper: Keeper,
        failures: Failures,
    ) -> None:
        self._cluster = cluster
        self._changes = changes
        self._pods = pods
        self._follower = follower
        self._keeper = keeper
        self._failures = failures
        self._problems: dict[WorkloadKey, tuple[str, ...]] = {}

    async def observe(self) -> Observed:
        """Take in all changes since the last time."""
        batch = self._changes.take()
        for key in batch.deleted_workloads:
            self._keeper.forget(key)
        followed = await self._follower.follow(batch.pods)
        touched = batch.workloads | followed.touched | self._users_of(batch.profiles)
        if batch.everything:
            touched |= self._pods.workloads()
            touched |= set(self._cluster.own_workloads())
        await in_parallel(self._keep, touched)
        known = {key: self._cluster.workloads.get(*key) for key in touched | batch.estimates}
        missing = frozenset(key for key, live in known.items() if live is None)
        retired = frozenset(key for key in missing if not self._pods.of(key))
        for key in retired:
            self._forget(key)
        return Observed(
            workloads=tuple(live for live in known.values() if live is not None),
            missing=missing,
            retired=retired,
            pods_gone=frozenset(followed.gone),
            left={key: status for key, status in batch.deleted_workloads.items() if self._pods.of(key)},
            deleted_hpas=frozenset(batch.deleted_hpas),
        )

    def workloads(self) -> list[CustomObject]:
        """All workloads that there are, as they are known."""
        found = (self._cluster.workloads.get(*key) for key in self._cluster.own_workloads())
        return [live for live in found if live is not None]

    def workload(self, key: WorkloadKey) -> CustomObject | None:
        """A workload as it is known now; None where it is gone."""
        return self._cluster.workloads.get(*key)

    def problems(self, key: WorkloadKey) -> tuple[str, ...]:
        """What is wrong with the template or the profile of a workload."""
        return self._problems.get(key, ())

    def _forget(self, key: WorkloadKey) -> None:
        self._problems.pop(key, None)
        self._keeper.forget(key)
        self._failures.forget(key)

    def _users_of(self, profiles: set[tuple[str, str]]) -> set[WorkloadKey]:
        if not profiles:
            return set()
        return {pod.workload for pod in self._pods.values() if _profile_of(pod) in profiles}

    async def _keep(self, key: WorkloadKey) -> None:
        with self._failures.of_workload("observe", key):
            pod = await self._pods.deciding(key)
            if pod is None:
                return
            try:
                self._problems[key] = await self._keeper.keep(pod, self._cluster.workloads.get(*key))
            except OwnerGone:
                if not await self._found_other_roots(key):
                    raise

    async def _found_other_roots(self, key: WorkloadKey) -> bool:
        """Look up anew who owns a workload's pods: what their owner has left behind may have another one.

        Those that have are worked on in the next pass; returns whether there are any.
        """
        moved = False
        for pod in self._pods.of(key):
            found = await self._pods.track(pod.pod)
            if found is not None and (found.root, found.workload) != (pod.root, pod.workload):
                self._changes.workload(found.workload)
                moved = True
        return moved


def _profile_of(pod: TrackedPod) -> tuple[str, str]:
    return pod.workload.namespace, profile_name(pod) or ""
