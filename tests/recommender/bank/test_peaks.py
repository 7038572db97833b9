import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.bank.buckets import VRAM
from recommender.bank.histograms import HistogramBank
from recommender.bank.peaks import PeakWindows
from tests.support.examples import examples
from tests.support.reference_histogram import ReferenceHistogram, inside
from tests.support.reference_peaks import PeakSample, ReferencePeaks

HOUR = 3600.0
DAY = 24 * HOUR
START = 1_700_000_000.0
SMALL, MIDDLE, LARGE = (inside(VRAM, bucket, 0.5) for bucket in (20, 60, 100))


def windows(rows: int = 1, *, depth: int = 8) -> tuple[PeakWindows, HistogramBank]:
    bank = HistogramBank(VRAM, half_life=DAY, reference=START)
    for _ in range(rows):
        bank.add_row()
    return PeakWindows(bank, depth=depth), bank


def peaks_of(bank: HistogramBank, row: int = 0) -> dict[int, float]:
    """Weight of each bucket that counts, as peaks at the reference."""
    weights = bank.weights(row)
    return {int(bucket): float(weights[bucket]) for bucket in np.flatnonzero(weights >= bank.epsilon)}


def test_a_peak_is_counted_once_at_the_end_of_the_window_that_its_first_sample_opens() -> None:
    peaks, bank = windows()
    for hour in range(24):
        peaks.observe("pod", 0, START + hour * HOUR, MIDDLE)
    # One half-life ahead of the reference a weight of 1 counts 2.
    assert peaks_of(bank) == {60: 2}


def test_a_higher_sample_takes_the_place_of_the_peak() -> None:
    peaks, bank = windows()
    for hour, value in enumerate([SMALL, LARGE, MIDDLE]):
        peaks.observe("pod", 0, START + hour * HOUR, value)
    assert peaks_of(bank) == {100: 2}


def test_a_higher_sample_takes_the_place_of_a_peak_of_zero() -> None:
    peaks, bank = windows()
    peaks.observe("pod", 0, START, 0.0)
    assert peaks_of(bank) == {0: 2}
    peaks.observe("pod", 0, START + HOUR, MIDDLE)
    assert peaks_of(bank) == {60: 2}


def test_a_sample_at_the_end_of_a_window_belongs_to_the_next() -> None:
    peaks, bank = windows()
    peaks.observe("pod", 0, START, LARGE)
    peaks.observe("pod", 0, START + DAY - 1, LARGE)
    peaks.observe("pod", 0, START + DAY, SMALL)
    assert peaks_of(bank) == {100: 2, 20: 4}


def test_a_sample_after_a_pause_shifts_the_window_by_whole_windows() -> None:
    peaks, bank = windows()
    peaks.observe("pod", 0, START, SMALL)
    peaks.observe("pod", 0, START + 3.5 * DAY, LARGE)
    assert peaks_of(bank) == {20: 2, 100: 16}


def test_workers_are_told_apart() -> None:
    peaks, bank = windows()
    peaks.observe("one", 0, START, SMALL)
    peaks.observe("two", 0, START, SMALL)
    assert peaks_of(bank) == {20: 4}


def test_a_peak_counts_in_the_row_of_its_workload() -> None:
    peaks, bank = windows(rows=2)
    peaks.observe_many(["one", "two"], [0, 1], [START, START], [SMALL, LARGE])
    assert (peaks_of(bank, 0), peaks_of(bank, 1)) == ({20: 2}, {100: 2})


def test_a_late_sample_counts_in_the_window_in_which_it_was_taken() -> None:
    peaks, bank = windows()
    peaks.observe("pod", 0, START + DAY, SMALL)
    peaks.observe("pod", 0, START + DAY / 2, MIDDLE)
    peaks.observe("pod", 0, START + DAY / 4, LARGE)
    # The earlier window ended when the first sample came: a day after the reference.
    assert peaks_of(bank) == {20: 4, 100: 2}


def test_a_sample_from_before_the_windows_kept_is_left_out_and_reported() -> None:
    peaks, bank = windows(depth=2)
    times = [START + 3 * DAY, START + 2 * DAY, START + DAY]
    peaks.observe("pod", 0, times[0], SMALL)
    assert peaks.observe_many(["pod", "pod"], [0, 0], times[1:], [LARGE, LARGE]) == 1
    assert peaks_of(bank) == {20: 16, 100: 8}


def test_a_window_that_is_kept_no_longer_is_not_mistaken_for_a_new_one() -> None:
    peaks, bank = windows(depth=2)
    for day in range(5):
        peaks.observe("pod", 0, START + day * DAY, MIDDLE)
    assert peaks_of(bank) == {60: 2 + 4 + 8 + 16 + 32}


def test_a_forgotten_worker_leaves_its_peaks_and_starts_anew() -> None:
    peaks, bank = windows()
    peaks.observe("pod", 0, START, LARGE)
    peaks.forget("pod")
    peaks.forget("pod")
    assert len(peaks) == 0
    peaks.observe("pod", 0, START, SMALL)
    assert peaks_of(bank) == {20: 2, 100: 2}


