import itertools
from contextlib import suppress
from typing import Any

import pytest

from recommender.checkpoints.codec import encode
from recommender.checkpoints.config_maps import PART_BYTES
from recommender.checkpoints.errors import CheckpointConflict, CheckpointUnavailable
from recommender.checkpoints.store import Generation
from recommender.errors import NotLeader
from recommender.leadership.shards import Shard
from tests.recommender.checkpoints.keeping import NAMESPACE, Killed, KillSwitch, config_maps, kube
from tests.recommender.checkpoints.making import NOW, random_snapshot
from tests.support.fake_kube import FakeKube
from tests.support.kube_http import Request
from vgpu.kube.resources import CONFIG_MAPS

SHARD = Shard(1, 3)
CONFIG_MAP = "/configmaps"


def generation(number: int, shard: Shard = SHARD) -> Generation:
    return Generation(shard, number, NOW + number / 8)


def parts(number: int, count: int = 3) -> list[bytes]:
    return [bytes([number, part]) * 8 for part in range(count)]


def test_a_part_fits_into_a_config_map_and_into_a_request_of_a_mebibyte() -> None:
    assert PART_BYTES * 4 / 3 + 2048 < 1024**2


def test_a_hundred_thousand_workloads_take_at_most_an_api_call_for_five_thousand() -> None:
    size = sum(map(len, encode(random_snapshot(2_000), shard=SHARD, generation=1, part_bytes=1 << 30)))
    assert size * 50 / PART_BYTES < 20


async def test_what_is_written_is_listed_and_read_again() -> None:
    async with kube() as (_, client):
        await config_maps(client).write(generation(7), parts(7))
        found = config_maps(client)
        assert await found.generations() == [generation(7)]
        assert sorted(await found.read(generation(7))) == parts(7)


async def test_a_part_is_written_by_one_request_and_four_are_read_by_one() -> None:
    async with kube() as (fake, client):
        store = config_maps(client)
        await store.write(generation(7), parts(7, count=10))
        assert [request.method for request in fake.requests] == ["POST"] * 10
        await store.write(generation(9), parts(9, count=10))
        assert [request.method for request in fake.requests[10:]] == ["PUT"] * 10
        assert len(await store.read(generation(9))) == 10
        assert [request.method for request in fake.requests[20:]] == ["GET"] * 3


async def test_all_shards_checkpoints_are_listed_by_one_request_without_their_contents() -> None:
    async with kube() as (fake, client):
        for shard in (Shard(0, 2), Shard(1, 2)):
            await config_maps(client).write(generation(1, shard), parts(1))
        before = len(fake.requests)
        found = await config_maps(client).generations()
        assert set(found) == {generation(1, Shard(0, 2)), generation(1, Shard(1, 2))}
        (request,) = fake.requests[before:]
        assert "PartialObjectMetadata" in request.headers["Accept"]


async def test_the_generation_before_stays_beside_the_newest() -> None:
    async with kube() as (_, client):
        store = config_maps(client)
        for number in (1, 2, 3):
            await store.write(generation(number), parts(number))
        assert set(await store.generations()) == {generation(2), generation(3)}
        assert sorted(await store.read(generation(2))) == parts(2)


async def test_parts_left_over_from_a_longer_checkpoint_are_removed() -> None:
    async with kube() as (fake, client):
        store = config_maps(client)
        await store.write(generation(1), parts(1, count=5))
        await store.write(generation(3), parts(3, count=2))
        assert len(fake.objects(CONFIG_MAPS)) == 2
        assert sorted(await config_maps(client).read(generation(3))) == parts(3, count=2)


async def test_whatever_interrupts_a_write_the_generation_before_stays_readable() -> None:
    for step in itertools.count():
        async with kube() as (_, client):
            store = config_maps(client)
            await store.write(generation(1), parts(1, count=5))
            await store.write(generation(2), parts(2))
            switch = KillSwitch(at=step)
            dying = config_maps(client, switch)
            await dying.generations()
            with suppress(Killed):
                await dying.write(generation(3), parts(3))
            after = config_maps(client)
            newest = max(await after.generations(), key=lambda each: each.number)
            assert newest.number in (2, 3)
            assert sorted(await after.read(newest)) == parts(newest.number)
            if switch.steps <= step:
                break
    assert newest.number == 3
    assert step >= 5


async def test_of_two_writers_the_second_is_refused_at_his_first_request() -> None:
    async with kube() as (fake, client):
        one, other = config_maps(client), config_maps(client)
        await one.write(generation(1), parts(1))
        await other.generations()
        await one.write(generation(3), parts(3))
        stored = fake.objects(CONFIG_MAPS)
        with pytest.raises(CheckpointConflict, match="second recommender"):
            await other.write(generation(3), parts(9))
        assert fake.objects(CONFIG_MAPS) == stored


async def test_of_two_first_writers_the_second_is_refused_at_his_first_request() -> None:
    async with kube() as (fake, client):
        one, other = config_maps(client), config_maps(client)
        await other.generations()
        await one.write(generation(1), parts(1))
        stored = fake.objects(CONFIG_MAPS)
        with pytest.raises(CheckpointConflict):
            await other.write(Generation(SHARD, 1, NOW), parts(9))
        assert fake.objects(CONFIG_MAPS) == stored


