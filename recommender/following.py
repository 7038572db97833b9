"""Follows the gated pods: whose they are is looked up once, when they come."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

from recommender.cluster import Cluster
from recommender.failures import Failures, in_parallel
from recommender.keys import WorkloadKey
from recommender.pods import PodIndex


@dataclass(frozen=True, slots=True)
class Followed:
    """What has become of pods that came, changed or went.

    Attributes:
        touched: the workloads that they belong to, or did before.
        gone: UIDs of pods that are no more.
    """

    touched: set[WorkloadKey] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)


class PodFollower:
    """Keeps the index of pods current, while recommending and while standing by.

    Args:
        cluster: the local copy of the cluster.
        pods: the gated pods by workload; kept current here.
        failures: contains errors.
    """

    def __init__(self, *, cluster: Cluster, pods: PodIndex, failures: Failures) -> None:
        self._cluster = cluster
        self._pods = pods
        self._failures = failures

    async def follow(self, names: Iterable[tuple[str, str]]) -> Followed:
        """Take in the pods of these namespaces and names, as they are now."""
        followed = Followed()
        await in_parallel(partial(self._follow_one, followed=followed), names)
        return followed

    async def _follow_one(self, name: tuple[str, str], *, followed: Followed) -> None:
        before = self._pods.find(*name)
        pod = self._cluster.pods.get(*name)
        with self._failures.of_pod(*name):
            if pod is None:
                self._pods.forget(*name)
            else:
                await self._pods.track(pod)
        after = self._pods.find(*name)
        if before is not None and (after is None or after.uid != before.uid):
            followed.gone.add(before.uid)
        followed.touched.update(tracked.workload for tracked in (before, after) if tracked is not None)
