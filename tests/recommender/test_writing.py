"""What is written of workloads, how fast and in which order, also where kube-apiserver says no."""

import asyncio
from collections.abc import Iterator

from tests.support import builders
from tests.support.kube_http import Request
from tests.support.recommending import START, Rig, recommending
from tests.support.waiting import until
from vgpu.annotations import AUTO_REPLICAS
from vgpu.kube.resources import WORKLOADS

# From half past ten on: the rig begins at ten.
RULE = builders.cron_rule(start="30 10 * * *", end="40 10 * * *", desired={"tflopsRequest": "44"})
HALF_PAST, TWENTY_TO = START + 1800, START + 2400
TEAMS = [f"team-{number}" for number in range(5)]


async def crowd(rig: Rig, *names: tuple[str, str]) -> None:
    """Workloads by namespace and name, all with the same rule."""
    for namespace, name in names:
        config = {"cronScalingRules": [RULE]}
        rig.kube.put(WORKLOADS, builders.workload(name, namespace=namespace, auto_scaling_config=config))
    rig.engine.look_at_everything()
    await rig.settle()


def of_team(team: str, count: int) -> list[tuple[str, str]]:
    return [(team, f"web-{number}") for number in range(count)]


def rule_of(rig: Rig, namespace: str, name: str) -> str | None:
    status = rig.kube.get(WORKLOADS, namespace, name).get("status", {})
    rule: dict[str, str] = status.get("activeCronScalingRule") or {}
    return rule.get("name")


def written(rig: Rig, begin: int = 0) -> Iterator[tuple[str, str]]:
    """Of which workloads the status was written, from a number of writes on."""
    for request in rig.kube.writes()[begin:]:
        if request.path.endswith("/status"):
            yield _names(request)


def _names(request: Request) -> tuple[str, str]:
    *_, namespace, _, name, _ = request.path.split("/")
    return namespace, name


async def test_a_crowd_whose_rule_begins_holds_up_one_workload_by_one_turn() -> None:
    async with recommending() as rig:
        await crowd(rig, *of_team("crowd", 40), ("lonely", "web"))
        before = len(rig.kube.writes())
        rig.now = HALF_PAST
        await rig.engine.reconcile()
        assert rig.metric("unwritten_workloads") == 41
        for _ in range(2):
            await rig.engine.write_next()
        assert ("lonely", "web") in written(rig, before)


async def test_a_pass_writes_nothing_itself() -> None:
    async with recommending() as rig:
        await crowd(rig, *of_team("crowd", 5))
        before = len(rig.kube.writes())
        rig.now = HALF_PAST
        await rig.engine.reconcile()
        assert list(written(rig, before)) == []


async def test_what_is_out_of_date_before_its_turn_comes_is_never_written() -> None:
    async with recommending() as rig:
        await crowd(rig, *of_team("crowd", 5))
        before = len(rig.kube.writes())
        rig.now = HALF_PAST
        await rig.engine.reconcile()
        rig.now = TWENTY_TO
        await rig.reconcile()
        told = [rule_of(rig, *each) for each in of_team("crowd", 5)]
        assert told == [None] * 5
        assert len(list(written(rig, before))) <= 5


async def test_a_workload_that_goes_before_its_turn_is_forgotten() -> None:
    async with recommending() as rig:
        await crowd(rig, *of_team("crowd", 2))
        rig.now = HALF_PAST
        await rig.engine.reconcile()
        rig.kube.delete(WORKLOADS, "crowd", "web-0")
        await rig.settle()
        assert rig.metric("unwritten_workloads") == 0
        assert rule_of(rig, "crowd", "web-1") == RULE["name"]


async def test_many_namespaces_are_written_at_the_pace_that_is_set() -> None:
    async with recommending() as rig:
        names = [each for team in TEAMS for each in of_team(team, 6)]
        await crowd(rig, *names)
        before = len(rig.kube.writes())
        await rig.restart(save=False, status_writes_per_second=100)
        loop, times = asyncio.get_running_loop(), list[float]()
        rig.now = HALF_PAST
        await rig.engine.reconcile()
        while rig.engine.unwritten():
            await rig.engine.write_next()
            times.append(loop.time())
        assert {rule_of(rig, *each) for each in names} == {RULE["name"]}
        assert len(list(written(rig, before))) == len(names)
        # A burst of ten, and after it a hundred a second: a machine that is busy makes it slower only.
        assert times[-1] - times[0] >= (len(names) - 10 - 1) / 100


async def test_a_write_that_is_turned_away_comes_after_the_time_that_is_named() -> None:
    async with recommending() as rig:
        await crowd(rig, *of_team("crowd", 3))
        rig.now = HALF_PAST
        rig.kube.fail("/web-1/status$", code=429, method="PATCH", retry_after=1)
        await rig.settle()
        assert {rule_of(rig, *each) for each in of_team("crowd", 3)} == {RULE["name"]}
        assert rig.metric("workload_errors_total", stage="publish") == 0


async def test_a_writer_that_is_turned_away_does_not_stop_the_others() -> None:
    async with recommending() as rig, rig.leading():
        await until(lambda: rig.metric("unwritten_workloads") == 0)
        rig.kube.fail("/web-0/status$", code=429, method="PATCH", times=99, retry_after=30)
        for namespace, name in of_team("crowd", 3):
            config = {"cronScalingRules": [builders.cron_rule(start="0 0 * * *", end="59 23 * * *")]}
            rig.kube.put(WORKLOADS, builders.workload(name, namespace=namespace, auto_scaling_config=config))
        await until(lambda: all(rule_of(rig, *each) for each in of_team("crowd", 3)[1:]))
        assert rule_of(rig, "crowd", "web-0") is None


async def test_one_forbidden_resource_holds_up_nothing_else_and_heals_by_itself() -> None:
    async with recommending() as rig:
        rig.kube.fail("/horizontalpodautoscalers/", code=403, reason="Forbidden", method="PATCH", times=1)
        rig.deploy("web", annotations={AUTO_REPLICAS: "true"})
        rig.deploy("other")
        await rig.settle()
        condition = rig.condition(type_="HorizontalScaling")
        assert condition is not None
        assert condition["reason"] == "AutoscalerFailed"
        assert rig.condition() is not None
        assert rig.condition("other") is not None
        assert rig.metric("workload_errors_total", stage="publish") == 1
        rig.now += 5
        await rig.settle()
        condition = rig.condition(type_="HorizontalScaling")
        assert condition is not None
        assert condition["status"] == "True"


async def test_a_history_of_watches_that_is_gone_is_listed_anew_and_nothing_is_written_for_it() -> None:
    async with recommending() as rig:
        await crowd(rig, *of_team("crowd", 5))
        before = len(rig.kube.writes())
        rig.kube.compact()
        rig.kube.drop_watches()
        rig.kube.put(WORKLOADS, builders.workload("late", namespace="crowd"))
        await rig.settle()
        assert set(written(rig, before)) == {("crowd", "late")}