def test_the_workers_of_a_removed_row_are_forgotten() -> None:
    peaks, bank = windows(rows=2)
    peaks.observe_many(["one", "two", "other"], [0, 0, 1], [START] * 3, [SMALL] * 3)
    peaks.forget_row(0)
    bank.remove_row(0)
    assert len(peaks) == 1
    peaks.observe("other", 1, START, LARGE)
    assert peaks_of(bank, 1) == {100: 2}


def test_a_worker_that_moves_to_another_workload_starts_anew_there() -> None:
    peaks, bank = windows(rows=2)
    peaks.observe("pod", 0, START, LARGE)
    peaks.observe("pod", 1, START + HOUR, SMALL)
    assert peaks_of(bank, 0) == {100: 2}
    assert peaks_of(bank, 1) == pytest.approx({20: 2 ** (25 / 24)})
    assert len(peaks) == 1
    peaks.forget_row(0)
    assert len(peaks) == 1
    peaks.forget_row(1)
    assert len(peaks) == 0


def test_many_workers_that_come_and_go_do_not_mix() -> None:
    peaks, bank = windows()
    for turn in range(5):
        for pod in range(100):
            peaks.observe(f"{turn}-{pod}", 0, START, SMALL)
        for pod in range(0, 100, 2):
            peaks.forget(f"{turn}-{pod}")
    for turn in range(5):
        for pod in range(1, 100, 2):
            peaks.observe(f"{turn}-{pod}", 0, START, LARGE)
    assert peaks_of(bank) == {20: 500, 100: 500}


@pytest.mark.parametrize(("time", "value"), [(math.nan, 1.0), (math.inf, 1.0), (START, math.nan)])
def test_a_sample_that_cannot_be_is_refused_and_leaves_no_trace(time: float, value: float) -> None:
    peaks, bank = windows()
    with pytest.raises(ValueError, match="peak's"):
        peaks.observe_many(["one", "two"], [0, 0], [START, time], [SMALL, value])
    assert (len(peaks), peaks_of(bank)) == (0, {})


def test_windows_of_no_length_are_refused() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        PeakWindows(windows()[1], window=0)


_SAMPLES = st.lists(
    st.tuples(
        st.sampled_from(["one", "two", "three"]),
        st.integers(0, 5 * 86400),
        st.integers(0, 175),
    ),
    max_size=40,
)


