import asyncio
import gc
import weakref

import pytest

from recommender.histories.pacing import spare_collection, spare_newcomers, to_the_end, with_breaks
from tests.support.waiting import until


async def test_others_get_their_turn_in_the_middle_of_a_long_way_through() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    seen = []
    async for item in with_breaks(range(100_000)):
        if turns > 2:
            break
        seen.append(item)
    task.cancel()
    assert turns > 2
    assert seen == list(range(len(seen)))


async def test_all_items_come() -> None:
    assert [item async for item in with_breaks("abc")] == ["a", "b", "c"]


class Work:
    """Goes on until it is told to end."""

    def __init__(self) -> None:
        self.going_on = asyncio.Event()
        self.ended = False

    async def __call__(self) -> str:
        await self.going_on.wait()
        self.ended = True
        return "done"


async def test_what_was_begun_is_ended_however_often_it_is_cancelled() -> None:
    work = Work()
    task = asyncio.create_task(to_the_end(work()))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    work.going_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.ended


async def test_what_comes_of_it_is_handed_on() -> None:
    work = Work()
    work.going_on.set()
    assert await to_the_end(work()) == "done"


async def test_its_failure_counts_more_than_being_cancelled() -> None:
    failing = asyncio.Event()

    async def fail() -> None:
        await failing.wait()
        raise ValueError

    task = asyncio.create_task(to_the_end(fail()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    failing.set()
    await until(task.done)
    with pytest.raises(ValueError):
        await task


class Ring:
    def __init__(self) -> None:
        self.itself = self


def test_what_is_there_is_gone_through_no_more_and_what_comes_later_is() -> None:
    try:
        gc.collect()
        spare_collection()
        assert len(gc.get_objects()) < 1000 < gc.get_freeze_count()
        garbage = weakref.ref(Ring())
        spare_newcomers()
        assert garbage() is None
    finally:
        gc.unfreeze()
