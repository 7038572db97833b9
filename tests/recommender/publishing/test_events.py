import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from recommender.errors import NotLeader
from recommender.metrics import RecommenderMetrics
from recommender.publishing.events import EventRecorder, Outcome
from recommender.publishing.happenings import CRON_RULE_ENDED, CRON_RULE_STARTED, Happening
from tests.support.kube_in_memory import KubeInMemory, Trouble
from tests.support.recommending import START
from tests.support.waiting import until
from vgpu.kube.objects import ObjectMeta
from vgpu.kube.resources import EVENTS
from vgpu.kube.transport import Call

STARTED, ENDED = Happening(CRON_RULE_STARTED, "night"), Happening(CRON_RULE_ENDED, "night")


def workload(name: str = "web") -> ObjectMeta:
    return ObjectMeta(name=name, namespace="default", uid=f"uid-{name}", resource_version="1")


class Rig:
    """A recorder on a kube-apiserver in memory; `turns` says how many Events may be written."""

    def __init__(
        self, *, most: int = 100, check: Callable[[], None] = lambda: None, turns: int = 1000
    ) -> None:
        self.kube = KubeInMemory()
        self.trouble = Trouble(before=0, after=0)
        self.now = START
        self.turns = asyncio.Semaphore(turns)
        self.registry = CollectorRegistry()
        self.recorder = EventRecorder(
            client=self.kube.client(lambda _: self.trouble).guarded(check),
            instance="replica",
            metrics=RecommenderMetrics(self.registry),
            turn=self._turn,
            clock=lambda: self.now,
            most=most,
        )

    async def _turn(self) -> None:
        await self.turns.acquire()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.recorder.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,))

    def tell(self, happening: Happening = STARTED, name: str = "web") -> None:
        self.recorder.tell(workload(name), happening)

    async def told(self, *happenings: Happening) -> None:
        """Tell these, one after the other, each when the last is over."""
        for happening in happenings:
            before = self.over()
            self.tell(happening)
            await until(lambda before=before: self.over() > before, what="it was written")  # type: ignore[misc]

    def over(self) -> float:
        return sum(self.count(outcome) for outcome in Outcome)

    def count(self, outcome: Outcome) -> float:
        value = self.registry.get_sample_value("vgpu_recommender_events_total", {"outcome": outcome})
        assert value is not None
        return value

    def counts(self) -> dict[str, float]:
        return {outcome.value: self.count(outcome) for outcome in Outcome if self.count(outcome)}

    def events(self) -> list[dict[str, Any]]:
        return self.kube.store.list(EVENTS)

    def calls(self) -> list[Call]:
        return self.kube.calls


async def test_what_is_told_becomes_an_event_in_the_workloads_namespace() -> None:
    rig = Rig()
    async with rig.running():
        await rig.told(STARTED)
    [event] = rig.events()
    assert (event["metadata"]["namespace"], event["reason"], event["note"]) == (
        "default",
        "CronRuleStarted",
        "night",
    )
    assert event["reportingInstance"] == "replica"


async def test_what_happens_again_is_one_event_with_a_series() -> None:
    rig = Rig()
    async with rig.running():
        for _ in range(3):
            await rig.told(STARTED, ENDED)
            rig.now += 60
    assert {event["reason"]: event["series"] for event in rig.events()} == {
        "CronRuleStarted": {"count": 3, "lastObservedTime": "2026-01-01T10:02:00.000000Z"},
        "CronRuleEnded": {"count": 3, "lastObservedTime": "2026-01-01T10:02:00.000000Z"},
    }
    assert rig.counts() == {"created": 2, "repeated": 4}


async def test_what_happens_again_while_it_waits_costs_one_request() -> None:
    rig = Rig()
    for _ in range(5):
        rig.tell()
    async with rig.running():
        await until(rig.events, what="it was written")
    assert rig.events()[0]["series"]["count"] == 5
    assert rig.counts() == {"created": 1, "merged": 4}
    assert len(rig.calls()) == 1


async def test_an_event_that_kube_apiserver_has_dropped_is_created_again() -> None:
    rig = Rig()
    async with rig.running():
        await rig.told(STARTED)
        rig.kube.store.delete(EVENTS, "default", rig.events()[0]["metadata"]["name"])
        await rig.told(STARTED)
    [event] = rig.events()
    assert event["series"]["count"] == 2
    assert rig.counts() == {"created": 2}


