"""The user's cache of compiled programs: one folder for each of them, there as a whole or not at all."""

import errno
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from devcluster.errors import BuildLocked, CacheNotWritable, DiskFull
from devcluster.versions import Tool

_RECORD = "built.json"


@dataclass(frozen=True, slots=True)
class BinaryCache:
    """Finds and keeps compiled programs below `home`."""

    home: Path

    def find(self, tool: Tool) -> Path | None:
        """The program, if it is there, whole, and made by the same recipe."""
        folder = self._folder(tool)
        binary = folder / tool.name
        try:
            record = json.loads((folder / _RECORD).read_text())
            size = binary.stat().st_size
        except (OSError, ValueError):
            return None
        whole = record == _record(tool, size) and os.access(binary, os.X_OK)
        return binary if whole else None

    def keep(self, tool: Tool, built: Path) -> Path:
        """Take `built` over, the only file of its folder, in place of whatever half of it is there.

        Raises:
            CacheNotWritable, DiskFull: it cannot be kept.
        """
        folder = self._folder(tool)
        with _explained(folder):
            _flush(built)
            record = built.parent / _RECORD
            record.write_text(json.dumps(_record(tool, built.stat().st_size)))
            _flush(record)
            folder.parent.mkdir(parents=True, exist_ok=True)
            if folder.exists():
                shutil.rmtree(folder)
            built.parent.rename(folder)
        return folder / tool.name

    @contextmanager
    def locked(self, *, on_wait: Callable[[], None], patience: float) -> Iterator[None]:
        """Keep other processes from building; `on_wait` is called when one does and is waited for.

        Raises:
            CacheNotWritable: the lock file cannot be made.
            BuildLocked: another process held it for more than `patience` seconds.
        """
        lock = FileLock(self.home / "lock")
        with _explained(self.home):
            self.home.mkdir(parents=True, exist_ok=True)
            _acquire(lock, on_wait=on_wait, patience=patience)
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """An empty folder on the cache's disk, removed afterwards; for the holder of the lock only."""
        folder = self.home / "building"
        with _explained(folder):
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _folder(self, tool: Tool) -> Path:
        return self.home / "binaries" / f"{tool.name}-{tool.version}-{sys.platform}-{platform.machine()}"


def _acquire(lock: FileLock, *, on_wait: Callable[[], None], patience: float) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_wait()
    else:
        return
    try:
        lock.acquire(timeout=patience, poll_interval=0.25)
    except Timeout:
        raise BuildLocked(lock=Path(lock.lock_file), waited=patience) from None


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull(folder=folder, free=0) from None
        raise CacheNotWritable(folder=folder, reason=error.strerror or str(error)) from None


def _record(tool: Tool, size: int) -> dict[str, object]:
    return {"recipe": tool.recipe(), "size": size}


def _flush(file: Path) -> None:
    """Have the file on the disk before its name is: a power cut must not leave zeros behind a good name."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
