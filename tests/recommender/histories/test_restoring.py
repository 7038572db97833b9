from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from recommender.bank import buckets
from recommender.bank.buckets import IndexArray
from recommender.bank.kernels import NumpyKernels
from recommender.bank.percentiles import WeightArray
from recommender.checkpoints.snapshot import PendingBackfill, Snapshot
from recommender.histories.histories import Histories
from recommender.histories.restoring import Inheritance, restored
from tests.support.using import DAY, GIB, NOW, WEB, minutes, tracked, usage
from vgpu.slices import Resource

PENDING = PendingBackfill((WEB,), NOW - DAY, NOW - 3600)


def saved(*, cursor: float = NOW) -> Snapshot:
    kept = Histories(half_life=DAY, peak_window=DAY, now=NOW)
    kept.feed(usage(tflops=[minutes(tracked(), 3.0)], vram=[minutes(tracked(), GIB)]))
    return kept.snapshot(written=NOW, cursor=cursor, backfill=(PENDING,))


def inherited(snapshot: Snapshot | None, *, now: float = NOW + 60, half_life: float = DAY) -> Inheritance:
    return restored(snapshot, half_life=half_life, peak_window=DAY, now=now)


def late(found: Inheritance, at: float) -> int:
    """Whether a sample of that time counts as one that was taken already."""
    return found.histories.feed(usage(tflops=[minutes(tracked(), 1.0, begin=at)], until=at)).late


def test_a_term_goes_on_from_what_was_saved() -> None:
    found = inherited(saved())
    assert (found.keys, found.cursor, found.pending) == ((WEB,), NOW, (PENDING,))
    assert found.histories.estimate([WEB]).of(0)[Resource.TFLOPS].target > 3000
    assert (late(found, NOW), late(found, NOW + 60)) == (1, 0)


def test_without_anything_saved_it_begins_anew() -> None:
    found = inherited(None)
    assert (len(found.histories), found.cursor, found.pending) == (0, None, ())


@pytest.mark.parametrize("other", ["half-life", "buckets"])
def test_histories_of_another_kind_are_refused_with_a_warning(other: str) -> None:
    snapshot = saved()
    if other == "buckets":
        snapshot = replace(snapshot, vram=replace(snapshot.vram, buckets=buckets.TFLOPS))
    with capture_logs() as logs:
        found = inherited(snapshot, half_life=DAY / 2 if other == "half-life" else DAY)
    assert (len(found.histories), found.keys, found.cursor, found.pending) == (0, (), None, ())
    [log] = logs
    assert log["log_level"] == "warning"
    assert "cannot be gone on with" in log["reason"]


def test_histories_saved_by_a_clock_that_was_ahead_take_in_what_comes_from_now_on() -> None:
    found = inherited(saved(cursor=NOW + 7200), now=NOW + 60)
    assert found.cursor == NOW + 60
    assert (late(found, NOW + 60), late(found, NOW + 120)) == (1, 0)


def test_while_the_clock_is_behind_nothing_counts_twice() -> None:
    found = inherited(saved(cursor=NOW + 120), now=NOW - 1800)
    assert found.cursor == NOW - 1800
    assert (late(found, NOW - 1740), late(found, NOW), late(found, NOW + 60)) == (1, 1, 0)


def test_a_shard_that_was_ahead_of_the_others_makes_nothing_late() -> None:
    snapshot = saved(cursor=NOW)
    found = inherited(replace(snapshot, until=snapshot.until + DAY), now=NOW + 60)
    assert late(found, NOW + 120) == 0


def test_usage_from_before_all_that_counts_is_left_out_and_told() -> None:
    with capture_logs() as logs:
        found = inherited(saved(), now=NOW + 10 * DAY)
    assert found.cursor == NOW + 2 * DAY
    assert [(log["log_level"], log["seconds"]) for log in logs] == [("warning", 2 * DAY)]
    assert inherited(saved(), now=NOW + 8 * DAY).cursor == NOW


def test_histories_are_worked_on_by_the_kernels_that_are_given() -> None:
    class Kernels(NumpyKernels):
        added = 0

        def add(self, weights: WeightArray, cells: IndexArray, amounts: WeightArray) -> None:
            Kernels.added += 1
            super().add(weights, cells, amounts)

    found = restored(saved(), half_life=DAY, peak_window=DAY, now=NOW + 60, kernels=Kernels())
    assert late(found, NOW + 60) == 0
    assert Kernels.added > 0