async def test_an_event_whose_answer_was_lost_is_there_once() -> None:
    rig = Rig()
    async with rig.running():
        rig.trouble = Trouble(before=0, after=0, unanswered=True)
        await rig.told(STARTED)
        rig.trouble = Trouble(before=0, after=0)
        await rig.told(STARTED)
    [event] = rig.events()
    assert event["series"]["count"] == 2
    assert rig.counts() == {"failed": 1, "created": 1}


async def test_no_more_is_written_than_there_are_turns_for_and_the_rest_waits() -> None:
    rig = Rig(turns=2)
    for number in range(5):
        rig.tell(name=f"web-{number}")
    async with rig.running():
        await until(lambda: rig.over() == 2, what="two are written")
        assert len(rig.events()) == 2
        rig.turns.release()
        await until(lambda: rig.over() == 3, what="a third is written")
    assert rig.counts() == {"created": 3, "unsent": 2}


async def test_what_comes_beyond_the_bound_is_dropped_counted_and_logged_once() -> None:
    rig = Rig(most=3)
    with capture_logs() as logs:
        for number in range(10):
            rig.tell(name=f"web-{number}")
    assert (rig.recorder.waiting, rig.counts()) == (3, {"dropped": 7})
    assert [entry["event"] for entry in logs] == ["events are lost"]


async def test_what_was_dropped_is_in_the_series_when_it_happens_again() -> None:
    rig = Rig(most=1)
    rig.tell(name="other")
    rig.tell()
    async with rig.running():
        await until(lambda: rig.recorder.waiting == 0, what="the other is taken")
        await rig.told(STARTED)
    [event] = [event for event in rig.events() if event["regarding"]["name"] == "web"]
    assert event["series"]["count"] == 2


@pytest.mark.parametrize("trouble", [Trouble(before=0, refused=500), Trouble(before=0, lost=True)])
async def test_an_event_that_cannot_be_written_is_counted_and_not_tried_again(trouble: Trouble) -> None:
    rig = Rig()
    rig.trouble = trouble
    with capture_logs() as logs:
        async with rig.running():
            for number in range(20):
                rig.tell(name=f"web-{number}")
            await until(lambda: rig.over() == 20, what="all have failed")
            rig.trouble = Trouble(before=0, after=0)
            await rig.told(ENDED)
    assert rig.counts() == {"failed": 20, "created": 1}
    assert len(rig.events()) == 1
    assert [entry["event"] for entry in logs] == ["events are lost"]


async def test_what_failed_is_told_whole_when_it_happens_again() -> None:
    rig = Rig()
    async with rig.running():
        rig.trouble = Trouble(before=0, refused=500)
        await rig.told(STARTED)
        rig.trouble = Trouble(before=0, after=0)
        await rig.told(STARTED)
    assert [event["series"]["count"] for event in rig.events()] == [2]


async def test_a_missing_permission_makes_one_warning_however_long_it_lasts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("recommender.publishing.events._BETWEEN_WARNINGS", 0.0)
    rig = Rig()
    rig.trouble = Trouble(before=0, refused=403)
    with capture_logs() as logs:
        async with rig.running():
            for number in range(5):
                rig.tell(name=f"web-{number}")
            await until(lambda: rig.over() == 5, what="all have failed")
    assert [entry["log_level"] for entry in logs] == ["warning"]
    assert "grant it" in logs[0]["error"]


async def test_a_replica_that_may_write_no_more_stops_telling() -> None:
    def over() -> None:
        raise NotLeader

    rig = Rig(check=over)
    rig.tell()
    rig.tell(name="other")
    with pytest.raises(NotLeader):
        await rig.recorder.run()
    assert rig.counts() == {"unsent": 2}


async def test_an_unforeseen_error_over_one_event_does_not_keep_others_from_being_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig()
    create = rig.recorder._create
    broken = [True]

    async def break_once(series: Any) -> None:
        if broken:
            broken.pop()
            raise ValueError("a mistake")
        await create(series)

    monkeypatch.setattr(rig.recorder, "_create", break_once)
    async with rig.running():
        await rig.told(STARTED, ENDED)
    assert rig.counts() == {"failed": 1, "created": 1}
