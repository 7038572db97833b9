from dataclasses import replace

import numpy as np
import pytest

from recommender.checkpoints.snapshot import PendingBackfill, merged
from recommender.keys import WorkloadKey
from tests.recommender.checkpoints.making import HALF_LIFE, NOW, random_snapshot

A, B, C = (WorkloadKey("team", name) for name in "abc")


def test_a_part_of_a_snapshot_has_the_rows_and_pods_of_its_workloads() -> None:
    whole = random_snapshot(3, pods=2)
    part = whole.select(lambda key: key != whole.keys[1])
    assert part.keys == (whole.keys[0], whole.keys[2])
    np.testing.assert_array_equal(part.tflops.weights, whole.tflops.weights[[0, 2]])
    np.testing.assert_array_equal(part.vram.weights, whole.vram.weights[[0, 2]])
    np.testing.assert_array_equal(part.samples, whole.samples[[0, 2]])
    owners = {uid: whole.keys[row] for uid, row in zip(whole.peaks.uids, whole.peaks.row, strict=True)}
    assert {uid: part.keys[row] for uid, row in zip(part.peaks.uids, part.peaks.row, strict=True)} == {
        uid: key for uid, key in owners.items() if key != whole.keys[1]
    }


def test_a_part_of_a_snapshot_has_what_is_still_to_be_read_for_its_workloads() -> None:
    whole = replace(
        random_snapshot(1), backfill=(PendingBackfill((A, B), 1.0, 2.0), PendingBackfill((B,), 2.0, 3.0))
    )
    assert whole.select(lambda key: key == A).backfill == (PendingBackfill((A,), 1.0, 2.0),)


def test_parts_put_together_again_are_the_whole() -> None:
    whole = random_snapshot(5, pods=2)
    mine = frozenset(whole.keys[:2])
    again = merged([whole.select(mine.__contains__), whole.select(lambda key: key not in mine)])
    assert again.keys == whole.keys
    np.testing.assert_array_equal(again.tflops.weights, whole.tflops.weights)
    np.testing.assert_array_equal(again.until, whole.until)
    assert again.peaks.uids == whole.peaks.uids
    np.testing.assert_array_equal(again.peaks.row, whole.peaks.row)


def test_the_cursor_of_several_is_that_of_the_one_furthest_behind() -> None:
    ahead, behind = random_snapshot(1), random_snapshot(2, namespace="other")
    nothing = random_snapshot(0)
    ahead, behind = replace(ahead, cursor=NOW), replace(behind, cursor=NOW - 60)
    assert merged([ahead, behind, replace(nothing, cursor=None)]).cursor == NOW - 60
    assert merged([replace(nothing, cursor=None)]).cursor is None


def test_histograms_are_aligned_to_the_newest_reference() -> None:
    old, new = random_snapshot(1), random_snapshot(1, namespace="other")
    new = replace(new, tflops=replace(new.tflops, reference=old.tflops.reference + 2 * HALF_LIFE))
    again = merged([new, old])
    assert again.tflops.reference == new.tflops.reference
    weights = {key: again.tflops.weights[row] for row, key in enumerate(again.keys)}
    np.testing.assert_array_equal(weights[old.keys[0]], old.tflops.weights[0] / 4)
    np.testing.assert_array_equal(weights[new.keys[0]], new.tflops.weights[0])


def test_of_a_pod_that_changed_its_workload_the_later_windows_count() -> None:
    before, after = random_snapshot(1), random_snapshot(1, namespace="other")
    after = replace(after, written=before.written + 60, peaks=replace(after.peaks, uids=before.peaks.uids))
    again = merged([after, before])
    assert again.peaks.uids == before.peaks.uids
    assert again.keys[again.peaks.row[0]] == after.keys[0]


def test_histories_that_do_not_fit_together_are_refused() -> None:
    one, other = random_snapshot(1), random_snapshot(1, namespace="other")
    with pytest.raises(ValueError, match="half-lives"):
        merged([one, replace(other, vram=replace(other.vram, half_life=60.0))])
    with pytest.raises(ValueError, match="windows"):
        merged([one, replace(other, peaks=replace(other.peaks, window=60.0))])
    with pytest.raises(ValueError, match="twice"):
        merged([one, one])
    with pytest.raises(ValueError, match="nothing"):
        merged([])


def test_arrays_of_the_wrong_shape_or_content_are_refused() -> None:
    snapshot = random_snapshot(2)
    with pytest.raises(ValueError, match="first must be"):
        replace(snapshot, first=snapshot.first[:1])
    with pytest.raises(ValueError, match="samples must be"):
        replace(snapshot, samples=snapshot.samples[:, np.newaxis])
    with pytest.raises(ValueError, match="row"):
        replace(snapshot, peaks=replace(snapshot.peaks, row=snapshot.peaks.row + 1))
    with pytest.raises(ValueError, match="negative, infinite or NaN"):
        replace(snapshot.tflops, weights=np.full_like(snapshot.tflops.weights, np.nan))
    with pytest.raises(ValueError, match="no times"):
        replace(snapshot, written=float("nan"))
