"""Of two replicas one works, the other takes its place with all that was learned, and never do both write."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from devcluster.story import NotYet, until
from recommender.leadership.leases import lease_name
from tests.e2e.objects import PROFILED, QUICK, deployment, profile
from tests.e2e.trial import ALONE, GENERATION, LEADER, SAMPLES, Scene, now
from tests.support.altered_recommender import in_parts
from tests.support.kube_proxy import Hold, KubeProxy, KubeRequest
from vgpu.kube.objects import Lease
from vgpu.kube.resources import LEASES

APPS = ("one", "two")
FAILOVER = 20.0

# Without back-fill a history that was lost would stay lost.
STRICT = {"checkpoint-interval": "2s", "no-backfill": ""}
SHORT_LEASE = {"lease-duration": "6s", "lease-renew-deadline": "4s", "lease-retry": "1s"}


@dataclass(frozen=True, slots=True)
class Replica:
    """One of two recommenders, and what it says to kube-apiserver."""

    scene: Scene
    name: str
    proxy: KubeProxy

    async def begins_to_lead(self, *, timeout: float = 30.0) -> None:
        """Wait until it leads, and has read usage in that term."""
        await self.scene.metrics_when(
            lambda shown: shown.value(LEADER) == 1 and shown.value(SAMPLES, workload=APPS[0]) is not None,
            step=f"{self.name} to lead",
            name=self.name,
            timeout=timeout,
        )

    async def stands_by(self, *, timeout: float = 30.0) -> None:
        """Wait until it does not lead, and shows nothing of workloads."""
        await self.scene.metrics_when(
            lambda shown: shown.value(LEADER) == 0 and not shown.samples.get(SAMPLES),
            step=f"{self.name} to stand by",
            name=self.name,
            timeout=timeout,
        )
        assert await self.scene.is_ready(self.name)

    def claim(self) -> KubeRequest:
        """Its first write of the Lease."""
        return next(each for each in self.proxy.requests if each.writes and "/leases" in each.path)

    def looks_at_lease_since(self, at: float) -> int:
        """How often it has asked who holds the Lease."""
        return sum(
            each.method == "GET" and each.path.endswith(lease_name(ALONE)) and each.at > at
            for each in self.proxy.requests
        )


@asynccontextmanager
async def two_replicas(
    scene: Scene, folder: Path, settings: dict[str, str]
) -> AsyncIterator[tuple[Replica, Replica]]:
    """The first leads and has histories, the second stands by."""
    kubeconfig = scene.trial.cluster.kubeconfig
    async with KubeProxy(kubeconfig) as one, KubeProxy(kubeconfig) as other:
        first, second = Replica(scene, "first", one), Replica(scene, "second", other)
        for replica in (first, second):
            path = replica.proxy.write_kubeconfig(folder / replica.name)
            own = {**STRICT, **settings, "kubeconfig": str(path), "identity": replica.name}
            await scene.start(replica.name, settings=own, program=in_parts(3))
            if replica is first:
                await scene.reading("first")
        await scene.view.apply(
            profile("quick", QUICK), *(deployment(app, annotations=PROFILED) for app in APPS)
        )
        await first.begins_to_lead()
        await second.stands_by()
        generation = (await scene.metrics("first")).value(GENERATION) or 0
        await scene.metrics_when(
            lambda shown: (
                (shown.value(GENERATION) or 0) > generation
                and all(scene.samples(shown, app) >= 3 for app in APPS)
            ),
            step="a checkpoint of some samples",
            name="first",
        )
        yield first, second
        for replica in (first, second):
            if scene.trial.services.runs(replica.name):
                await scene.stop(replica.name)


async def lease(scene: Scene) -> Lease:
    """The Lease as kube-apiserver has it."""
    return await scene.trial.client.get(LEASES, lease_name(ALONE), namespace=scene.namespace, type=Lease)


async def require_held_by(scene: Scene, replica: Replica, *, transitions: int) -> None:
    """The Lease tells who leads, and how often that has changed."""
    spec = (await lease(scene)).spec
    assert (spec.holder_identity or "").startswith(f"{replica.name}_")
    assert spec.lease_transitions == transitions


def require_no_writes_beside(old: Replica, new: Replica) -> None:
    """Since the new one holds the Lease the old one has written nothing.

    It may have tried to renew the Lease, which kube-apiserver refuses by the version that it renews.
    """
    since = old.proxy.writes_since(new.claim().at)
    assert [each for each in since if "/leases" not in each.path] == []
    assert all(each.status == HTTPStatus.CONFLICT for each in since)


async def require_histories(scene: Scene, replica: Replica) -> None:
    """A replica has read up to the present, and its histories lack nothing and have nothing twice."""
    await scene.caught_up(now(), name=replica.name)
    await scene.stop(replica.name)
    _, snapshot = await scene.checkpoint()
    await scene.require_complete(snapshot, APPS)


async def test_when_the_leader_is_killed_the_other_goes_on_with_its_histories(
    scene: Scene, tmp_path: Path
) -> None:
    async with two_replicas(scene, tmp_path, {}) as (first, second):
        await scene.stop("first", kill=True)
        killed = time.monotonic()

        await second.begins_to_lead()

        assert second.claim().at - killed < FAILOVER
        await require_held_by(scene, second, transitions=1)
        require_no_writes_beside(first, second)
        await require_histories(scene, second)


async def test_a_leader_that_is_told_to_end_hands_over_at_once(scene: Scene, tmp_path: Path) -> None:
    async with two_replicas(scene, tmp_path, {}) as (first, second):
        begin = time.monotonic()
        await scene.stop("first")
        generation, _ = await scene.checkpoint()

        await second.begins_to_lead()

        # It would be 15 s if the Lease had to run out.
        assert second.claim().at - begin < 10
        await require_held_by(scene, second, transitions=1)
        require_no_writes_beside(first, second)
        last = [each for each in first.proxy.requests if each.writes and "/configmaps" in each.path][-1]
        assert begin < last.at < second.claim().at
        assert generation.number >= 2
        await require_histories(scene, second)


def is_part_1_of_a_checkpoint(request: KubeRequest) -> bool:
    """Whether a request writes the first of a checkpoint's parts: part 0 comes last."""
    return request.writes and "/configmaps" in request.path and request.name.endswith("-1")


