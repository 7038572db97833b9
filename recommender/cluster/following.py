"""Follows the gated pods: whose they are is looked up once, when they come."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from recommender.cluster.changes import Changes
from recommender.cluster.claims import Claims
from recommender.cluster.failures import Failures, in_parallel
from recommender.cluster.known_pods import KnownPods
from recommender.cluster.pods import PodIndex, TrackedPod
from recommender.cluster.view import Cluster
from recommender.keys import WorkloadKey

# What has failed is tried again when it is due, and a change is followed at once.
_LONGEST_WAIT: Final = 60.0
_SHORTEST_WAIT: Final = 0.2
# A term seldom begins further back: usage of pods that ended before is left out.
_LONGEST_GAP: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Followed:
    """What has become of pods that came, changed or went.

    Attributes:
        touched: the workloads that they belong to, or did before.
        gone: UIDs of pods that are no more, and whose usage is waited for no longer.
    """

    touched: set[WorkloadKey] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)


class PodFollower:
    """Keeps the index of pods current, while recommending and while standing by.

    Args:
        cluster: the local copy of the cluster.
        pods: the gated pods by workload; kept current here.
        known: is told of pods that go.
        failures: contains errors.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        pods: PodIndex,
        known: KnownPods,
        failures: Failures,
        clock: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._pods = pods
        self._known = known
        self._failures = failures
        self._clock = clock

    async def follow(self, names: Iterable[tuple[str, str]]) -> Followed:
        """Take in the pods of these namespaces and names, as they are now."""
        followed, names = Followed(), tuple(names)
        there = (pod for name in names if (pod := self._cluster.pods.get(*name)) is not None)
        async with self._pods.expecting(there):
            await in_parallel(partial(self._follow_one, followed=followed), names)
        return followed

    async def _follow_one(self, name: tuple[str, str], *, followed: Followed) -> None:
        before = self._pods.find(*name)
        pod = self._cluster.pods.get(*name)
        left = pod is None or (before is not None and before.uid != pod.metadata.uid)
        if left:
            # At once: to find out whose a namesake is may take long, and its usage is not its predecessor's.
            self._went(before, followed)
            self._pods.forget(*name)
        with self._failures.of_pod(*name):
            if pod is not None:
                await self._pods.track(pod)
        after = self._pods.find(*name)
        if after is not None:
            self._known.came(after)
        elif not left:
            self._went(before, followed)
        followed.touched.update(tracked.workload for tracked in (before, after) if tracked is not None)

    def _went(self, pod: TrackedPod | None, followed: Followed) -> None:
        # Before the index forgets it: another thread is to find it all the time.
        if pod is not None:
            followed.gone.update(self._known.went(pod, self._clock()))


class Standby:
    """Keeps up with the cluster while nobody recommends here, so that a term can begin at once.

    Pods are followed. All else needs no note: a term begins with a look at everything.

    Args:
        cluster: the local copy of the cluster.
        changes: what has changed in it.
        follower: keeps the pods current.
        pods: those that it knows.
        known: those whose usage may still come.
        claims: knows which workload scales what.
        failures: contains errors.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        changes: Changes,
        follower: PodFollower,
        pods: PodIndex,
        known: KnownPods,
        claims: Claims,
        failures: Failures,
        clock: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._changes = changes
        self._follower = follower
        self._pods = pods
        self._known = known
        self._claims = claims
        self._failures = failures
        self._clock = clock

    async def keep_up(self) -> None:
        """Take in what has changed since the last time."""
        self._failures.retry_due()
        batch = self._changes.take()
        for key in batch.deleted_workloads:
            self._claims.forget(key)
            self._failures.forget(key)
        await self._follower.follow(batch.pods)
        self._known.read(self._clock() - _LONGEST_GAP)

    async def wait(self) -> None:
        """Wait until there is something to take in."""
        await self._changes.wait(max(_SHORTEST_WAIT, min(self._failures.wait(), _LONGEST_WAIT)))

    def doubt(self) -> None:
        """Have all pods followed anew: a pass that was broken off may have left out what it had taken on."""
        for pod in self._cluster.pods.values():
            self._changes.pod(pod.metadata.namespace, pod.metadata.name)
        for tracked in self._pods.values():
            self._changes.pod(tracked.pod.metadata.namespace, tracked.pod.metadata.name)
