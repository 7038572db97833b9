import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from recommender.cluster.changes import Changes
from recommender.keys import WorkloadKey
from recommender.metrics import RecommenderMetrics
from recommender.rhythm import Rhythm, Timing
from tests.support.virtual_time import VirtualLoop, run

WEB = WorkloadKey("default", "web")
INTERVAL, SETTLE = 60.0, 5.0
BEGIN = 30.0
"""Seconds after a full minute."""


class Diary:
    """Activities that take as long as they are told to, and note when they began."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.begun: dict[str, list[float]] = {}
        self.takes: dict[str, list[float]] = {}
        self.due = float("inf")
        self.writers = 0
        self.changes = Changes()

    def look_at_everything(self) -> None:
        self.changes.everything()

    def next_due(self) -> float:
        return self.due

    def pause(self) -> float:
        return 7.0

    async def get_to_know(self) -> None:
        await self._note("get_to_know")

    async def reconcile(self) -> None:
        self.changes.take()
        await self._note("reconcile")

    async def write_next(self) -> None:
        self.writers += 1
        await asyncio.sleep(float("inf"))

    async def feed(self) -> None:
        await self._note("feed")

    async def feed_the_past(self) -> None:
        await self._note("past")

    async def checkpoint(self) -> None:
        await self._note("checkpoint")

    async def _note(self, name: str) -> None:
        self.begun.setdefault(name, []).append(round(self._now(), 3))
        takes = self.takes.get(name)
        if takes:
            await asyncio.sleep(takes.pop(0))


class Bench:
    """A rhythm on a clock that jumps."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self._zero = self.loop.time()
        self.set_by = 0.0
        self.diary: Diary
        self.registry = CollectorRegistry()

    def now(self) -> float:
        return BEGIN + self.loop.time() - self._zero

    def timing(self) -> Timing:
        return Timing(
            interval=INTERVAL,
            settle=SETTLE,
            checkpoint=600,
            clock=lambda: self.now() + self.set_by,
            monotonic=self.now,
        )

    def late(self) -> float | None:
        return self.registry.get_sample_value("vgpu_recommender_late_passes_total")

    def play(
        self, seconds: float, meanwhile: Callable[[Diary], Coroutine[Any, Any, None]], **takes: list[float]
    ) -> Diary:
        """Let the rhythm run for so long."""

        async def main() -> Diary:
            diary = Diary(self.now)
            diary.takes = takes
            rhythm = Rhythm(
                diary,
                changes=diary.changes,
                metrics=RecommenderMetrics(self.registry),
                timing=self.timing(),
            )
            work = asyncio.create_task(rhythm.run())
            other = asyncio.create_task(meanwhile(diary))
            await asyncio.sleep(seconds)
            work.cancel()
            await asyncio.wait((work, other))
            return diary

        return run(main(), loop=self.loop)


async def nothing(_: Diary) -> None:
    pass


def test_usage_is_read_at_once_and_then_when_the_samples_of_an_interval_are_there() -> None:
    diary = Bench().play(250, nothing)
    first, *others = diary.begun["feed"]
    assert first < BEGIN + 1
    assert others == [65, 125, 185, 245]


def test_workloads_are_known_before_usage_is_read() -> None:
    diary = Bench().play(10, nothing, get_to_know=[5.0])
    assert diary.begun["get_to_know"] == [BEGIN]
    assert diary.begun["feed"] == diary.begun["reconcile"] == [BEGIN + 5]


def test_a_first_pass_that_does_not_end_holds_up_neither_usage_nor_checkpoints() -> None:
    bench = Bench()
    diary = bench.play(1900, nothing, reconcile=[1500.0])
    assert diary.begun["feed"][:4] == [BEGIN, 65, 125, 185]
    assert [round(at - BEGIN, -1) for at in diary.begun["checkpoint"]] == [600, 1200, 1800]
    assert bench.late() == 1


def test_a_pass_that_takes_longer_than_the_interval_is_counted_and_does_not_pile_up() -> None:
    bench = Bench()
    diary = bench.play(400, nothing, feed=[0.0, 150.0])
    assert diary.begun["feed"][1:] == [65, 245, 305, 365, 425]
    assert bench.late() == 1


def test_a_clock_that_is_set_in_the_middle_of_a_pass_makes_it_no_late_one() -> None:
    bench = Bench()

    async def set_clock(_: Diary) -> None:
        await asyncio.sleep(5)
        bench.set_by = 7200.0

    bench.play(40, set_clock, feed=[10.0], reconcile=[10.0])
    assert bench.late() == 0


def test_a_slow_source_delays_neither_rules_nor_changes_nor_the_past() -> None:
    async def change(diary: Diary) -> None:
        await asyncio.sleep(100)
        diary.changes.workload(WEB)
        diary.due = BEGIN + 200

    diary = Bench().play(300, change, feed=[500.0])
    assert len(diary.begun["feed"]) == 1
    assert BEGIN + 100.2 in diary.begun["reconcile"]
    assert BEGIN + 200 in diary.begun["reconcile"]
    assert len(diary.begun["past"]) > 40


def test_a_slow_pass_over_workloads_does_not_keep_usage_from_being_read() -> None:
    bench = Bench()

    async def change(diary: Diary) -> None:
        await asyncio.sleep(1)
        diary.changes.workload(WEB)

    diary = bench.play(200, change, reconcile=[0.0, 150.0])
    assert diary.begun["feed"][1:] == [65, 125, 185]
    assert bench.late() == 1


def test_changes_that_come_together_are_worked_on_together() -> None:
    async def change(diary: Diary) -> None:
        await asyncio.sleep(10)
        for number in range(5):
            diary.changes.workload(WorkloadKey("default", str(number)))
            await asyncio.sleep(0.01)

    diary = Bench().play(20, change)
    assert diary.begun["reconcile"] == [BEGIN, BEGIN + 10.2]


def test_a_checkpoint_is_made_every_ten_minutes() -> None:
    diary = Bench().play(1900, nothing)
    assert [round(at - BEGIN, -1) for at in diary.begun["checkpoint"]] == [600, 1200, 1800]


def test_what_fails_ends_everything() -> None:
    bench = Bench()

    async def fail() -> None:
        raise ValueError

    async def main() -> None:
        diary = Diary(bench.now)
        diary.checkpoint = fail  # type: ignore[method-assign]
        rhythm = Rhythm(
            diary,
            changes=diary.changes,
            metrics=RecommenderMetrics(bench.registry),
            timing=bench.timing(),
        )
        with pytest.raises(ExceptionGroup) as raised:
            await rhythm.run()
        assert raised.group_contains(ValueError)

    run(main(), loop=bench.loop)
