import contextlib
import hashlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.bank.buckets import TFLOPS, VRAM, ExponentialBuckets
from recommender.checkpoints.codec import decode, encode
from recommender.checkpoints.errors import (
    CheckpointCorrupt,
    CheckpointForeign,
    CheckpointIncomplete,
    CheckpointNewer,
    CheckpointUnreadable,
)
from recommender.checkpoints.quantising import quantised, restored
from recommender.checkpoints.snapshot import OpenPeaks, PendingBackfill, Snapshot
from recommender.keys import WorkloadKey
from recommender.leadership.shards import Shard
from tests.recommender.checkpoints.making import NOW, random_snapshot
from tests.support.examples import examples

PART = 750 * 1024
SMALL_PART = 4 * 1024
COLUMNS = ("first", "last", "touched", "until", "samples", "preallocation")

times = st.floats(0, 4e9) | st.just(float("nan"))
names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
keys = st.builds(WorkloadKey, names, names)


def saved(snapshot: Snapshot, *, part_bytes: int = PART) -> tuple[bytes, ...]:
    return encode(snapshot, shard=Shard(1, 3), generation=7, part_bytes=part_bytes)


def there_and_back(snapshot: Snapshot) -> Snapshot:
    return decode(saved(snapshot)).snapshot


def with_peaks(uids: tuple[str, ...], peaks: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> Snapshot:
    """Pods of one workload."""
    zeros = np.zeros(len(uids))
    return replace(
        random_snapshot(1),
        peaks=OpenPeaks(
            uids, zeros.astype(np.intp), zeros + NOW, zeros.astype(np.int64) + 3, peaks, window=60.0
        ),
    )


def test_a_snapshot_comes_back_as_it_was_with_its_histograms_rounded() -> None:
    before = random_snapshot(50, pods=2)
    after = there_and_back(before)
    assert after.keys == before.keys
    assert (after.cursor, after.written, after.backfill) == (before.cursor, before.written, before.backfill)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    for old, new in ((before.tflops, after.tflops), (before.vram, after.vram)):
        assert (new.reference, new.half_life, new.buckets) == (old.reference, old.half_life, old.buckets)
        np.testing.assert_array_equal(new.weights, restored(quantised(old.weights), old.buckets.count))
    assert after.peaks.uids == before.peaks.uids
    assert after.peaks.window == before.peaks.window
    for name in ("row", "opened", "newest"):
        np.testing.assert_array_equal(getattr(after.peaks, name), getattr(before.peaks, name))


def test_an_empty_snapshot_comes_back_empty() -> None:
    after = there_and_back(replace(random_snapshot(0), cursor=None))
    assert (len(after), after.cursor, after.peaks.uids) == (0, None, ())
    assert after.peaks.depth == random_snapshot(0).peaks.depth


def test_it_is_told_whose_and_which_checkpoint_it_is() -> None:
    document = decode(saved(random_snapshot(1)))
    assert (document.shard, document.generation) == (Shard(1, 3), 7)


@settings(max_examples=examples(25))
@given(st.lists(keys, min_size=4, max_size=4, unique=True), st.lists(times, min_size=4, max_size=4))
def test_names_and_times_of_every_kind_come_back(found: list[WorkloadKey], when: list[float]) -> None:
    whole = random_snapshot(4)
    before = replace(whole, keys=tuple(found), first=np.array(when), until=np.array(when[::-1]))
    after = there_and_back(before)
    assert after.keys == before.keys
    np.testing.assert_array_equal(after.first, before.first)
    np.testing.assert_array_equal(after.until, before.until)


def test_a_name_that_no_object_can_have_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        saved(replace(random_snapshot(1), keys=(WorkloadKey("team", "a\0b"),)))


def test_what_is_still_to_be_read_comes_back_for_workloads_with_and_without_a_history() -> None:
    whole = random_snapshot(2)
    new = WorkloadKey("elsewhere", "new")
    pending = (PendingBackfill((whole.keys[1], new), NOW - 60, NOW), PendingBackfill((new,), 0.5, 1.0))
    assert there_and_back(replace(whole, backfill=pending)).backfill == pending


def test_uids_that_are_no_uuids_come_back() -> None:
    uids = (
        "0d2b6f0e-6c3f-4f5e-9b4e-0f6f6d2f3a11",
        "0D2B6F0E-6C3F-4F5E-9B4E-0F6F6D2F3A11",
        "",
        "8d6e5c4b3a2f1e0d8d6e5c4b3a2f1e0d",
        "11111111-2222-3333-4444-555555555555",
    )
    assert there_and_back(with_peaks(uids, np.full((5, 8), np.nan))).peaks.uids == uids


@pytest.mark.parametrize("buckets", [TFLOPS, VRAM])
def test_a_peak_comes_back_inside_of_its_bucket(buckets: ExponentialBuckets) -> None:
    ends = np.append(buckets.starts[1:], 2 * buckets.starts[-1])
    inside = np.concatenate([buckets.starts * 0.99 + ends * 0.01, buckets.starts * 0.01 + ends * 0.99])
    before = with_peaks(tuple(map(str, range(len(inside)))), np.column_stack([inside, inside[::-1]]))
    before = replace(
        before,
        vram=replace(before.vram, buckets=buckets, weights=np.zeros((1, buckets.count), np.float32)),
    )
    after = there_and_back(before)
    assert set(buckets.find(inside).tolist()) == set(range(buckets.count))
    np.testing.assert_array_equal(buckets.find(after.peaks.peaks), buckets.find(before.peaks.peaks))


def test_windows_without_a_peak_come_back_without_one() -> None:
    peaks = np.array([[np.nan, 5e9], [0.0, np.nan]])
    after = there_and_back(with_peaks(("a", "b"), peaks)).peaks.peaks
    np.testing.assert_array_equal(np.isnan(after), np.isnan(peaks))


def test_parts_are_no_longer_than_asked_for_and_come_in_any_order() -> None:
    before = random_snapshot(300)
    parts = saved(before, part_bytes=SMALL_PART)
    assert len(parts) > 5
    assert max(map(len, parts)) <= SMALL_PART
    assert decode(parts[::-1]).snapshot.keys == before.keys


def test_a_workload_with_a_day_of_samples_takes_less_than_an_api_call_for_five_thousand() -> None:
    parts = saved(random_snapshot(5000))
    assert len(parts) == 1


def test_parts_too_short_for_their_header_are_refused() -> None:
    with pytest.raises(ValueError, match="too short"):
        saved(random_snapshot(1), part_bytes=1000)


def test_a_missing_part_is_told() -> None:
    parts = saved(random_snapshot(300), part_bytes=SMALL_PART)
    for some in (parts[1:], parts[:-1], (), (*parts, parts[0])):
        with pytest.raises(CheckpointIncomplete):
            decode(some)


def test_parts_of_different_checkpoints_are_never_put_together() -> None:
    one = saved(random_snapshot(300), part_bytes=SMALL_PART)
    other = saved(random_snapshot(300, seed=1), part_bytes=SMALL_PART)
    assert len(one) == len(other)
    with pytest.raises(CheckpointCorrupt):
        decode([one[0], *other[1:]])


def test_a_later_format_is_told() -> None:
    (part,) = saved(random_snapshot(1))
    with pytest.raises(CheckpointNewer, match="format 3, and this version reads formats up to 2"):
        decode([part[:8] + struct.pack("<H", 3) + part[10:]])


def test_a_former_format_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as former:
        former.setattr("recommender.checkpoints.parts.VERSION", 1)
        (part,) = saved(random_snapshot(1))
    with pytest.raises(CheckpointForeign, match="the former format 1, which is no longer read"):
        decode([part])


def test_other_data_is_told() -> None:
    with pytest.raises(CheckpointForeign, match="no checkpoint"):
        decode([b"something else"])


@given(data=st.data())
def test_damaged_parts_are_always_refused(data: st.DataObject) -> None:
    parts = list(DAMAGED)
    which = data.draw(st.integers(0, len(parts) - 1))
    damage = data.draw(st.sampled_from([_flipped, _truncated, _lengthened, _overwritten]))
    parts[which] = damage(parts[which], data.draw)
    with pytest.raises(CheckpointUnreadable):
        decode(parts)


Draw = Callable[[st.SearchStrategy[int]], int]
DAMAGED = saved(random_snapshot(40), part_bytes=SMALL_PART)


def _flipped(part: bytes, draw: Draw) -> bytes:
    bits = {draw(st.integers(0, 8 * len(part) - 1)) for _ in range(draw(st.integers(1, 4)))}
    changed = bytearray(part)
    for bit in bits:
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _truncated(part: bytes, draw: Draw) -> bytes:
    return part[: draw(st.integers(0, len(part) - 1))]


def _lengthened(part: bytes, draw: Draw) -> bytes:
    return part + bytes(draw(st.integers(1, 40)))


def _overwritten(part: bytes, draw: Draw) -> bytes:
    start = draw(st.integers(0, len(part) - 1))
    stretch = bytes(255 - byte for byte in part[start : start + draw(st.integers(1, 400))])
    return part[:start] + stretch + part[start + len(stretch) :]


def forged(change: Callable[[dict[str, object]], object], payload: bytes | None = None) -> bytes:
    """A part whose contents say something else, with digests that are right."""
    (part,) = saved(random_snapshot(3))
    (length,) = struct.unpack_from("<I", part, 10)
    header = msgspec.json.decode(part[30 : 30 + length])
    payload = part[30 + length :] if payload is None else payload
    change(header["contents"])
    header["digest"] = hashlib.blake2b(payload, digest_size=16).hexdigest()
    return signed(msgspec.json.encode(header), payload)


def signed(header: bytes, payload: bytes) -> bytes:
    prefix = b"VGPUCKPT" + struct.pack("<HI", 2, len(header))
    digest = hashlib.blake2b(prefix + bytes(16) + header + payload, digest_size=16).digest()
    return prefix + digest + header + payload


def test_a_forged_part_with_the_right_digests_is_read() -> None:
    assert len(decode([forged(lambda contents: None)]).snapshot) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"workloads": 2},
        {"workloads": -1},
        {"workloads": 10**9},
        {"workloads": "three"},
        {"names": 2},
        {"namespaces": 7},
        {"pods": 2},
        {"depth": 9},
        {"depth": 10**30},
        {"window": 0.0},
        {"columns": []},
        {"tflops": {"reference": 0.0, "half_life": -1.0, "first": 0.1, "ratio": 1.05, "maximum": 1e4}},
        {"tflops": {"reference": 0.0, "half_life": 1.0, "first": 0.1, "ratio": 1.0, "maximum": 1e4}},
        {"tflops": {"reference": 0.0, "half_life": 1.0, "first": 1e-9, "ratio": 1.0001, "maximum": 1e9}},
        {"tflops": {"reference": 0.0, "half_life": 1.0, "first": 1.0, "ratio": 1.5, "maximum": 10.0}},
    ],
)
def test_contents_that_contradict_themselves_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(CheckpointCorrupt):
        decode([forged(lambda contents: contents.update(change))])


