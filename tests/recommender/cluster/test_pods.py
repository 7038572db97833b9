"""Which pod's template counts while a Deployment has pods of several, and when a pod has ended."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from recommender.cluster.gated import GatedPod
from recommender.cluster.owners import OwnerLookup
from recommender.cluster.pods import PodIndex
from recommender.keys import WorkloadKey
from tests.support import builders
from tests.support.fake_kube import FakeKube
from tests.support.usage import tracked
from vgpu.kube.resources import REPLICA_SETS

REVISION = "deployment.kubernetes.io/revision"
WEB = WorkloadKey("default", "web")


class Rollout:
    """A Deployment with two ReplicaSets, `old` and `new`."""

    def __init__(self, kube: FakeKube, index: PodIndex) -> None:
        self.kube = kube
        self._index = index

    def stand_for(self, replica_set: str, revision: int) -> None:
        found = self.kube.get(REPLICA_SETS, "default", f"web-{replica_set}")
        found["metadata"]["annotations"] = {REVISION: str(revision)}
        self.kube.put(REPLICA_SETS, found)

    async def add_pod(self, replica_set: str, suffix: str, *, minute: int, **pod: Any) -> None:
        owner = self.kube.get(REPLICA_SETS, "default", f"web-{replica_set}")
        built = builders.pod(
            f"web-{replica_set}-{suffix}",
            owner=builders.owner_reference(owner),
            labels={"pod-template-hash": replica_set},
            **pod,
        )
        built["metadata"]["creationTimestamp"] = f"2026-01-01T00:{minute:02}:00Z"
        await self._index.track(builders.struct(built, GatedPod))

    async def deciding(self) -> str | None:
        found = await self._index.deciding(WEB)
        return found.pod.metadata.name if found else None

    def reads(self) -> int:
        return len(self.kube.requests)


@asynccontextmanager
async def rollout() -> AsyncIterator[Rollout]:
    async with FakeKube() as kube, kube.client() as client:
        there = Rollout(kube, PodIndex(OwnerLookup(client)))
        for revision, name in enumerate(("old", "new"), start=1):
            replica_set = builders.replica_set("web")
            replica_set["metadata"] |= {"name": f"web-{name}", "uid": f"uid-{name}"}
            kube.put(REPLICA_SETS, replica_set)
            there.stand_for(name, revision)
        yield there


async def test_in_a_rollout_the_pod_of_the_new_template_decides() -> None:
    async with rollout() as there:
        await there.add_pod("old", "a", minute=1)
        await there.add_pod("new", "a", minute=2)
        assert await there.deciding() == "web-new-a"


async def test_a_pod_that_the_old_replica_set_makes_anew_in_a_rollout_does_not_decide() -> None:
    async with rollout() as there:
        await there.add_pod("old", "a", minute=1)
        await there.add_pod("new", "a", minute=2)
        await there.add_pod("old", "b", minute=3)
        assert await there.deciding() == "web-new-a"


async def test_a_rollback_makes_the_old_template_the_latest() -> None:
    async with rollout() as there:
        await there.add_pod("old", "a", minute=1)
        await there.add_pod("new", "a", minute=2)
        assert await there.deciding() == "web-new-a"
        there.stand_for("old", 3)
        assert await there.deciding() == "web-old-a"


async def test_of_one_template_the_newest_pod_decides_and_nobody_is_asked() -> None:
    async with rollout() as there:
        await there.add_pod("old", "a", minute=1)
        await there.add_pod("old", "b", minute=2)
        before = there.reads()
        assert await there.deciding() == "web-old-b"
        assert there.reads() == before


async def test_the_new_template_decides_only_with_a_live_pod() -> None:
    async with rollout() as there:
        await there.add_pod("old", "a", minute=1)
        await there.add_pod("new", "a", minute=2, phase="Failed")
        assert await there.deciding() == "web-old-a"


async def test_a_replica_set_that_is_gone_is_not_the_latest() -> None:
    async with rollout() as there:
        await there.add_pod("old", "a", minute=1)
        await there.add_pod("new", "a", minute=2)
        there.kube.delete(REPLICA_SETS, "default", "web-new")
        assert await there.deciding() == "web-old-a"


async def test_without_pods_nothing_decides() -> None:
    async with rollout() as there:
        assert await there.deciding() is None


def test_a_pod_that_is_not_finished_has_no_end() -> None:
    assert tracked().ended == math.inf


def test_a_finished_pod_ended_with_its_last_container() -> None:
    ended = [
        tracked(phase=phase, finished_at="1970-01-01T00:01:40Z").ended for phase in ("Succeeded", "Failed")
    ]
    assert ended == [100, 100]


def test_of_a_finished_pod_that_does_not_say_when_it_ended_nothing_can_be_believed() -> None:
    assert tracked(phase="Failed").ended == -math.inf


async def test_a_pod_that_takes_over_a_name_is_known_as_such_and_stays_so() -> None:
    async with FakeKube() as kube, kube.client() as client:
        index = PodIndex(OwnerLookup(client))

        async def seen(name: str, uid: str) -> bool:
            built = builders.pod(name)
            built["metadata"]["uid"] = uid
            built["metadata"].setdefault("labels", {})["tensor-fusion.ai/workload"] = "web"
            tracked_pod = await index.track(builders.struct(built, GatedPod))
            assert tracked_pod is not None
            return tracked_pod.reused

        assert [await seen("web-0", uid) for uid in ("a", "a", "b", "b")] == [False, False, True, True]
        index.forget("default", "web-0")
        assert await seen("web-0", "c")
        assert not await seen("web-1", "d")
        index.forget("default", "web-1")
        assert not await seen("web-1", "d")


async def test_names_of_pods_that_are_gone_do_not_pile_up() -> None:
    async with FakeKube() as kube, kube.client() as client:
        index = PodIndex(OwnerLookup(client))
        for number in range(10_010):
            index._remember("default", f"web-{number}", "uid")
        assert len(index._gone) == 10_000
        assert ("default", "web-10009") in index._gone