@settings(max_examples=examples(40))
@given(_SAMPLES, st.randoms(use_true_random=False), st.integers(1, 7))
def test_samples_in_any_order_and_batches_leave_one_peak_for_each_worker_and_window(
    samples: list[tuple[str, int, int]], order: random.Random, size: int
) -> None:
    """Once every worker's first sample has opened its window; within float precision of the row's total."""
    peaks, bank = windows()
    expected = np.zeros(VRAM.count)
    highest: dict[tuple[str, int], int] = {}
    for worker in ("one", "two", "three"):
        samples = [(worker, 0, 0), *samples]
        peaks.observe(worker, 0, START, inside(VRAM, 0, 0.5))
    for worker, offset, bucket in samples:
        window = (worker, int(offset // DAY))
        highest[window] = max(bucket, highest.get(window, 0))
    for (_, day), bucket in highest.items():
        expected[bucket] += 2.0 ** (day + 1)
    order.shuffle(samples)
    for start in range(0, len(samples), size):
        workers, offsets, buckets = zip(*samples[start : start + size], strict=True)
        values = [inside(VRAM, bucket, 0.5) for bucket in buckets]
        assert peaks.observe_many(workers, [0] * len(workers), START + np.array(offsets), values) == 0
    assert bank.weights(0) == pytest.approx(expected, abs=1e-5 * expected.sum())


# Samples of which each names its worker by index


def test_the_workers_of_samples_may_be_named_once() -> None:
    peaks, bank = windows(rows=2)
    times = [START, START, START + HOUR]
    peaks.observe_many(["one", "two"], [0, 1], times, [SMALL, LARGE, MIDDLE], of=[0, 1, 0])
    assert (peaks_of(bank, 0), peaks_of(bank, 1)) == ({60: 2}, {100: 2})


def test_a_worker_without_samples_opens_no_window() -> None:
    peaks, bank = windows()
    peaks.observe_many(["idle", "pod"], [0, 0], [START], [SMALL], of=[1])
    assert len(peaks) == 1
    peaks.observe("idle", 0, START + HOUR, SMALL)
    assert peaks_of(bank) == pytest.approx({20: 2 + 2 ** (25 / 24)})


def test_a_sample_of_a_row_that_is_not_handed_out_leaves_no_trace() -> None:
    peaks, bank = windows()
    with pytest.raises(IndexError):
        peaks.observe_many(["one", "two"], [0, 1], [START, START], [SMALL, SMALL])
    assert (len(peaks), peaks_of(bank)) == (0, {})


def test_the_workers_of_many_rows_are_forgotten_together() -> None:
    peaks, _ = windows(rows=3)
    peaks.observe_many(["a", "b", "c", "d"], [0, 1, 2, 1], [START] * 4, [SMALL] * 4)
    peaks.forget_rows([0, 1])
    assert peaks.snapshot()[0] == ("c",)


# Storing


def test_a_snapshot_tells_the_newest_window_first() -> None:
    peaks, _ = windows(rows=2, depth=3)
    peaks.observe_many(["gone", "pod", "pod"], [0, 1, 1], START + np.array([0, 0, 2 * DAY]), [SMALL] * 3)
    peaks.observe("pod", 1, START + 2.5 * DAY, LARGE)
    peaks.forget("gone")
    uids, rows, opened, newest, stored = peaks.snapshot()
    assert (uids, rows.tolist(), opened.tolist(), newest.tolist()) == (("pod",), [1], [START], [2])
    assert np.isnan(stored).tolist() == [[False, True, False]]
    assert VRAM.find(stored[0, [0, 2]]).tolist() == [100, 20]


def test_a_snapshot_of_nothing_is_restored() -> None:
    peaks, bank = windows()
    peaks.restore(*windows()[0].snapshot())
    assert (len(peaks), peaks_of(bank)) == (0, {})


def test_windows_gone_on_with_know_the_peaks_that_the_bank_holds() -> None:
    before, bank = windows()
    before.observe("pod", 0, START, MIDDLE)
    after = PeakWindows(bank)
    after.restore(*before.snapshot())
    after.observe("pod", 0, START + HOUR, SMALL)
    assert peaks_of(bank) == {60: 2}
    after.observe("pod", 0, START + 2 * HOUR, LARGE)
    assert peaks_of(bank) == {100: 2}


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_the_newest_windows_are_gone_on_with_where_fewer_or_more_are_kept(depth: int) -> None:
    before, bank = windows(depth=3)
    for day in range(4):
        before.observe("pod", 0, START + day * DAY, MIDDLE)
    after = PeakWindows(bank, depth=depth)
    after.restore(*before.snapshot())
    stored = after.snapshot()[4]
    assert np.isfinite(stored).tolist() == [[column < 3 for column in range(depth)]]


@pytest.mark.parametrize(
    "change",
    [
        {"uids": ("one", "one")},
        {"uids": ("one", "there")},
        {"uids": ("one",)},
        {"rows": [0]},
        {"opened": [START, math.nan]},
        {"newest": [0, 0, 0]},
        {"peaks": [[SMALL]]},
    ],
    ids=str,
)
def test_windows_that_cannot_be_gone_on_with_are_refused(change: dict[str, object]) -> None:
    peaks, _ = windows()
    peaks.observe("there", 0, START, SMALL)
    table = {
        "uids": ("one", "two"),
        "rows": [0, 0],
        "opened": [START, START],
        "newest": [0, 0],
        "peaks": [[SMALL], [LARGE]],
    }
    with pytest.raises(ValueError, match="windows to go on with"):
        peaks.restore(**(table | change))  # type: ignore[arg-type]  # wrong on purpose
    assert len(peaks) == 1


# The slow and obvious implementation


_BATCH = st.tuples(
    st.tuples(*[st.integers(0, 1)] * 3),
    st.lists(
        st.tuples(st.integers(0, 2), st.floats(-3 * DAY, 9 * DAY), st.integers(0, 175)),
        max_size=12,
    ),
    st.sampled_from(["", "", "0", "2"]),
    st.booleans(),
)


@settings(max_examples=examples(60))
@given(st.lists(_BATCH, max_size=6), st.integers(1, 4))
def test_windows_equal_the_slow_and_obvious_ones(
    batches: list[tuple[tuple[int, ...], list[tuple[int, float, int]], str, bool]], depth: int
) -> None:
    """Late samples, moves to other rows, pods that go, restarts: the same peaks, and the same left out.

    Down to float precision of the heaviest total that a row had.
    """
    peaks, bank = windows(rows=2, depth=depth)
    histograms = {row: ReferenceHistogram(VRAM, half_life=DAY, reference=START) for row in range(2)}
    reference = ReferencePeaks(histograms, window=DAY, depth=depth)
    for rows, drawn, gone, restarts in batches:
        samples = [
            PeakSample(str(worker), rows[worker], START + offset, inside(VRAM, bucket, 0.4))
            for worker, offset, bucket in drawn
        ]
        columns = zip(*samples, strict=True) if samples else [(), (), (), ()]
        assert peaks.observe_many(*columns) == reference.observe_many(samples)
        peaks.forget(gone)
        reference.forget(gone)
        if restarts:
            table = peaks.snapshot()
            peaks = PeakWindows(bank, depth=depth)
            peaks.restore(*table)
    for row, histogram in histograms.items():
        expected = np.array([histogram.weights.get(bucket, 0.0) for bucket in range(VRAM.count)])
        assert bank.weights(row) == pytest.approx(expected, rel=1e-5, abs=0.01)
