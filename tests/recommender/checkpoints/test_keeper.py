import itertools
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from recommender.checkpoints.errors import CheckpointConflict, CheckpointUnavailable
from recommender.checkpoints.keeper import KeeperTiming
from recommender.checkpoints.snapshot import Snapshot
from recommender.errors import NotLeader
from recommender.leadership.shards import Shard
from tests.recommender.checkpoints.keeping import (
    Killed,
    KillSwitch,
    Told,
    config_maps,
    keeper,
    kube,
    loaded,
    saved,
)
from tests.recommender.checkpoints.making import HALF_LIFE, NOW, random_snapshot
from vgpu.kube.resources import CONFIG_MAPS

CONFIG_MAP = "/configmaps"


def taken(minutes: int, *, count: int = 40) -> Snapshot:
    """A snapshot that can be told from others by its cursor."""
    return replace(
        random_snapshot(count, seed=minutes), cursor=NOW + 60 * minutes, written=NOW + 60 * minutes
    )


def files(directory: Path, pattern: str) -> list[Path]:
    return list(directory.glob(pattern))


def numbered(directory: Path, number: int) -> Path:
    (path,) = directory.glob(f"checkpoint-*-of-*-{number}-*")
    return path


async def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    before = taken(1)
    await saved(tmp_path, before)
    after = await loaded(tmp_path)
    assert after.keys == before.keys
    np.testing.assert_array_equal(after.samples, before.samples)
    np.testing.assert_allclose(after.tflops.weights.sum(axis=1), before.tflops.weights.sum(axis=1), rtol=1e-6)


async def test_nothing_is_loaded_where_nothing_was_saved(tmp_path: Path) -> None:
    told = Told()
    assert await keeper(tmp_path, told=told).load() is None
    assert not told.failed


async def test_the_newest_generation_is_loaded(tmp_path: Path) -> None:
    await saved(tmp_path, taken(1), taken(2), taken(3))
    assert (await loaded(tmp_path)).cursor == taken(3).cursor


async def test_metrics_tell_of_each_checkpoint(tmp_path: Path) -> None:
    told = Told()
    keeping = keeper(tmp_path, told=told)
    await keeping.load()
    await keeping.save(taken(1))
    await keeping.save(taken(2))
    assert [each["generation"] for each in told.saved] == [1, 2]
    assert told.saved[1]["now"] == taken(2).written
    assert told.saved[1]["size"] == numbered(tmp_path, 2).stat().st_size
    assert told.saved[1]["seconds"] > 0


async def test_a_process_that_starts_goes_on_with_the_next_generation(tmp_path: Path) -> None:
    await saved(tmp_path, taken(1))
    await saved(tmp_path, taken(2))
    assert numbered(tmp_path, 2)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda content: content[:-1], "corrupt"),
        (lambda content: content[:500] + b"\0" + content[501:], "corrupt"),
        (lambda content: b"", "foreign"),
        (lambda content: content[:8] + b"\x03" + content[9:], "newer"),
    ],
)
async def test_a_checkpoint_that_cannot_be_used_is_told_and_the_one_before_loaded(
    damage: Any, reason: str, tmp_path: Path
) -> None:
    await saved(tmp_path, taken(1), taken(2))
    newest = numbered(tmp_path, 2)
    newest.write_bytes(damage(newest.read_bytes()))
    told = Told()
    with capture_logs() as logs:
        found = await keeper(tmp_path, told=told).load()
    assert found is not None
    assert found.cursor == taken(1).cursor
    assert told.failed == {reason: 1}
    (warning,) = [each for each in logs if each["log_level"] == "warning"]
    assert warning["event"] == "checkpoint cannot be used"
    assert (warning["generation"], warning["reason"], warning["of"]) == (2, reason, "0-of-1")


