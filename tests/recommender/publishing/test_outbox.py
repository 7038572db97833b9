import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.keys import WorkloadKey
from recommender.publishing.outbox import Outbox, Pace
from tests.support.virtual_time import VirtualLoop, run

CROWD = [WorkloadKey("crowd", f"web-{number}") for number in range(2000)]
LONELY = WorkloadKey("lonely", "web")
WEB = WorkloadKey("default", "web")


def unhurried(*keys: WorkloadKey) -> Outbox[str]:
    """An outbox that nobody has to wait for."""
    outbox: Outbox[str] = Outbox(Pace(1e9).turn)
    for key in keys:
        outbox.put(key, "first", urgent=False)
    return outbox


async def take(outbox: Outbox[str], count: int) -> list[WorkloadKey]:
    taken = []
    for _ in range(count):
        key, _ = await outbox.take()
        outbox.done(key)
        taken.append(key)
    return taken


async def test_one_workload_waits_for_one_turn_of_a_namespace_with_thousands() -> None:
    outbox = unhurried(*CROWD, LONELY)
    assert LONELY in await take(outbox, 2)


async def test_a_workload_that_comes_later_waits_for_one_turn_too() -> None:
    outbox = unhurried(*CROWD)
    await take(outbox, 100)
    outbox.put(LONELY, "first", urgent=False)
    assert LONELY in await take(outbox, 2)


async def test_within_a_namespace_who_came_first_is_first() -> None:
    assert await take(unhurried(*CROWD), 5) == CROWD[:5]


async def test_a_newer_entry_takes_the_place_of_the_older_one() -> None:
    outbox = unhurried(*CROWD[:3])
    outbox.put(CROWD[0], "second", urgent=False)
    assert len(outbox) == 3
    assert await outbox.take() == (CROWD[0], "second")


async def test_what_is_urgent_comes_first() -> None:
    outbox = unhurried(*CROWD)
    outbox.put(CROWD[1500], "second", urgent=True)
    assert await outbox.take() == (CROWD[1500], "second")
    assert await take(outbox, 1) == [CROWD[0]]


async def test_what_was_urgent_keeps_its_place() -> None:
    outbox = unhurried(*CROWD)
    outbox.put(LONELY, "first", urgent=True)
    outbox.put(LONELY, "second", urgent=False)
    assert await outbox.take() == (LONELY, "second")


async def test_a_dropped_entry_is_not_taken() -> None:
    outbox = unhurried(*CROWD[:2])
    outbox.drop(CROWD[0])
    assert len(outbox) == 1
    assert await take(outbox, 1) == [CROWD[1]]


async def test_a_workload_is_with_one_writer_at_a_time() -> None:
    outbox = unhurried(WEB)
    await outbox.take()
    outbox.put(WEB, "second", urgent=True)
    outbox.put(LONELY, "first", urgent=False)
    assert (await outbox.take())[0] == LONELY
    outbox.done(WEB)
    assert await outbox.take() == (WEB, "second")


async def test_a_writer_that_waits_is_woken_by_the_first_entry() -> None:
    outbox = unhurried()
    waiting = asyncio.create_task(outbox.take())
    await asyncio.sleep(0)
    outbox.put(WEB, "first", urgent=False)
    assert await waiting == (WEB, "first")


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from(["put", "urgent", "drop"]))))
def test_everything_that_was_put_and_not_dropped_is_taken_once(steps: list[tuple[int, int, str]]) -> None:
    async def play() -> None:
        outbox, expected = unhurried(), set[WorkloadKey]()
        for namespace, name, what in steps:
            key = WorkloadKey(str(namespace), str(name))
            if what == "drop":
                outbox.drop(key)
                expected.discard(key)
            else:
                outbox.put(key, what, urgent=what == "urgent")
                expected.add(key)
        taken = await take(outbox, len(outbox))
        assert len(taken) == len(set(taken))
        assert set(taken) == expected

    asyncio.run(play())


@pytest.mark.parametrize("writers", [1, 16])
def test_two_thousand_in_fifty_namespaces_keep_the_pace_and_their_turns(writers: int) -> None:
    loop, taken = VirtualLoop(), list[tuple[float, WorkloadKey]]()

    async def play() -> None:
        outbox: Outbox[str] = Outbox(Pace(50, clock=loop.time).turn)
        for number in range(2000):
            outbox.put(WorkloadKey(f"team-{number // 40}", f"web-{number}"), "first", urgent=False)

        async def write() -> None:
            while outbox:
                key, _ = await outbox.take()
                taken.append((loop.time(), key))
                await asyncio.sleep(0.015)
                outbox.done(key)

        tasks = [asyncio.create_task(write()) for _ in range(writers)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    run(play(), loop=loop)
    times = [at for at, _ in taken]
    assert len({key for _, key in taken}) == 2000
    assert max(sum(begin <= at < begin + 1 for at in times) for begin in times) <= 60
    assert times[-1] == pytest.approx(2000 / 50, abs=1)
    # Every namespace has its first write before any has its second.
    assert len({key.namespace for _, key in taken[:50]}) == 50


def test_a_rest_saves_up_a_burst_and_no_more() -> None:
    loop, times = VirtualLoop(), list[float]()

    async def play() -> None:
        pace = Pace(10, burst=3, clock=loop.time)
        await asyncio.sleep(3600)
        for _ in range(5):
            await pace.turn()
            times.append(loop.time() - 3600)

    run(play(), loop=loop)
    assert times == pytest.approx([0, 0, 0, 0.1, 0.2])
