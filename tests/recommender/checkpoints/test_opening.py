from pathlib import Path
from typing import Any

from recommender.checkpoints.keeper import CheckpointKeeper
from recommender.checkpoints.opening import open_keeper
from recommender.settings import RecommenderSettings
from recommender.shards import Shard
from tests.recommender.checkpoints.keeping import ALONE, NAMESPACE, Told, kube
from tests.recommender.checkpoints.making import NOW, random_snapshot
from vgpu.kube.client import KubeClient
from vgpu.kube.resources import CONFIG_MAPS


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def opened(client: KubeClient, **settings: Any) -> CheckpointKeeper | None:
    return open_keeper(
        RecommenderSettings(prometheus_url="http://prometheus", **settings),
        client=client,
        check=lambda: None,
        metrics=Told(),
        clock=lambda: NOW,
    )


async def test_by_default_checkpoints_are_config_maps_of_the_products_namespace() -> None:
    async with kube() as (fake, client):
        keeping = opened(client)
        assert keeping is not None
        await keeping.load()
        await keeping.save(random_snapshot(1))
        (stored,) = fake.objects(CONFIG_MAPS)
        assert stored["metadata"]["namespace"] == NAMESPACE
        assert stored["metadata"]["name"] == f"vgpu-recommender-checkpoint-{ALONE}-b-0"


async def test_files_lie_in_the_directory_and_carry_the_shard(tmp_path: Path) -> None:
    async with kube() as (_, client):
        keeping = opened(
            client,
            checkpoint_store="directory",
            checkpoint_directory=tmp_path,
            shard_index=1,
            shard_count=2,
        )
        assert keeping is not None
        await keeping.load()
        await keeping.save(random_snapshot(1))
        assert names_in(tmp_path) == [f"checkpoint-{Shard(1, 2)}-1-1700000047250"]


async def test_nothing_keeps_what_is_not_to_be_kept() -> None:
    async with kube() as (_, client):
        assert opened(client, checkpoint_store="none") is None