async def test_where_no_checkpoint_can_be_used_nothing_is_loaded_and_the_next_is_saved(
    tmp_path: Path,
) -> None:
    await saved(tmp_path, taken(1), taken(2))
    for number in (1, 2):
        numbered(tmp_path, number).write_bytes(b"rubbish")
    told = Told()
    keeping = keeper(tmp_path, told=told)
    assert await keeping.load() is None
    assert told.failed == {"foreign": 2}
    await keeping.save(taken(3))
    assert (await loaded(tmp_path)).cursor == taken(3).cursor


async def test_the_age_of_what_is_gone_on_from_is_told_at_once(tmp_path: Path) -> None:
    await saved(tmp_path, taken(1), taken(2))
    told = Told()
    await keeper(tmp_path, told=told).load()
    assert told.loaded == [taken(2).written]


async def test_that_histories_begin_anew_is_told_once_and_why(tmp_path: Path) -> None:
    await saved(tmp_path, taken(1), taken(2))
    for number in (1, 2):
        numbered(tmp_path, number).write_bytes(b"rubbish")
    told = Told()
    keeping = keeper(tmp_path, told=told)
    with capture_logs() as logs:
        await keeping.load()
        await keeping.save(taken(3))
    [warning] = [each for each in logs if each["event"] == "histories begin anew"]
    assert warning["log_level"] == "warning"
    assert warning["why"].count("no checkpoint") == 2
    assert warning["stored"] == 2
    assert not told.loaded


async def test_that_there_is_no_checkpoint_at_all_is_told_as_the_reason(tmp_path: Path) -> None:
    with capture_logs() as logs:
        await keeper(tmp_path).load()
    [warning] = [each for each in logs if each["log_level"] == "warning"]
    assert warning["why"] == "no checkpoint of this shard is stored"


async def test_another_shards_file_under_our_name_is_refused(tmp_path: Path) -> None:
    await saved(tmp_path, taken(1), shard=Shard(1, 2))
    path = numbered(tmp_path, 1)
    path.rename(path.with_name(path.name.replace("1-of-2", "0-of-2")))
    told = Told()
    assert await keeper(tmp_path, shard=Shard(0, 2), told=told).load() is None
    assert told.failed["foreign"] == 1


async def test_histories_of_another_half_life_are_of_no_use(tmp_path: Path) -> None:
    await saved(tmp_path, taken(1))
    told = Told()
    with capture_logs() as logs:
        assert await keeper(tmp_path, told=told, half_life=2 * HALF_LIFE).load() is None
    assert told.failed == {"foreign": 1}
    assert "half_life 86400 s, which is 172800 s now" in str(logs)


async def test_after_falling_back_the_one_good_checkpoint_is_not_overwritten() -> None:
    for step in itertools.count():
        async with kube() as (fake, client):
            await saved(config_maps(client), taken(1), taken(2))
            _damage(fake, generation=2)
            switch = KillSwitch(at=step)
            keeping = keeper(config_maps(client, switch))
            await keeping.load()
            with suppress(Killed):
                await keeping.save(taken(3))
            cursor = (await loaded(config_maps(client))).cursor
            assert cursor in (taken(1).cursor, taken(3).cursor)
            if switch.steps <= step:
                break
    assert cursor == taken(3).cursor
    assert step >= 3


def _damage(fake: Any, *, generation: int) -> None:
    for each in fake.objects(CONFIG_MAPS):
        if f'"generation":{generation},' in each["metadata"]["annotations"]["tensor-fusion.ai/checkpoint"]:
            fake.put(CONFIG_MAPS, {**each, "binaryData": {"part": "cnViYmlzaA=="}})


async def test_killed_in_mid_write_a_process_loses_only_what_it_was_writing() -> None:
    for step in itertools.count():
        async with kube() as (_, client):
            switch = KillSwitch()
            keeping = keeper(config_maps(client, switch))
            await keeping.load()
            for minute in (1, 2):
                await keeping.save(taken(minute))
            switch.steps, switch.at = 0, step
            with suppress(Killed):
                await keeping.save(taken(3))
            cursor = (await loaded(config_maps(client))).cursor
            assert cursor in (taken(2).cursor, taken(3).cursor)
            if switch.steps <= step:
                break
    assert cursor == taken(3).cursor
    assert step >= 3


