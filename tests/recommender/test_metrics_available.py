"""The condition MetricsAvailable, from usage that ceases to the status."""

import asyncio
from typing import Any

import pytest
from pydantic import ValidationError

from recommender.settings import RecommenderSettings
from tests.support import builders
from tests.support.recommending import Rig, recommending
from tests.support.waiting import until
from vgpu.annotations import AUTO_RESOURCES, AUTO_SCALE_TARGET_RESOURCE, WORKLOAD_PROFILE
from vgpu.kube.resources import EVENTS, PODS, PROFILES

PROFILED = {AUTO_RESOURCES: "true", AUTO_SCALE_TARGET_RESOURCE: "all", WORKLOAD_PROFILE: "quick"}


def found(rig: Rig, name: str = "web") -> tuple[str, str] | None:
    condition = rig.condition(name, "MetricsAvailable")
    return None if condition is None else (condition["status"], condition["reason"])


def writes_of(rig: Rig, name: str) -> int:
    return sum(request.path.endswith(f"/{name}/status") for request in rig.kube.writes())


def deploy(rig: Rig, name: str = "web", **more: Any) -> None:
    config = {"autoSetResources": {"minSamples": 3, "confidenceInterval": "1s"}}
    rig.kube.put(PROFILES, builders.profile("quick", spec={"autoScalingConfig": config}))
    rig.deploy(name, annotations=PROFILED, **more)


def use(rig: Rig, minutes: int, name: str = "web") -> None:
    rig.use(name, tflops=30.0, vram=2e9, minutes=minutes)


def set_phase(rig: Rig, phase: str) -> None:
    for pod in rig.kube.objects(PODS):
        rig.kube.put(PODS, {**pod, "status": {**pod["status"], "phase": phase}})


def events(rig: Rig) -> set[tuple[str, str]]:
    return {(event["reason"], event["type"]) for event in rig.kube.objects(EVENTS)}


async def seen(rig: Rig, *, minutes: int = 6) -> None:
    """A workload at rest of which usage comes in, and then no more."""
    deploy(rig)
    await rig.settle()
    use(rig, minutes)
    await rig.pass_time(minutes=minutes)
    assert found(rig) == ("True", "UsageSeen")


async def test_a_workload_whose_usage_ceases_says_so_once_and_goes_on_as_recommended() -> None:
    async with recommending() as rig:
        await seen(rig)
        deploy(rig, "other")
        use(rig, 60, "other")
        recommended, writes = rig.status()["recommendation"], writes_of(rig, "web")
        await rig.pass_time(minutes=5)
        assert found(rig) == ("True", "UsageSeen")
        await rig.pass_time(minutes=1)
        assert found(rig) == ("False", "NoSamples")
        assert "since 2026-01-01T10:06:00Z" in str(rig.condition(type_="MetricsAvailable"))
        await rig.pass_time(minutes=10)
        assert writes_of(rig, "web") == writes + 1
        assert rig.status()["recommendation"] == recommended
        assert found(rig, "other") == ("True", "UsageSeen")


async def test_usage_that_comes_back_is_seen_at_once() -> None:
    async with recommending() as rig:
        await seen(rig)
        await rig.pass_time(minutes=10)
        assert found(rig) == ("False", "NoSamples")
        use(rig, 5)
        await rig.pass_time(minutes=1)
        assert found(rig) == ("True", "UsageSeen")


async def test_a_missing_usage_and_its_return_are_told_as_events() -> None:
    async with recommending() as rig:
        await seen(rig)
        await rig.pass_time(minutes=10)
        use(rig, 5)
        await rig.pass_time(minutes=1)
        recorder = rig.term.events
        assert recorder is not None
        task = asyncio.create_task(recorder.run())
        told = {("UsageMissing", "Warning"), ("UsageBack", "Normal")}
        await until(lambda: events(rig) >= told, what=f"{told} is told, not {events(rig)}")
        task.cancel()
        await asyncio.wait((task,))


async def test_a_workload_that_was_never_measured_is_told_of_after_the_patience() -> None:
    async with recommending() as rig:
        deploy(rig)
        await rig.settle()
        await rig.pass_time(minutes=5)
        assert found(rig) is None
        await rig.pass_time(minutes=1)
        assert found(rig) == ("False", "NoSamples")


async def test_without_running_pods_nobody_knows_and_a_new_pod_gets_time() -> None:
    async with recommending(usage_patience=600) as rig:
        deploy(rig, phase="Pending")
        await rig.settle()
        assert found(rig) == ("Unknown", "NoPods")
        await rig.pass_time(minutes=30)
        assert found(rig) == ("Unknown", "NoPods")
        set_phase(rig, "Running")
        await rig.settle()
        assert found(rig) == ("Unknown", "AwaitingUsage")
        await rig.pass_time(minutes=10)
        assert found(rig) == ("Unknown", "AwaitingUsage")
        await rig.pass_time(minutes=1)
        assert found(rig) == ("False", "NoSamples")


async def test_a_short_time_without_a_running_pod_is_not_told() -> None:
    async with recommending() as rig:
        await seen(rig)
        set_phase(rig, "Pending")
        await rig.pass_time(minutes=4)
        assert found(rig) == ("True", "UsageSeen")
        await rig.pass_time(minutes=2)
        assert found(rig) == ("Unknown", "NoPods")


async def outage(rig: Rig, *, minutes: int) -> None:
    for _ in range(minutes):
        rig.prometheus.fail_next(403)
        await rig.pass_time(minutes=1)


async def test_an_outage_is_written_only_of_a_workload_that_is_looked_at_for_another_reason() -> None:
    async with recommending() as rig:
        await seen(rig)
        deploy(rig, "other")
        use(rig, 2, "other")
        use(rig, 2)
        await rig.pass_time(minutes=2)
        quiet = rig.status()
        await outage(rig, minutes=10)
        assert rig.status() == quiet
        rig.add_pod("other", "pod1", annotations=PROFILED)
        rig.prometheus.fail_next(403)
        await rig.pass_time(minutes=1)
        assert found(rig, "other") == ("False", "SourceUnavailable")
        assert rig.status() == quiet


async def test_an_outage_makes_no_usage_missing_and_after_it_what_comes_in_counts() -> None:
    async with recommending() as rig:
        await seen(rig)
        await outage(rig, minutes=30)
        await rig.pass_time(minutes=4)
        assert found(rig) == ("True", "UsageSeen")
        await rig.pass_time(minutes=2)
        assert found(rig) == ("False", "NoSamples")


async def test_another_term_goes_on_with_what_the_status_says() -> None:
    async with recommending(checkpoint_store="config_map") as rig:
        await seen(rig)
        rig.now += 3600
        await rig.restart()
        writes = rig.status_writes()
        await rig.pass_time(minutes=4)
        assert found(rig) == ("True", "UsageSeen")
        assert rig.status_writes() == writes
        await rig.pass_time(minutes=3)
        assert found(rig) == ("False", "NoSamples")


@pytest.mark.parametrize(
    ("settings", "patience"),
    [
        ({}, 300),
        ({"interval": 120, "settle": 5}, 365),
        ({"interval": 60, "usage_step": 200, "settle": 10}, 610),
        ({"interval": 1, "settle": 0, "usage_patience": 8}, 8),
    ],
)
def test_the_patience_follows_interval_and_step(settings: dict[str, Any], patience: float) -> None:
    assert RecommenderSettings(**settings).patience == patience


def test_a_patience_in_which_no_sample_can_be_read_is_refused() -> None:
    with pytest.raises(ValidationError, match="usage_patience 64 s is too short"):
        RecommenderSettings(usage_patience=64)
