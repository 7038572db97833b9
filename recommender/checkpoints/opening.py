"""The keeper of checkpoints that the settings ask for."""

from collections.abc import Callable

from recommender.checkpoints.config_maps import ConfigMapStore
from recommender.checkpoints.directory import DirectoryStore
from recommender.checkpoints.keeper import CheckpointKeeper, CheckpointMetrics
from recommender.checkpoints.store import CheckpointStore
from recommender.settings import RecommenderSettings
from recommender.shards import Shard
from vgpu.kube.client import KubeClient


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