async def test_a_save_that_failed_is_made_up_for_by_the_next() -> None:
    async with kube() as (fake, client):
        told = Told()
        keeping = keeper(config_maps(client), told=told)
        await keeping.load()
        await keeping.save(taken(1))
        await keeping.save(taken(2))
        fake.fail(r"-b-0$", code=403, reason="Forbidden", method="PUT")
        with pytest.raises(CheckpointUnavailable, match="Forbidden"):
            await keeping.save(taken(3))
        assert (await loaded(config_maps(client))).cursor == taken(2).cursor
        await keeping.save(taken(4))
        assert (await loaded(config_maps(client))).cursor == taken(4).cursor
        assert told.failed == {"unavailable": 1}


async def test_a_save_that_was_complete_but_for_its_answer_is_gone_on_from() -> None:
    async with kube() as (fake, client):
        keeping = keeper(config_maps(client))
        await keeping.load()
        await keeping.save(taken(1, count=1))
        fake.drop(CONFIG_MAP, method="POST")
        with pytest.raises(CheckpointUnavailable):
            await keeping.save(taken(2, count=1))
        assert (await loaded(config_maps(client))).cursor == taken(2).cursor
        await keeping.save(taken(3, count=1))
        assert (await loaded(config_maps(client))).cursor == taken(3).cursor


async def test_who_is_no_longer_alone_writes_nothing_now_or_later() -> None:
    async with kube() as (fake, client):
        told = Told()
        old = keeper(config_maps(client), told=told)
        await old.load()
        await old.save(taken(1))
        await saved(config_maps(client), taken(2), taken(3))
        stored = fake.objects(CONFIG_MAPS)
        for _ in range(2):
            with pytest.raises(CheckpointConflict):
                await old.save(taken(4))
        assert fake.objects(CONFIG_MAPS) == stored
        assert told.failed == {"conflict": 2}


async def test_who_may_no_longer_write_says_so() -> None:
    def check() -> None:
        raise NotLeader

    async with kube() as (_, client):
        with pytest.raises(NotLeader):
            await saved(config_maps(client, check), taken(1))


async def test_a_save_takes_a_bounded_time() -> None:
    async with kube() as (fake, client):
        fake.delay(CONFIG_MAP, 3.0, method="POST")
        told = Told()
        keeping = keeper(config_maps(client), told=told, timing=KeeperTiming(patience=0, timeout=0.05))
        await keeping.load()
        with pytest.raises(CheckpointUnavailable, match=r"0-of-1 was not saved within 0\.05 s"):
            await keeping.save(taken(1, count=1))
        assert told.failed == {"unavailable": 1}


async def test_a_store_that_is_away_for_a_moment_is_waited_for() -> None:
    async with kube() as (fake, client):
        await saved(config_maps(client), taken(1))
        fake.fail(CONFIG_MAP, code=403, reason="Forbidden", times=2)
        keeping = keeper(config_maps(client), timing=KeeperTiming(patience=10))
        assert await keeping.load() is not None


async def test_a_store_that_stays_away_is_told_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(CheckpointUnavailable, match="No such file or directory"):
        await keeper(tmp_path / "gone").load()


async def divided(store: Any, whole: Snapshot, count: int) -> None:
    """What `count` shards have saved of a whole cluster's histories."""
    for shard in (Shard(index, count) for index in range(count)):
        await saved(store, whole.select(shard.owns), shard=shard)


