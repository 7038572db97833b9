from pathlib import Path
from typing import Any

import pytest

from recommender.checkpoints.keeper import CheckpointKeeper
from recommender.checkpoints.opening import open_keeper, require_place
from recommender.errors import UnusableDirectory
from recommender.leadership.shards import Shard
from recommender.settings import RecommenderSettings
from tests.recommender.checkpoints.keeping import ALONE, NAMESPACE, Told, kube
from tests.recommender.checkpoints.making import NOW, random_snapshot
from vgpu.errors import ExitCode, StartupError
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


def in_directory(directory: Path) -> RecommenderSettings:
    return RecommenderSettings(
        prometheus_url="http://prometheus", checkpoint_store="directory", checkpoint_directory=directory
    )


async def test_a_directory_that_can_be_written_to_is_left_as_it_was(tmp_path: Path) -> None:
    await require_place(in_directory(tmp_path))
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("place", "problem"),
    [("missing", "No such file or directory"), ("file", "Not a directory")],
)
async def test_a_directory_that_is_none_ends_the_start_by_its_setting(
    place: str, problem: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match=f"checkpoint_directory '.*{place}' cannot be used: {problem}"):
        await require_place(in_directory(tmp_path / place))


async def test_a_directory_without_room_for_files_ends_the_start_as_a_wrong_setting() -> None:
    with pytest.raises(UnusableDirectory) as caught:
        await require_place(in_directory(Path("/proc")))
    assert caught.value.exit_code == ExitCode.USAGE


async def test_a_directory_is_asked_for_only_where_checkpoints_go_to_one() -> None:
    await require_place(in_directory(Path("/nowhere")).model_copy(update={"checkpoint_store": "none"}))
