import asyncio
import errno
import itertools
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from recommender.checkpoints.directory import DirectoryStore
from recommender.checkpoints.errors import CheckpointConflict, CheckpointIncomplete, CheckpointUnavailable
from recommender.checkpoints.store import Generation
from recommender.errors import NotLeader
from recommender.leadership.shards import Shard
from tests.recommender.checkpoints.keeping import Killed, KillSwitch
from tests.recommender.checkpoints.making import NOW
from tests.support.waiting import until

SHARD = Shard(1, 3)


def generation(number: int, shard: Shard = SHARD) -> Generation:
    return Generation(shard, number, round(NOW + number / 7, 3))


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


async def written(directory: Path, *numbers: int) -> DirectoryStore:
    store = DirectoryStore(directory)
    await store.generations()
    for number in numbers:
        await store.write(generation(number), [b"content %d" % number])
    return store


async def test_what_is_written_is_listed_and_read_again(tmp_path: Path) -> None:
    await written(tmp_path, 7)
    store = DirectoryStore(tmp_path)
    assert await store.generations() == [generation(7)]
    assert await store.read(generation(7)) == (b"content 7",)


async def test_the_two_newest_generations_of_a_shard_are_kept(tmp_path: Path) -> None:
    other = DirectoryStore(tmp_path)
    await other.write(generation(1, Shard(0, 3)), [b"other"])
    store = await written(tmp_path, 1, 2, 3)
    assert set(await store.generations()) == {generation(2), generation(3), generation(1, Shard(0, 3))}


def killing(monkeypatch: pytest.MonkeyPatch, switch: KillSwitch) -> None:
    """Makes every operation on files a step of the switch."""

    def counted(operation: Any) -> Any:
        def step(*args: Any, **kwargs: Any) -> Any:
            switch()
            return operation(*args, **kwargs)

        return step

    for name in ("open", "replace", "unlink"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
    for name in ("open", "fsync", "close"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))


async def test_whatever_interrupts_a_write_the_generation_before_stays_readable(tmp_path: Path) -> None:
    for step in itertools.count():
        directory = tmp_path / str(step)
        directory.mkdir()
        store = await written(directory, 1, 2)
        switch = KillSwitch(at=step)
        with pytest.MonkeyPatch.context() as monkeypatch, suppress(Killed):
            killing(monkeypatch, switch)
            await store.write(generation(3), [b"content 3"])
        after = DirectoryStore(directory)
        newest = max(await after.generations(), key=lambda each: each.number)
        assert newest.number in (2, 3)
        assert await after.read(newest) == (b"content %d" % newest.number,)
        if switch.steps <= step:
            break
    assert newest.number == 3
    assert step >= 7


async def test_what_a_killed_process_left_is_cleaned_up_by_the_next_write(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch, suppress(Killed):
        killing(monkeypatch, KillSwitch(at=1))
        await DirectoryStore(tmp_path).write(generation(1), [b"half"])
    assert len(names_in(tmp_path)) == 1
    store = await written(tmp_path, 2)
    assert len(names_in(tmp_path)) == 1
    assert await store.generations() == [generation(2)]


async def test_a_full_disk_leaves_the_generation_before_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = await written(tmp_path, 1)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointUnavailable, match=f"{tmp_path}.*No space left on device.*have room"):
        await store.write(generation(2), [b"content 2"])
    assert names_in(tmp_path) == ["checkpoint-1-of-3-1-1700000040143"]


async def test_a_directory_that_is_not_there_is_named_and_not_made(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    with pytest.raises(CheckpointUnavailable, match=r"gone \(setting checkpoint_directory\).*must exist"):
        await DirectoryStore(gone).generations()
    assert not gone.exists()


async def test_of_two_writers_the_second_is_refused(tmp_path: Path) -> None:
    one, other = await written(tmp_path, 1), await written(tmp_path)
    await one.write(generation(2), [b"one"])
    with pytest.raises(CheckpointConflict, match="checkpoint-1-of-3-2-"):
        await other.write(Generation(SHARD, 2, NOW), [b"other"])
    assert await DirectoryStore(tmp_path).read(generation(2)) == (b"one",)


async def test_whoever_may_no_longer_write_puts_nothing_in_place(tmp_path: Path) -> None:
    def check() -> None:
        raise NotLeader

    with pytest.raises(NotLeader):
        await DirectoryStore(tmp_path, check=check).write(generation(1), [b"late"])
    assert not names_in(tmp_path)


async def test_a_write_that_is_cancelled_is_over_before_the_directory_is_listed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def slow(handle: int) -> None:
        begun.set()
        may_end.wait(5)

    monkeypatch.setattr(os, "fsync", slow)
    store = DirectoryStore(tmp_path)
    write = asyncio.create_task(store.write(generation(1), [b"content 1"]))
    await until(begun.is_set)
    write.cancel()
    listing = asyncio.create_task(store.generations())
    await until(write.done)
    may_end.set()
    assert await listing == [generation(1)]


async def test_a_checkpoint_that_vanished_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointIncomplete, match="gone"):
        await DirectoryStore(tmp_path).read(generation(1))


async def test_other_files_and_other_shards_are_left_alone(tmp_path: Path) -> None:
    for name in ("notes", "checkpoint-4-of-3-1-1700000000000", "checkpoint-1-of-3-x"):
        (tmp_path / name).touch()
    store = await written(tmp_path, 1)
    await store.write(generation(1, Shard(1, 31)), [b"other"])
    await store.remove(SHARD)
    assert await store.generations() == [generation(1, Shard(1, 31))]
    assert len(names_in(tmp_path)) == 4
