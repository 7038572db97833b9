import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from recommender.bank.kernels import NumpyKernels
from recommender.engine import Engine
from recommender.keys import WorkloadKey
from recommender.leadership.shards import Shard
from recommender.main import Recommender
from recommender.rhythm import Timing
from recommender.settings import RecommenderSettings
from tests.support import builders
from tests.support.fake_kube import FakeKube
from tests.support.fake_prometheus import FakePrometheus
from tests.support.recommending import Rig
from tests.support.waiting import until
from vgpu.annotations import AUTO_REPLICAS, AUTO_RESOURCES, WORKLOAD
from vgpu.kube.resources import EVENTS, HPAS, LEASES, NAMESPACES, PODS, WORKLOADS, ResourceType
from vgpu.prometheus import PrometheusClient
from vgpu.usage_sources import TENSORFUSION

GATED = {AUTO_RESOURCES: "true"}
# A Lease that is given back is taken at the next try.
QUICK = {"lease_duration": 3, "lease_renew_deadline": 2, "lease_retry": 0.1}


class Replica:
    """A recommender that runs, as a process does."""

    def __init__(self, recommender: Recommender) -> None:
        self.recommender = recommender
        self.task = asyncio.create_task(recommender.run())

    @property
    def engine(self) -> Engine:
        assert self.recommender.term is not None, "it leads"
        return self.recommender.term.engine

    @property
    def leads(self) -> bool:
        return self.recommender.term is not None

    def metric(self, name: str, **labels: str) -> float | None:
        return self.recommender.registry.get_sample_value(f"vgpu_recommender_{name}", labels)

    async def stop(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


@asynccontextmanager
async def cluster() -> AsyncIterator[Rig]:
    """A rig on which nobody works yet."""
    async with FakeKube() as kube, FakePrometheus() as prometheus:
        kube.put(NAMESPACES, {"metadata": {"name": "vgpu-autoscaler"}})
        yield Rig(kube, prometheus)


@asynccontextmanager
async def replica(rig: Rig, **more: Any) -> AsyncIterator[Replica]:
    ports = {"ops_host": "127.0.0.1", "ops_port": 0}
    settings = RecommenderSettings(
        prometheus_url=rig.prometheus.url, **{"settle": 0, "backfill": False, **ports, **QUICK, **more}
    )
    async with rig.kube.client() as client, PrometheusClient(rig.prometheus.url) as source:
        started = Replica(
            Recommender(
                settings=settings,
                client=client,
                source=source,
                preset=TENSORFUSION,
                timing=Timing(interval=settings.interval, settle=settings.settle, clock=rig.clock),
                kernels=NumpyKernels(),
            )
        )
        try:
            yield started
        finally:
            if not started.task.done():
                await started.stop()


def lookups(rig: Rig) -> int:
    return sum("/replicasets/" in request.path for request in rig.kube.requests)


async def test_a_standby_is_ready_knows_the_pods_and_goes_on_from_the_leaders_checkpoint() -> None:
    async with cluster() as rig, replica(rig) as first:
        rig.deploy("web", annotations=GATED)
        rig.use("web", tflops=30.0, vram=2e9, minutes=10)
        await until(lambda: first.leads and rig.kube.find(WORKLOADS, "default", "web"))
        for _ in range(2):
            await first.engine.feed()
            rig.now += 10 * 60
        async with replica(rig) as second:
            await until(lambda: second.metric("pods") == 1)
            assert second.recommender.not_ready() == []
            assert not second.leads
            assert second.metric("leader") == 0
            rig.add_pod("web", "pod1", annotations=GATED)
            await until(lambda: second.metric("pods") == 2)
            asked = lookups(rig)
            await first.stop()
            await until(lambda: second.leads)
            await until(lambda: "vgpu_workload_samples_total{" in shown(second))
            assert 'samples_total{namespace="default",workload="web"} 10' in shown(second)
            assert lookups(rig) == asked


def shown(of: Replica) -> str:
    return b"".join(of.recommender.figures.exposition()).decode()


async def test_a_standby_tries_again_to_learn_whose_a_pod_is() -> None:
    async with cluster() as rig, replica(rig) as first:
        await until(lambda: first.leads)
        async with replica(rig) as second:
            await until(lambda: second.recommender.not_ready() == [])
            rig.kube.fail("/replicasets/", code=403, times=99)
            rig.deploy("web", annotations=GATED)
            await until(lambda: second.metric("workload_errors_total", stage="observe") == 1)
            rig.kube._faults.clear()
            rig.now += 10
            rig.add_pod("web", "pod1", annotations=GATED)
            await until(lambda: second.metric("pods") == 2)
            assert not second.leads


async def test_two_shards_share_all_workloads_and_none_twice() -> None:
    names = [f"web-{number}" for number in range(8)]
    async with (
        cluster() as rig,
        replica(rig, shard_count=2, shard_index=0) as first,
        replica(rig, shard_count=2, shard_index=1) as second,
    ):
        for name in names:
            rig.deploy(name, annotations=GATED)
        await until(lambda: len(rig.kube.objects(WORKLOADS)) == len(names))
        await until(lambda: all(rig.condition(name) for name in names))
        counts = [first.metric("workloads"), second.metric("workloads")]
        assert sum(count or 0 for count in counts) == len(names)
        assert all(counts)
        written = [
            request.path.split("/")[-2] for request in rig.kube.writes() if request.path.endswith("/status")
        ]
        assert sorted(written) == names
        for name in names:
            rig.kube.delete(PODS, "default", f"{name}-{builders.TEMPLATE_HASH}-pod0")
            rig.kube.delete(WORKLOADS, "default", name)
        for one in (first, second):
            await until(partial(empty, one))
        held = {lease["metadata"]["name"] for lease in rig.kube.objects(LEASES)}
        assert held == {"vgpu-recommender-0-of-2", "vgpu-recommender-1-of-2"}


def empty(one: Replica) -> bool:
    return (one.metric("workloads"), one.metric("pods")) == (0, 0)


@pytest.mark.parametrize("index", [0, 1])
async def test_a_shard_takes_no_notice_of_others_workloads(index: int) -> None:
    names = [f"web-{number}" for number in range(8)]
    mine, others = ([name for name in names if of_shard(name, index) is own] for own in (True, False))
    async with cluster() as rig, replica(rig, shard_count=2, shard_index=index) as only:
        for name in names:
            rig.deploy(name, annotations={**GATED, AUTO_REPLICAS: "true"})
        await until(lambda: named(rig, HPAS) == {f"vgpu-{name}" for name in mine})
        await until(lambda: all(rig.condition(name) for name in mine))
        assert named(rig, WORKLOADS) == set(mine)
        before = len(rig.kube.writes())
        rig.kube.put(WORKLOADS, builders.workload(others[0]))
        rig.kube.put(HPAS, builders.horizontal_pod_autoscaler(others[0]))
        rig.kube.delete(WORKLOADS, "default", others[0])
        rig.kube.delete(HPAS, "default", others[0])
        rig.kube.delete(PODS, "default", f"{others[0]}-{builders.TEMPLATE_HASH}-pod0")
        rig.deploy(last := next(name for name in map(str, range(100)) if of_shard(name, index)))
        await until(lambda: only.metric("pods") == len(mine) + 1)
        written = {request.path.split("/")[-1] for request in rig.kube.writes()[before:]}
        assert written - {last, "status", "events", f"vgpu-recommender-{index}-of-2"} == set()
        assert {event["regarding"]["name"] for event in rig.kube.objects(EVENTS)} <= {*mine, last}
        assert only.metric("workloads") in (len(mine), len(mine) + 1)


def of_shard(name: str, index: int) -> bool:
    return Shard(index, 2).owns(WorkloadKey("default", name))


def named(rig: Rig, resource: ResourceType) -> set[str]:
    return {each["metadata"]["name"] for each in rig.kube.objects(resource)}


@pytest.mark.parametrize("replicas", [1, 0])
async def test_workloads_of_one_deployment_in_two_shards_do_not_quarrel_about_it(replicas: int) -> None:
    old, new = (next(name for name in map(str, range(100)) if of_shard(name, index)) for index in (0, 1))
    async with (
        cluster() as rig,
        replica(rig, shard_count=2, shard_index=0) as first,
        replica(rig, shard_count=2, shard_index=1) as second,
    ):
        rig.deploy("web", annotations={AUTO_REPLICAS: "true", WORKLOAD: old})
        await until(lambda: named(rig, HPAS) == {f"vgpu-{old}"})
        rig.add_pod("web", "pod1", annotations={AUTO_REPLICAS: "true", WORKLOAD: new})
        await until(lambda: named(rig, HPAS) == {f"vgpu-{new}"})
        await until(lambda: scaling(rig, old) == "AnotherWorkload")
        if not replicas:
            for each in rig.kube.objects(PODS):
                rig.kube.delete(PODS, "default", each["metadata"]["name"])
        await until(lambda: first.metric("pods") == second.metric("pods") == replicas)
        await until(lambda: len(named(rig, HPAS)) == 1)
        before = hpa_writes(rig)
        for _ in range(5):
            for one in (first, second):
                one.engine.look_at_everything()
                await one.engine.reconcile()
        await until(lambda: first.metric("unwritten_workloads") == second.metric("unwritten_workloads") == 0)
        assert hpa_writes(rig)[len(before) :] == []


def scaling(rig: Rig, workload: str) -> str | None:
    condition = rig.condition(workload, "HorizontalScaling")
    return condition["reason"] if condition is not None else None


def hpa_writes(rig: Rig) -> list[str]:
    return [
        f"{request.method} {request.path}"
        for request in rig.kube.writes()
        if "horizontalpodautoscalers" in request.path
    ]
