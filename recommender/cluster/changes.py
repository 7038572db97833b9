"""What has changed since the last pass, and a bell that rings for it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recommender.keys import WorkloadKey


@dataclass(slots=True)
class Batch:
    """What to look at.

    Attributes:
        pods: namespace and name of pods that came, changed or went.
        workloads: workloads that changed, or something that they depend on.
        estimates: workloads of which nothing changed but what usage says.
        news: workloads of which the watch has brought another version.
        deleted_workloads: workloads that somebody deleted, and the last status of each.
        deleted_hpas: HorizontalPodAutoscalers that somebody deleted.
        profiles: namespace and name of profiles that changed.
        everything: all workloads are to be looked at.
    """

    pods: set[tuple[str, str]] = field(default_factory=set)
    workloads: set[WorkloadKey] = field(default_factory=set)
    estimates: set[WorkloadKey] = field(default_factory=set)
    news: set[WorkloadKey] = field(default_factory=set)
    deleted_workloads: dict[WorkloadKey, Mapping[str, Any]] = field(default_factory=dict)
    deleted_hpas: set[WorkloadKey] = field(default_factory=set)
    profiles: set[tuple[str, str]] = field(default_factory=set)
    everything: bool = False


class Changes:
    """Collects changes until somebody takes them; bounded, since each object counts once."""

    def __init__(self) -> None:
        self._batch = Batch()
        self._bell = asyncio.Event()

    def waiting(self) -> int:
        """How many pods and workloads wait to be looked at, besides all of them."""
        return len(self._batch.pods) + len(self._batch.workloads | self._batch.estimates)

    def pod(self, namespace: str, name: str) -> None:
        """A pod came, changed or went."""
        self._batch.pods.add((namespace, name))
        self._bell.set()

    def workload(self, key: WorkloadKey) -> None:
        """A workload, or something that it depends on, changed."""
        self._batch.workloads.add(key)
        self._bell.set()

    def estimate(self, key: WorkloadKey) -> None:
        """Usage says something else about a workload than when it was last looked at."""
        self._batch.estimates.add(key)
        self._bell.set()

    def new_version(self, key: WorkloadKey) -> None:
        """The watch has brought another version of a workload."""
        self.new_status(key)
        self.workload(key)

    def new_status(self, key: WorkloadKey) -> None:
        """The watch has brought another status of a workload: no cause to look at it."""
        self._batch.news.add(key)

    def deleted_workload(self, key: WorkloadKey, status: Mapping[str, Any]) -> None:
        """A workload was deleted that had this status."""
        self._batch.deleted_workloads[key] = status
        self.new_version(key)

    def deleted_hpa(self, key: WorkloadKey) -> None:
        """A HorizontalPodAutoscaler was deleted."""
        self._batch.deleted_hpas.add(key)
        self._bell.set()

    def profile(self, namespace: str, name: str) -> None:
        """A profile came, changed or went."""
        self._batch.profiles.add((namespace, name))
        self._bell.set()

    def everything(self) -> None:
        """All workloads are to be looked at."""
        self._batch.everything = True
        self._bell.set()

    def take(self) -> Batch:
        """Everything collected so far, which then counts as taken in."""
        batch, self._batch = self._batch, Batch()
        self._bell.clear()
        return batch

    def take_news(self) -> set[WorkloadKey]:
        """The workloads of which the watch has brought another version; all else waits to be taken."""
        news, self._batch.news = self._batch.news, set()
        return news

    async def wait(self, seconds: float) -> bool:
        """Wait for a change, at most so long; whether there is one."""
        try:
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        except TimeoutError:
            return False
        return True
