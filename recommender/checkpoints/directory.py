"""Checkpoints in files of a directory, on a volume that outlives the pod.

A checkpoint is one file, written under another name and renamed when it is complete and on the disk. The two
newest of a shard are kept.
"""

import asyncio
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from recommender.checkpoints.errors import (
    CheckpointConflict,
    CheckpointCorrupt,
    CheckpointIncomplete,
    CheckpointUnavailable,
)
from recommender.checkpoints.store import Generation
from recommender.leadership.shards import Shard

_LONGEST: Final = 1 << 30
_KEPT: Final = 2
_UNFINISHED: Final = ".unfinished"
_NAME: Final = re.compile(r"checkpoint-(\d+)-of-(\d+)-(\d+)-(\d+)")


def _always() -> None:
    """Leave to write where nobody else ever does."""


class DirectoryStore:
    """Keeps checkpoints in files of one directory, which must be there.

    Args:
        directory: Where the files are.
        check: Called right before a checkpoint takes its place; raises what it likes to prevent that.
    """

    def __init__(self, directory: Path, *, check: Callable[[], None] = _always) -> None:
        self._directory = directory
        self._check = check
        self._known: frozenset[Generation] = frozenset()
        self._writing: asyncio.Future[frozenset[Generation]] | None = None

    @property
    def part_bytes(self) -> int:
        """The most bytes that a part may have: a checkpoint is not cut up."""
        return _LONGEST

    async def generations(self) -> Sequence[Generation]:
        """All complete checkpoints there are; a write that was cancelled goes on, and is waited for."""
        if self._writing is not None:
            await asyncio.wait({self._writing})
        with self._reaching():
            self._known = frozenset(await asyncio.to_thread(self._files))
        return list(self._known)

    async def read(self, generation: Generation) -> Sequence[bytes]:
        """The content of a checkpoint's file."""
        with self._reaching():
            return (await asyncio.to_thread(self._read, self._path(generation)),)

    async def write(self, generation: Generation, parts: Sequence[bytes]) -> None:
        """Stores a checkpoint, and removes those before the one before it."""
        with self._reaching():
            write = asyncio.to_thread(self._write, generation, b"".join(parts), self._known)
            self._writing = asyncio.ensure_future(write)
            self._known = await asyncio.shield(self._writing)

    async def remove(self, shard: Shard) -> None:
        """Removes all checkpoints of a shard."""
        with self._reaching():
            await asyncio.to_thread(self._remove, [each for each in self._known if each.shard == shard])

    def _files(self) -> Mapping[Generation, Path]:
        found = ((path, _NAME.fullmatch(path.name)) for path in self._directory.iterdir())
        return {_generation(match): path for path, match in found if match and int(match[1]) < int(match[2])}

    def _path(self, generation: Generation) -> Path:
        milliseconds = round(generation.written * 1000)
        return self._directory / f"checkpoint-{generation.shard}-{generation.number}-{milliseconds}"

    def _read(self, path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                content = file.read(_LONGEST + 1)
        except FileNotFoundError as error:
            raise CheckpointIncomplete(f"{path} is gone") from error
        if len(content) > _LONGEST:
            raise CheckpointCorrupt(f"{path} is longer than {_LONGEST} bytes")
        return content

    def _write(
        self, generation: Generation, content: bytes, known: frozenset[Generation]
    ) -> frozenset[Generation]:
        there = [each for each in self._files() if each.shard == generation.shard]
        if news := [each for each in there if each not in known]:
            raise CheckpointConflict(str(self._path(news[0])))
        path = self._path(generation)
        unfinished = path.with_name(path.name + _UNFINISHED)
        try:
            _write_to_disk(unfinished, content)
            self._check()
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        _sync(self._directory)
        newest = sorted([*there, generation], key=lambda each: each.number)
        self._remove(newest[:-_KEPT])
        self._remove_unfinished(generation.shard)
        return known | {generation}

    def _remove(self, generations: Sequence[Generation]) -> None:
        for each in generations:
            self._path(each).unlink(missing_ok=True)

    def _remove_unfinished(self, shard: Shard) -> None:
        """Removes what processes that were killed have left."""
        for path in self._directory.glob(f"checkpoint-{shard}-*{_UNFINISHED}"):
            path.unlink(missing_ok=True)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CheckpointUnavailable(
                f"checkpoints in directory {self._directory} (setting checkpoint_directory) cannot be used: "
                f"{error.strerror or error}"
                + (f" ({error.filename})" if error.filename else "")
                + "; it must exist, be writable, and have room for three checkpoints"
            ) from error


def _generation(match: re.Match[str]) -> Generation:
    return Generation(Shard(int(match[1]), int(match[2])), int(match[3]), int(match[4]) / 1000)


def _write_to_disk(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    """Makes a change of names last."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
