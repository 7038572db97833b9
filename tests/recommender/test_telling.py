"""What the whole recommender tells as Kubernetes Events."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from recommender.permissions import needed
from recommender.settings import RecommenderSettings
from tests.support import builders
from tests.support.recommending import Rig, recommending
from tests.support.waiting import until
from vgpu.annotations import WORKLOAD_PROFILE
from vgpu.kube.resources import EVENTS, PROFILES, WORKLOADS

Json = dict[str, Any]

STARTED, ENDED, CHANGED = "CronRuleStarted", "CronRuleEnded", "RecommendationChanged"
ALWAYS = builders.cron_rule("always", start="0 0 * * *", end="59 23 * * *")


@asynccontextmanager
async def telling(rig: Rig) -> AsyncIterator[None]:
    """Events are written meanwhile."""
    recorder = rig.term.events
    assert recorder is not None
    task = asyncio.create_task(recorder.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


def events(rig: Rig) -> list[Json]:
    return rig.kube.objects(EVENTS)


def counts(rig: Rig) -> dict[str, int]:
    """How often each reason was told."""
    told: dict[str, int] = {}
    for event in events(rig):
        times = event.get("series", {}).get("count", 1)
        told[event["reason"]] = told.get(event["reason"], 0) + times
    return told


async def told(rig: Rig, expected: dict[str, int]) -> None:
    await until(lambda: counts(rig) == expected, what=f"{expected} was told, not {counts(rig)}")


def only(rig: Rig, reason: str) -> Json:
    [found] = [event for event in events(rig) if event["reason"] == reason]
    return found


def scheduled(rules: list[Json]) -> Json:
    return builders.profile("scheduled", spec={"autoScalingConfig": {"cronScalingRules": rules}})


async def switch(rig: Rig, *, on: bool) -> None:
    """A rule that is always active is switched on or off."""
    rig.kube.put(PROFILES, scheduled([{**ALWAYS, "enable": on}]))
    rig.now += 5
    await rig.settle()


async def deployed(rig: Rig) -> None:
    await switch(rig, on=False)
    rig.deploy("web", annotations={WORKLOAD_PROFILE: "scheduled"})
    await rig.settle()


async def test_a_rule_that_starts_and_ends_time_and_again_is_told_in_one_event_each() -> None:
    async with recommending(identity="recommender-7") as rig, telling(rig):
        await deployed(rig)
        for _ in range(3):
            await switch(rig, on=True)
            await switch(rig, on=False)
        await told(rig, {STARTED: 3, ENDED: 3, CHANGED: 6})
        notes = [event["note"] for event in events(rig)]
        assert len(notes) == len(set(notes))
        started = only(rig, STARTED)
        assert started["regarding"]["uid"] == rig.kube.get(WORKLOADS, "default", "web")["metadata"]["uid"]
        assert started["reportingInstance"].startswith("recommender-7_")


async def test_a_restart_tells_nothing_again() -> None:
    async with recommending() as rig:
        await deployed(rig)
        async with telling(rig):
            await switch(rig, on=True)
            await told(rig, {STARTED: 1, CHANGED: 1})
        await rig.restart()
        async with telling(rig):
            await switch(rig, on=False)
            await told(rig, {STARTED: 1, CHANGED: 2, ENDED: 1})


async def test_a_write_that_has_to_be_repeated_is_told_once() -> None:
    async with recommending() as rig, telling(rig):
        await deployed(rig)
        rig.kube.fail("/status$", code=409, reason="Conflict", method="PATCH", times=2)
        await switch(rig, on=True)
        await switch(rig, on=False)
        await told(rig, {STARTED: 1, ENDED: 1, CHANGED: 2})


async def test_what_could_not_be_written_is_not_told() -> None:
    async with recommending() as rig, telling(rig):
        await deployed(rig)
        rig.kube.fail("/status$", code=403, method="PATCH", times=1)
        await switch(rig, on=True)
        assert "activeCronScalingRule" not in rig.status()
        # Off again before it was ever in force.
        await switch(rig, on=False)
        rig.kube.put(PROFILES, scheduled([{**ALWAYS, "start": "at night"}]))
        await rig.settle()
        await told(rig, {"ConfigurationInvalid": 1})


async def test_a_recommender_that_may_write_no_events_does_all_else() -> None:
    async with recommending() as rig, telling(rig):
        await deployed(rig)
        rig.kube.fail("/events", code=403, times=100)
        await switch(rig, on=True)
        await until(lambda: rig.metric("events_total", outcome="failed") == 2, what="both are refused")
        await switch(rig, on=False)
        assert "activeCronScalingRule" not in rig.status()
        assert events(rig) == []


async def test_no_events_are_told_where_none_are_wanted() -> None:
    async with recommending(events=False) as rig:
        await deployed(rig)
        await switch(rig, on=True)
        assert rig.status()["activeCronScalingRule"]["name"] == "always"
        assert rig.term.events is None


async def test_a_term_writes_what_is_told_in_it() -> None:
    async with recommending() as rig:
        await deployed(rig)
        async with rig.leading():
            rig.kube.put(PROFILES, scheduled([ALWAYS]))
            await told(rig, {STARTED: 1, CHANGED: 1})


def test_the_permission_for_events_is_needed_only_where_they_are_wanted() -> None:
    def asked(**chosen: Any) -> set[str]:
        settings = RecommenderSettings.model_validate({"prometheus_url": "http://127.0.0.1:9090", **chosen})
        return {str(each) for each in needed(settings, gpus=False)}

    assert asked() - asked(events=False) == {"create events.events.k8s.io", "patch events.events.k8s.io"}