@pytest.mark.parametrize(("former", "present"), [(1, 3), (3, 1), (2, 3)])
async def test_another_number_of_shards_takes_over_all_histories(
    former: int, present: int, tmp_path: Path
) -> None:
    whole = taken(1)
    await divided(tmp_path, whole, former)
    found: dict[Any, float] = {}
    for shard in (Shard(index, present) for index in range(present)):
        part = await loaded(tmp_path, shard=shard)
        assert all(shard.owns(key) for key in part.keys)
        await saved(tmp_path, part, shard=shard)
        found |= dict(zip(part.keys, part.tflops.weights.sum(axis=1).tolist(), strict=True))
    assert set(found) == set(whole.keys)
    expected = dict(zip(whole.keys, whole.tflops.weights.sum(axis=1).tolist(), strict=True))
    assert found == pytest.approx(expected, rel=1e-6)


async def test_histories_taken_over_know_how_far_each_former_shard_had_read(tmp_path: Path) -> None:
    whole = taken(0)
    for shard, cursor in ((Shard(0, 2), NOW), (Shard(1, 2), NOW - 120)):
        part = whole.select(shard.owns)
        part = replace(part, cursor=cursor, until=np.full(len(part), cursor))
        await saved(tmp_path, part, shard=shard)
    found = await loaded(tmp_path)
    assert found.cursor == NOW - 120
    until = dict(zip(found.keys, found.until.tolist(), strict=True))
    assert until == {key: NOW if Shard(0, 2).owns(key) else NOW - 120 for key in whole.keys}


async def test_a_former_shard_without_a_usable_checkpoint_is_named_and_the_others_taken_over(
    tmp_path: Path,
) -> None:
    whole = taken(1)
    await divided(tmp_path, whole, 3)
    (lost,) = files(tmp_path, "checkpoint-1-of-3-*")
    lost.write_bytes(b"rubbish")
    told = Told()
    with capture_logs() as logs:
        found = await keeper(tmp_path, told=told).load()
    assert found is not None
    assert set(found.keys) == {key for key in whole.keys if not Shard(1, 3).owns(key)}
    assert told.failed == {"foreign": 1, "missing": 1}
    assert any(each.get("shards") == ["1-of-3"] for each in logs)


async def test_former_checkpoints_are_removed_by_whichever_shard_completes_the_present_ones(
    tmp_path: Path,
) -> None:
    whole = taken(0)
    await divided(tmp_path, whole, 1)
    late = replace(whole, written=NOW + 7200)
    keepers = {shard: keeper(tmp_path, shard=shard, now=NOW + 7200) for shard in (Shard(0, 2), Shard(1, 2))}
    for keeping in keepers.values():
        await keeping.load()
    for shard, keeping in keepers.items():
        assert len(files(tmp_path, "*-of-1-*")) == 1
        await keeping.save(late.select(shard.owns))
    assert not files(tmp_path, "*-of-1-*")
    assert len(files(tmp_path, "*-of-2-*")) == 2


async def test_former_checkpoints_that_may_still_be_written_stay(tmp_path: Path) -> None:
    whole = taken(0)
    await divided(tmp_path, whole, 2)
    keeping = keeper(tmp_path, now=NOW + 60)
    await keeping.load()
    await keeping.save(replace(whole, written=NOW + 60))
    assert len(files(tmp_path, "*-of-2-*")) == 2


async def test_that_former_checkpoints_cannot_be_removed_fails_no_save() -> None:
    async with kube() as (fake, client):
        await divided(config_maps(client), taken(0, count=1), 2)
        told = Told()
        keeping = keeper(config_maps(client), told=told, now=NOW + 7200)
        await keeping.load()
        fake.fail(CONFIG_MAP, code=403, reason="Forbidden", method="DELETE")
        with capture_logs() as logs:
            await keeping.save(replace(taken(0, count=1), written=NOW + 7200))
        assert [each["generation"] for each in told.saved] == [1]
        assert "checkpoints of former shards are not removed yet" in {each["event"] for each in logs}
        await keeping.save(replace(taken(0, count=1), written=NOW + 7260))
        names = [each["metadata"]["name"] for each in fake.objects(CONFIG_MAPS)]
        assert all("-0-of-1-" in name for name in names)