def test_a_column_that_unpacks_to_more_than_it_says_is_not_unpacked() -> None:
    bomb = zlib.compress(bytes(10_000_000))
    columns = [{"name": "namespaces", "plain": 10, "packed": len(bomb)}]
    with pytest.raises(CheckpointCorrupt, match="does not unpack to 10 bytes"):
        decode([forged(lambda contents: contents.update(columns=columns), bomb)])


def test_columns_that_say_that_they_unpack_to_far_too_much_are_refused() -> None:
    bomb = zlib.compress(bytes(1000))
    columns = [{"name": "namespaces", "plain": 2 << 30, "packed": len(bomb)}]
    with pytest.raises(CheckpointCorrupt, match="would unpack to more than"):
        decode([forged(lambda contents: contents.update(columns=columns), bomb)])


@settings(max_examples=examples(25))
@given(st.data())
def test_columns_that_are_mixed_up_never_raise_anything_else(data: st.DataObject) -> None:
    def change(contents: dict[str, object]) -> None:
        columns = contents["columns"]
        assert isinstance(columns, list)
        name, other = data.draw(st.permutations([column["name"] for column in columns]))[:2]
        for column in columns:
            column["name"] = {name: other, other: name}.get(column["name"], column["name"])

    with contextlib.suppress(CheckpointCorrupt):
        decode([forged(change)])