async def test_a_write_whose_answer_was_lost_is_no_conflict() -> None:
    async with kube() as (fake, client):
        store = config_maps(client)
        await store.write(generation(1), parts(1))
        fake.drop(CONFIG_MAP, method="PUT")
        await store.write(generation(3), parts(3))
        await store.write(generation(5), parts(5))
        assert sorted(await config_maps(client).read(generation(5))) == parts(5)


def touch(fake: FakeKube, annotation: str | None = None) -> None:
    """Put a label on all ConfigMaps, as tools of others do, or an annotation in the place of ours."""
    for each in fake.objects(CONFIG_MAPS):
        if annotation is None:
            each["metadata"]["labels"] |= {"team": str(len(fake.requests))}
        else:
            each["metadata"]["annotations"] = {"tensor-fusion.ai/checkpoint": annotation}
        fake.put(CONFIG_MAPS, each)


@pytest.mark.parametrize("restart", [False, True])
async def test_a_label_that_somebody_puts_on_a_config_map_is_no_conflict(*, restart: bool) -> None:
    async with kube() as (fake, client):
        store = config_maps(client)
        await store.write(generation(1), parts(1))
        if restart:
            store = config_maps(client)
            await store.generations()
        for number in (3, 5):
            touch(fake)
            await store.write(generation(number), parts(number))
        assert sorted(await config_maps(client).read(generation(5))) == parts(5)


async def test_a_label_costs_two_requests_more() -> None:
    async with kube() as (fake, client):
        store = config_maps(client)
        await store.write(generation(1), parts(1, count=1))
        touch(fake)
        before = len(fake.requests)
        await store.write(generation(3), parts(3, count=1))
        assert [request.method for request in fake.requests[before:]] == ["PUT", "GET", "PUT"]


async def test_another_mark_is_a_conflict_whoever_has_made_it() -> None:
    async with kube() as (fake, client):
        store = config_maps(client)
        await store.write(generation(1), parts(1))
        touch(fake, annotation="of a later version")
        with pytest.raises(CheckpointConflict):
            await store.write(generation(3), parts(3))


async def test_a_config_map_that_is_touched_without_end_is_a_conflict() -> None:
    async with kube() as (fake, client):
        store = config_maps(client)
        await store.write(generation(1), parts(1))
        answer = fake.api.answer

        def touched_before(asked: Request) -> Any:
            if asked.method == "PUT":
                touch(fake)
            return answer(asked)

        fake.api.answer = touched_before  # type: ignore[method-assign]  # somebody who is always faster
        with pytest.raises(CheckpointConflict):
            await store.write(generation(3), parts(3))


async def test_a_config_map_that_a_person_removed_is_made_again() -> None:
    async with kube() as (fake, client):
        store = config_maps(client)
        await store.write(generation(1), parts(1))
        for each in fake.objects(CONFIG_MAPS):
            fake.delete(CONFIG_MAPS, NAMESPACE, each["metadata"]["name"])
        await store.write(generation(3), parts(3))
        assert sorted(await config_maps(client).read(generation(3))) == parts(3)


async def test_config_maps_that_are_no_checkpoints_are_left_alone() -> None:
    async with kube() as (fake, client):
        store = config_maps(client)
        await store.write(generation(1), parts(1))
        (labels,) = {tuple(each["metadata"]["labels"].items()) for each in fake.objects(CONFIG_MAPS)}
        for name in ("vgpu-recommender-checkpoint-0-of-1-a-0", "other"):
            metadata = {"name": name, "namespace": NAMESPACE, "labels": dict(labels)}
            fake.put(
                CONFIG_MAPS, {"metadata": {**metadata, "annotations": {"tensor-fusion.ai/checkpoint": "?"}}}
            )
        assert await store.generations() == [generation(1)]
        await store.remove(SHARD)
        assert len(fake.objects(CONFIG_MAPS)) == 2


async def test_only_the_shard_that_is_named_is_removed() -> None:
    async with kube() as (_, client):
        for shard in (Shard(1, 2), Shard(1, 21), SHARD):
            await config_maps(client).write(generation(1, shard), parts(1))
        store = config_maps(client)
        await store.generations()
        await store.remove(Shard(1, 2))
        assert set(await store.generations()) == {generation(1, Shard(1, 21)), generation(1)}


async def test_a_refusal_names_the_namespace_and_the_permission() -> None:
    async with kube() as (fake, client):
        fake.fail(CONFIG_MAP, code=403, reason="Forbidden")
        with pytest.raises(CheckpointUnavailable, match=f"namespace {NAMESPACE}.*Forbidden.*grant"):
            await config_maps(client).generations()


async def test_whoever_may_no_longer_write_writes_nothing() -> None:
    def check() -> None:
        raise NotLeader

    async with kube() as (fake, client):
        with pytest.raises(NotLeader):
            await config_maps(client, check).write(generation(1), parts(1))
        assert not fake.objects(CONFIG_MAPS)