async def reached(hold: Hold) -> bool | NotYet:
    """For `until`: whether a request is held."""
    return hold.reached.is_set() or NotYet("no such request")


async def test_a_leader_that_stood_still_for_longer_than_its_lease_writes_nothing_when_it_goes_on(
    scene: Scene, tmp_path: Path
) -> None:
    async with two_replicas(scene, tmp_path, SHORT_LEASE) as (first, second):
        # In mid-write of a checkpoint: part 1 is written, but the leader does not know yet.
        hold = first.proxy.hold(is_part_1_of_a_checkpoint, answered=True)
        await until("a checkpoint to be half written", lambda: reached(hold), timeout=20)
        scene.trial.services.freeze("first")
        await second.begins_to_lead()
        # Work for whoever takes himself for the leader: a workload to create, and statuses to write.
        await scene.view.apply(
            deployment("later", annotations=PROFILED),
            profile("quick", {"autoSetResources": {**QUICK["autoSetResources"], "minSamples": 4}}),
        )
        await scene.view.workload("later", lambda found: "conditions" in found.status)

        scene.trial.services.thaw("first")
        hold.let_go()
        thawed = time.monotonic()
        await first.stands_by()
        await scene.metrics_when(
            lambda _: first.looks_at_lease_since(thawed) >= 3, step="the first to wait", name="first"
        )

        require_no_writes_beside(first, second)
        await require_held_by(scene, second, transitions=1)
        await scene.stop("first")
        require_no_writes_beside(first, second)
        await require_histories(scene, second)
