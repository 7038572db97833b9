"""The keeper of checkpoints that the settings ask for."""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

from recommender.checkpoints.config_maps import ConfigMapStore
from recommender.checkpoints.directory import DirectoryStore
from recommender.checkpoints.keeper import CheckpointKeeper, CheckpointMetrics
from recommender.checkpoints.store import CheckpointStore
from recommender.errors import UnusableDirectory
from recommender.leadership.shards import Shard
from recommender.settings import RecommenderSettings
from vgpu.kube.client import KubeClient


async def require_place(settings: RecommenderSettings) -> None:
    """Make sure that checkpoints can be kept in the directory that the settings name, if they name one.

    Raises:
        UnusableDirectory: it is not there, or nothing can be written to it.
    """
    directory = settings.checkpoint_directory
    if settings.checkpoint_store == "directory" and directory is not None:
        try:
            await asyncio.to_thread(_write_something, directory)
        except OSError as error:
            raise UnusableDirectory(str(directory), error.strerror or str(error)) from error


def _write_something(directory: Path) -> None:
    """Only a write tells of read-only volumes, too; the file has no name, or a passing one."""
    with tempfile.TemporaryFile(dir=directory) as file:
        file.write(b"checkpoints")
        file.flush()


def open_keeper(
    settings: RecommenderSettings,
    *,
    client: KubeClient,
    check: Callable[[], None],
    metrics: CheckpointMetrics,
    clock: Callable[[], float],
) -> CheckpointKeeper | None:
    """A keeper for one term of leadership; None where nothing is to be kept.

    Args:
        settings: Where checkpoints are kept, and whose histories these are.
        client: For ConfigMaps; guarded by the Lease.
        check: For files: raises when writing is no longer allowed.
        metrics: Told of each checkpoint, and of all that fails.
        clock: The time, epoch seconds.
    """
    store: CheckpointStore
    if settings.checkpoint_store == "config_map":
        store = ConfigMapStore(client, namespace=settings.namespace)
    elif settings.checkpoint_store == "directory" and settings.checkpoint_directory is not None:
        store = DirectoryStore(settings.checkpoint_directory, check=check)
    else:
        return None
    return CheckpointKeeper(
        store=store,
        shard=Shard(settings.shard_index, settings.shard_count),
        metrics=metrics,
        clock=clock,
        half_life=settings.half_life,
    )
