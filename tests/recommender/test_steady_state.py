from typing import Any

import pytest

from recommender.keys import WorkloadKey, key_of
from recommender.publishing.reporting import Reporter
from tests.support import builders
from tests.support.recommending import Rig, recommending
from tests.support.waiting import until
from vgpu.annotations import AUTO_RESOURCES, AUTO_SCALE_TARGET_RESOURCE, WORKLOAD_PROFILE
from vgpu.kube.resources import NODES, PODS, PROFILES, WORKLOADS

PROFILED = {AUTO_RESOURCES: "true", AUTO_SCALE_TARGET_RESOURCE: "all", WORKLOAD_PROFILE: "quick"}
NAMES = [f"web-{number}" for number in range(12)]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[WorkloadKey]:
    """The workloads that were looked at, one after the other."""
    seen: list[WorkloadKey] = []
    compare = Reporter.compare

    def noted(self: Reporter, live: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(key_of(live.metadata))
        return compare(self, live, *args, **kwargs)

    monkeypatch.setattr(Reporter, "compare", noted)
    return seen


async def at_rest(rig: Rig, *names: str) -> None:
    """Workloads with a recommendation, whose usage goes on as it is."""
    config = {"autoSetResources": {"minSamples": 3, "confidenceInterval": "1s"}}
    rig.kube.put(PROFILES, builders.profile("quick", spec={"autoScalingConfig": config}))
    for name in names:
        rig.deploy(name, annotations=PROFILED)
    await rig.settle()
    for name in names:
        rig.use(name, tflops=30.0, vram=2e9, minutes=60)
    await rig.skip(minutes=5)
    await rig.pass_time(minutes=2)
    assert all("recommendation" in rig.status(name) for name in names)


async def test_workloads_whose_usage_goes_on_as_it_is_are_not_looked_at(looks: list[WorkloadKey]) -> None:
    async with recommending() as rig:
        await at_rest(rig, *NAMES)
        looks.clear()
        await rig.pass_time(minutes=5)
        assert looks == []


async def test_only_the_workload_that_usage_has_news_of_is_looked_at(looks: list[WorkloadKey]) -> None:
    async with recommending() as rig:
        await at_rest(rig, *NAMES)
        looks.clear()
        rig.prometheus.clear()
        for name in NAMES:
            rig.use(name, tflops=90.0 if name == NAMES[3] else 30.0, vram=2e9, minutes=5)
        await rig.pass_time(minutes=5)
        assert {key.name for key in looks} == {NAMES[3]}
        assert rig.status(NAMES[3])["estimation"] != rig.status(NAMES[0])["estimation"]


async def test_a_status_that_somebody_else_has_written_is_set_right_in_the_next_interval() -> None:
    async with recommending() as rig:
        await at_rest(rig, "web")
        before = rig.status()
        live = rig.kube.get(WORKLOADS, "default", "web")
        other = builders.slice_json(tflops_request="1", tflops_limit="2")
        live["status"] = {**before, "recommendation": other, "conditions": []}
        rig.kube.put(WORKLOADS, live)
        await rig.caught_up()
        await rig.pass_time(minutes=1)
        assert rig.status()["recommendation"] == before["recommendation"]
        assert rig.condition() is not None


async def test_an_estimation_that_drifts_is_written_once_an_hour() -> None:
    async with recommending(backfill=False) as rig:
        await at_rest(rig, "web")
        writes = 0
        for hour in range(3):
            rig.use("web", tflops=30.0, vram=2e9, minutes=60)
            before = rig.status()["estimation"]
            passed = rig.status_writes()
            for _ in range(6):
                await rig.skip(minutes=10)
            writes += rig.status_writes() - passed
            assert rig.status()["estimation"] != before, f"hour {hour}"
        assert writes == 3


async def test_a_status_that_could_not_be_written_is_written_later() -> None:
    async with recommending() as rig:
        rig.kube.fail(r"/status$", code=403, reason="Forbidden", method="PATCH")
        rig.deploy("web", annotations=PROFILED)
        await rig.settle()
        assert rig.metric("workload_errors_total", stage="publish") == 1
        assert rig.condition() is None
        rig.now += 5
        await rig.settle()
        assert rig.condition() is not None


async def test_a_new_card_has_everything_looked_at(looks: list[WorkloadKey]) -> None:
    async with recommending() as rig:
        await at_rest(rig, *NAMES)
        looks.clear()
        rig.kube.put(NODES, builders.node(product="Tesla-T4", memory_mib=15_360))
        await rig.settle()
        assert {key.name for key in looks} == set(NAMES)
        looks.clear()
        await rig.pass_time(minutes=2)
        await rig.pass_time(minutes=2)
        assert len(looks) <= len(NAMES)


async def test_a_pod_that_goes_has_its_workload_alone_looked_at(looks: list[WorkloadKey]) -> None:
    async with recommending() as rig:
        await at_rest(rig, *NAMES)
        looks.clear()
        rig.kube.delete(PODS, "default", f"{NAMES[0]}-{builders.TEMPLATE_HASH}-pod0")
        await rig.settle()
        assert {key.name for key in looks} == {NAMES[0]}


async def test_figures_of_estimates_are_kept_current_though_nothing_is_looked_at(
    looks: list[WorkloadKey],
) -> None:
    async with recommending(backfill=False) as rig:
        await at_rest(rig, "web")
        looks.clear()
        before = rig.figure("samples_total")
        await rig.pass_time(minutes=3)
        assert before is not None
        assert (rig.figure("samples_total"), looks) == (before + 3, [])


async def test_by_itself_it_sets_a_status_right_without_waiting_for_anything_else() -> None:
    async with recommending(interval=0.2, backfill=False) as rig:
        rig.deploy("web", annotations=PROFILED)
        await rig.settle()
        rig.run_clock(begin=rig.now)
        async with rig.leading():
            await until(lambda: len(rig.prometheus.requests) > 4)
            live = rig.kube.get(WORKLOADS, "default", "web")
            rig.kube.put(WORKLOADS, {**live, "status": {**live["status"], "conditions": []}})
            await until(lambda: rig.condition() is not None)
