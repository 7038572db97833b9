import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from recommender.checkpoints.snapshot import PendingBackfill
from recommender.errors import TornHistories
from recommender.histories.histories import Fed, Histories
from recommender.histories.memory import Memory
from tests.support.using import DAY, GIB, NOW, OTHER, WEB, minutes, tracked, usage
from tests.support.waiting import until
from vgpu.api import AutoSetResources
from vgpu.slices import Resource

PENDING = PendingBackfill((WEB,), NOW - DAY, NOW)
USAGE = usage(tflops=[minutes(tracked(), 3.0, 4.0)], vram=[minutes(tracked(), GIB, GIB)], until=NOW + 60)


class Gate:
    """Holds a piece of work up in its thread."""

    def __init__(self, histories: Histories, name: str) -> None:
        self.entered, self.open = threading.Event(), threading.Event()
        self.at_once = self.most_at_once = 0
        self._work: Callable[..., Any] = getattr(histories, name)
        setattr(histories, name, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.entered.set()
        assert self.open.wait(5)
        try:
            return self._work(*args, **kwargs)
        finally:
            self.at_once -= 1


def histories() -> Histories:
    return Histories(half_life=DAY, peak_window=DAY, now=NOW)


def nothing_pending(_: Fed) -> tuple[PendingBackfill, ...]:
    return ()


async def cancelled_within(gate: Gate, work: Coroutine[Any, Any, Any]) -> None:
    """Cancel a piece of work while its thread is in the middle of it, and see it end."""
    task = asyncio.create_task(work)
    await until(gate.entered.is_set)
    task.cancel()
    await asyncio.sleep(0)
    gate.open.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_usage_moves_the_cursor_and_what_is_pending_with_it() -> None:
    memory = Memory(histories())
    assert (await memory.snapshot(NOW)).cursor is None
    fed = await memory.feed(USAGE, lambda fed: [PENDING] if fed.new == (WEB,) else [])
    snapshot = await memory.snapshot(NOW + 61)
    assert fed.new == snapshot.keys == (WEB,)
    assert (snapshot.cursor, snapshot.backfill, snapshot.written) == (NOW + 60, (PENDING,), NOW + 61)
    assert snapshot.samples.tolist() == [2]


async def test_a_poll_that_is_cancelled_in_its_middle_is_in_the_next_snapshot_in_full() -> None:
    kept = histories()
    memory, gate = Memory(kept), Gate(kept, "feed")
    await cancelled_within(gate, memory.feed(USAGE, lambda _: [PENDING]))
    snapshot = await memory.snapshot(NOW)
    assert (snapshot.cursor, snapshot.backfill) == (NOW + 60, (PENDING,))
    assert snapshot.samples.tolist() == [2]


async def test_a_piece_of_the_past_that_is_cancelled_in_its_middle_is_not_pending_any_more() -> None:
    kept = histories()
    memory, gate = Memory(kept, cursor=NOW, pending=[PENDING]), Gate(kept, "feed_earlier")
    await cancelled_within(gate, memory.feed_earlier(USAGE, lambda: ({WEB}, ())))
    snapshot = await memory.snapshot(NOW)
    assert (snapshot.samples.tolist(), snapshot.backfill, snapshot.cursor) == ([2], (), NOW)


async def test_who_is_cancelled_before_its_turn_has_changed_nothing() -> None:
    kept = histories()
    memory, gate = Memory(kept, cursor=NOW), Gate(kept, "feed")
    first = asyncio.create_task(memory.feed(USAGE, nothing_pending))
    await until(gate.entered.is_set)
    second = asyncio.create_task(memory.feed_earlier(USAGE, lambda: ({WEB}, (PENDING,))))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    gate.open.set()
    await first
    snapshot = await memory.snapshot(NOW)
    assert (snapshot.samples.tolist(), snapshot.backfill) == ([2], ())


async def test_one_piece_of_work_is_done_at_a_time() -> None:
    kept = histories()
    memory, gate = Memory(kept), Gate(kept, "estimate")
    tasks = [asyncio.create_task(memory.estimate()) for _ in range(4)]
    await until(gate.entered.is_set)
    gate.open.set()
    await asyncio.gather(*tasks)
    assert gate.most_at_once == 1


async def test_work_in_a_thread_leaves_the_event_loop_free() -> None:
    kept = histories()
    memory, gate = Memory(kept), Gate(kept, "estimate")
    task = asyncio.create_task(memory.estimate())
    await until(gate.entered.is_set)
    turns = [await asyncio.sleep(0, result=turn) for turn in range(3)]
    assert (turns, task.done()) == ([0, 1, 2], False)
    gate.open.set()
    await task


async def test_a_failure_is_handed_on_and_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = histories()
    memory = Memory(kept)
    with monkeypatch.context() as broken:
        broken.setattr(kept, "estimate", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await memory.estimate_as([])
    assert len(await memory.estimate_as([(WEB, AutoSetResources())])) == 1


async def test_histories_that_usage_was_taken_into_by_half_are_not_saved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = histories()
    memory = Memory(kept)

    def fail(*_: object, **__: object) -> Fed:
        raise MemoryError

    monkeypatch.setattr(kept, "feed", fail)
    with pytest.raises(MemoryError):
        await memory.feed(USAGE, nothing_pending)
    with pytest.raises(TornHistories, match="not saved"):
        await memory.snapshot(NOW)


async def test_nobody_is_idle_while_the_source_is_away() -> None:
    memory = Memory(histories())
    await memory.feed(USAGE, nothing_pending)
    assert await memory.forget_idle() == ()
    week_later = usage(tflops=[minutes(tracked(OTHER), 1.0, begin=NOW + 9 * DAY)], until=NOW + 9 * DAY)
    await memory.feed(week_later, nothing_pending)
    assert await memory.forget_idle() == (WEB,)


async def test_a_workload_is_estimated_as_it_was_configured_last() -> None:
    memory = Memory(histories())
    await memory.feed(USAGE, nothing_pending)
    assert (await memory.estimate()).keys == ()
    wide = AutoSetResources(marginFraction=1.0)
    [first] = (await memory.estimate_as([(WEB, AutoSetResources())])).target[Resource.TFLOPS]
    [second] = (await memory.estimate_as([(WEB, wide)])).target[Resource.TFLOPS]
    assert (await memory.estimate()).target[Resource.TFLOPS].tolist() == [second]
    assert second > first


async def test_what_is_gone_leaves_no_trace() -> None:
    memory = Memory(histories())
    await memory.feed(usage(vram=[minutes(tracked(), GIB), minutes(tracked(OTHER), GIB)]), nothing_pending)
    await memory.forget(pods=[tracked().uid], workloads=[OTHER])
    snapshot = await memory.snapshot(NOW)
    assert (snapshot.keys, snapshot.peaks.uids) == ((WEB,), ())


async def test_pods_that_are_still_there_keep_their_windows() -> None:
    memory = Memory(histories())
    first, second = tracked(pod="a"), tracked(pod="b")
    await memory.feed(usage(vram=[minutes(first, GIB), minutes(second, GIB)]), nothing_pending)
    await memory.forget_other_pods({second.uid})
    assert (await memory.snapshot(NOW)).peaks.uids == (second.uid,)


async def test_pods_that_went_while_their_usage_was_read_do_not_come_back() -> None:
    memory = Memory(histories(), counts=lambda pod: pod.workload == WEB)
    read = usage(vram=[minutes(tracked(), GIB), minutes(tracked(OTHER), GIB)])
    assert (await memory.feed(read, nothing_pending)).gone == 1
    assert (await memory.feed_earlier(read, lambda: ({WEB, OTHER}, ()))).gone == 1
    snapshot = await memory.snapshot(NOW)
    assert (snapshot.keys, snapshot.peaks.uids) == ((WEB,), (tracked().uid,))


async def test_after_a_clock_was_put_right_no_sample_counts_twice() -> None:
    memory = Memory(histories())
    await memory.feed(USAGE, nothing_pending)
    await memory.put_right(NOW - 60)
    assert memory.cursor == (await memory.snapshot(NOW)).cursor == NOW - 60
    assert (await memory.feed(USAGE, nothing_pending)).late == 4
