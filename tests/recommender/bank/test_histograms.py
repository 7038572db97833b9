import math
import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recommender.bank.buckets import TFLOPS, Buckets
from recommender.bank.histograms import HistogramBank
from recommender.bank.kernels import Kernels
from tests.support.examples import examples
from tests.support.kernels import KERNELS, kernels_named
from tests.support.reference_histogram import LinearBuckets, ReferenceHistogram, inside

HOUR = 3600.0
DAY = 24 * HOUR
START = 1_700_000_000.0
LINEAR = LinearBuckets(width=1, maximum=10)
FRACTIONS = (-1.0, 0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0, 2.0)


class Sample(NamedTuple):
    row: int
    value: float
    weight: float
    time: float


@pytest.fixture(params=KERNELS, scope="module")
def kernels(request: pytest.FixtureRequest) -> Kernels:
    return kernels_named(request.param)


def bank_of(
    buckets: Buckets = TFLOPS, *, rows: int = 1, half_life: float = DAY, kernels: Kernels | None = None
) -> HistogramBank:
    bank = HistogramBank(buckets, half_life=half_life, reference=START, kernels=kernels)
    assert [bank.add_row() for _ in range(rows)] == list(range(rows))
    return bank


def add(bank: HistogramBank, samples: Sequence[Sample]) -> None:
    if samples:
        bank.add(*zip(*samples, strict=True))


def percentile(bank: HistogramBank, p: float, row: int = 0) -> float:
    return float(bank.percentiles([row], [p])[0, 0])


def a_sample(rows: int = 3, days: float = 7.0) -> st.SearchStrategy[Sample]:
    values = st.builds(inside, st.just(TFLOPS), st.integers(0, 175), st.floats(0.05, 0.95))
    times = st.floats(0, days * DAY).map(lambda offset: START + offset)
    return st.builds(Sample, st.integers(0, rows - 1), values, st.sampled_from([0.1, 1.0, 0.37]), times)


def reference_of(samples: Sequence[Sample], row: int, reference: float) -> ReferenceHistogram:
    histogram = ReferenceHistogram(TFLOPS, half_life=DAY, reference=START)
    for sample in samples:
        if sample.row == row:
            histogram.add(sample.value, sample.weight, sample.time)
    histogram.move_reference(reference)
    return histogram


# The documented vectors, ties among them: all at a decay factor of 1.


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (0, 2),
        (0.1, 2),
        (0.2, 3),
        (0.3, 3),
        *((p / 10, 4) for p in (4, 5, 6)),
        *((p / 10, 5) for p in range(7, 11)),
    ],
)
def test_percentiles_of_linear_buckets_are_ends_of_buckets(
    kernels: Kernels, p: float, expected: float
) -> None:
    bank = bank_of(LINEAR, kernels=kernels)
    bank.add([0, 0, 0, 0], [1, 2, 3, 4], [1, 2, 3, 4], START)
    assert percentile(bank, p) == expected


def test_a_light_new_sample_outweighs_a_heavy_old_one_that_decayed(kernels: Kernels) -> None:
    bank = bank_of(LINEAR, half_life=HOUR, kernels=kernels)
    bank.add([0, 0], [2, 1], [1000, 1], [START, START + 20 * HOUR])
    assert (percentile(bank, 0.999), percentile(bank, 1.0)) == (2, 3)


def test_a_sample_of_a_hundred_and_one_half_lives_ago_has_faded(kernels: Kernels) -> None:
    bank = bank_of(LINEAR, half_life=HOUR, kernels=kernels)
    bank.add([0], [2], [1], [START])
    bank.add([0], [1], [1], [START + 101 * HOUR])
    assert percentile(bank, 1.0) == 2


def test_an_empty_row_answers_zero(kernels: Kernels) -> None:
    bank = bank_of(kernels=kernels)
    assert bank.percentiles([0], [0, 0.5, 1]).tolist() == [[0, 0, 0]]
    assert bank.is_empty([0]).tolist() == [True]


def test_the_last_bucket_answers_with_its_start(kernels: Kernels) -> None:
    bank = bank_of(LINEAR, kernels=kernels)
    bank.add([0], [99], 1, START)
    assert percentile(bank, 0.5) == 10


def test_weight_below_epsilon_counts_in_the_total_but_makes_no_smallest_or_largest_bucket(
    kernels: Kernels,
) -> None:
    bank = bank_of(LINEAR, kernels=kernels)
    bank.add([0] * 4, [1, 3, 5, 7], [9e-5, 1e-3, 1e-3, 9e-5], START)
    assert (percentile(bank, 0), percentile(bank, 1)) == (4, 6)
    # The total is 0.00218: 0.458 of it lie just below the 0.001 in bucket 3, 0.46 just above.
    assert (percentile(bank, 0.458), percentile(bank, 0.46)) == (4, 6)
    assert bank.totals([0])[0] == pytest.approx(0.00218)


def test_a_row_of_nothing_but_weights_below_epsilon_is_empty(kernels: Kernels) -> None:
    bank = bank_of(LINEAR, kernels=kernels)
    bank.add([0, 0], [1, 2], 9e-5, START)
    assert bank.is_empty([0]).tolist() == [True]
    assert percentile(bank, 0.9) == 0


# Rows


def test_percentiles_may_differ_for_each_row(kernels: Kernels) -> None:
    bank = bank_of(LINEAR, rows=2, kernels=kernels)
    bank.add([0, 0, 1, 1], [1, 5, 1, 5], 1, START)
    assert bank.percentiles([1, 0], [[0.4, 0.6], [0.6, 0.4]]).tolist() == [[2, 6], [6, 2]]


def test_more_rows_than_fit_into_one_chunk_are_answered_in_order(kernels: Kernels) -> None:
    rows = 1500
    bank = bank_of(LINEAR, rows=rows, kernels=kernels)
    bank.add(np.arange(rows), np.arange(rows) % 10, 1, START)
    asked = np.arange(rows)[::-1]
    assert (bank.percentiles(asked, [0.9])[:, 0] == asked % 10 + 1).all()


def test_growing_keeps_what_the_rows_hold() -> None:
    bank = HistogramBank(LINEAR, half_life=DAY, reference=START, capacity=1)
    for row in range(5):
        bank.add([bank.add_row()], [row], 1, START)
    assert bank.percentiles(range(5), [1])[:, 0].tolist() == [1, 2, 3, 4, 5]


def test_a_row_that_was_taken_back_is_handed_out_again_empty() -> None:
    bank = bank_of(LINEAR, rows=2)
    bank.add([0, 1], [3, 4], 1, START)
    bank.remove_row(0)
    assert len(bank) == 1
    assert bank.add_row() == 0
    assert bank.is_empty([0, 1]).tolist() == [True, False]


@pytest.mark.parametrize("row", [1, 5, 10_000])
def test_a_row_that_is_not_handed_out_is_refused(row: int) -> None:
    bank = bank_of(LINEAR, rows=2)
    bank.remove_row(1)
    with pytest.raises(IndexError):
        bank.add([0, row], [1, 1], 1, START)
    with pytest.raises(IndexError):
        bank.percentiles([row], [0.5])
    assert bank.is_empty([0]).tolist() == [True]


@pytest.mark.parametrize("values", [[1.0], [1.0, 2.0, 3.0]])
def test_samples_need_as_many_values_as_rows(kernels: Kernels, values: list[float]) -> None:
    bank = bank_of(kernels=kernels)
    with pytest.raises(ValueError, match="2 rows need as many values"):
        bank.add([0, 0], values, 1, START)


def test_nothing_to_add_or_to_ask_is_fine(kernels: Kernels) -> None:
    bank = bank_of(kernels=kernels)
    bank.add([], [], [], [])
    bank.subtract([], [], [], [])
    assert bank.percentiles([], [0.5, 0.9]).shape == (0, 2)


# Wrong input


@pytest.mark.parametrize(
    ("value", "weight", "time"),
    [
        (math.nan, 1, START),
        (1, -1, START),
        (1, math.nan, START),
        (1, math.inf, START),
        (1, 1e38, START),
        (1, 1, math.nan),
        (1, 1, math.inf),
    ],
)
def test_a_sample_that_cannot_be_is_refused_and_leaves_no_trace(
    kernels: Kernels, value: float, weight: float, time: float
) -> None:
    bank = bank_of(TFLOPS, kernels=kernels)
    with pytest.raises(ValueError, match="sample's"):
        bank.add([0, 0], [2, value], [1, weight], [START, time])
    assert bank.totals([0]).tolist() == [0]


@pytest.mark.parametrize(
    ("half_life", "reference", "epsilon", "capacity"),
    [(0, START, 1e-4, 1), (DAY, math.nan, 1e-4, 1), (DAY, START, 0, 1), (DAY, START, 1e-4, 0)],
)
def test_a_bank_that_cannot_work_is_refused(
    half_life: float, reference: float, epsilon: float, capacity: int
) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        HistogramBank(LINEAR, half_life=half_life, reference=reference, epsilon=epsilon, capacity=capacity)


# Guarantees


@settings(max_examples=examples(50))
@given(st.lists(st.lists(a_sample(), max_size=25), max_size=4), st.floats(0, 10))
def test_the_bank_equals_the_reference(kernels: Kernels, batches: list[list[Sample]], days: float) -> None:
    """Any samples in any batches, the reference moved in between: percentiles are the same, but for ties."""
    bank = bank_of(rows=3, kernels=kernels)
    for batch in batches:
        add(bank, batch)
        bank.move_reference(START + days * DAY)
    for row in range(3):
        reference = reference_of([sample for batch in batches for sample in batch], row, bank.reference)
        assume(not reference.is_ambiguous())
        answers = bank.percentiles([row], FRACTIONS)[0]
        assert all(reference.agrees(p, answer) for p, answer in zip(FRACTIONS, answers, strict=True))


@settings(max_examples=examples(50))
@given(st.lists(a_sample(), max_size=30), st.lists(a_sample(), min_size=1, max_size=30))
def test_subtracting_leaves_what_was_there_before(
    kernels: Kernels, before: list[Sample], samples: list[Sample]
) -> None:
    """Down to float32 precision of the row's largest total, and to epsilon."""
    bank = bank_of(rows=3, kernels=kernels)
    add(bank, before)
    there = [bank.weights(row) for row in range(3)]
    add(bank, samples)
    tolerance = 1e-6 * float(bank.totals(range(3)).max()) + bank.epsilon
    bank.subtract(*zip(*samples, strict=True))
    for row in range(3):
        assert bank.weights(row) == pytest.approx(there[row], abs=tolerance)


def test_a_rest_below_epsilon_is_snapped_to_zero(kernels: Kernels) -> None:
    bank = bank_of(LINEAR, kernels=kernels)
    bank.add([0, 0, 0], [1, 1, 2], [0.5, 5e-5, 1], START)
    bank.subtract([0], [1], [0.5], START)
    assert bank.weights(0)[[1, 2]].tolist() == [0, 1]


def test_subtracting_one_bucket_twice_in_a_call_never_goes_below_zero(kernels: Kernels) -> None:
    bank = bank_of(LINEAR, kernels=kernels)
    bank.add([0], [1], [1], START)
    bank.subtract([0, 0], [1, 1], [0.7, 0.7], START)
    assert bank.totals([0]).tolist() == [0]


@settings(max_examples=examples(50))
@given(st.lists(a_sample(rows=1), min_size=1, max_size=40), st.lists(st.floats(-0.5, 1.5), min_size=2))
def test_percentiles_rise_with_p_and_are_ends_of_buckets_that_hold_samples(
    kernels: Kernels, samples: list[Sample], fractions: list[float]
) -> None:
    bank = bank_of(kernels=kernels)
    add(bank, samples)
    answers = bank.percentiles([0], sorted(fractions))[0]
    assert (np.diff(answers) >= 0).all()
    assert set(answers) <= set(TFLOPS.ends[bank.weights(0) > 0])


@given(st.floats(0, 20), st.floats(0.001, 1000))
def test_a_half_life_halves_the_say_of_a_sample(half_lives: float, weight: float) -> None:
    bank = bank_of(LINEAR, rows=2)
    time = START + half_lives * DAY
    bank.add([0, 0], [1, 2], [weight, weight], [time, time + DAY])
    older, newer = bank.weights(0)[[1, 2]]
    assert newer == pytest.approx(2 * older, rel=1e-6)


@settings(max_examples=examples(30))
@given(st.lists(a_sample(rows=1, days=200), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_the_order_of_samples_does_not_matter(
    kernels: Kernels, samples: list[Sample], order: random.Random
) -> None:
    """Also where one lies so far ahead that it moves the reference for all."""
    forwards, shuffled = bank_of(kernels=kernels), bank_of(kernels=kernels)
    add(forwards, samples)
    for sample in order.sample(samples, len(samples)):
        add(shuffled, [sample])
    for bank in (forwards, shuffled):
        bank.move_reference(START + 200 * DAY)
    assert shuffled.reference == forwards.reference
    assert shuffled.weights(0) == pytest.approx(forwards.weights(0), rel=1e-5, abs=1e-12)


@settings(max_examples=examples(50))
@given(st.lists(a_sample(rows=2), max_size=30), st.integers(-5, 5))
def test_merging_equals_adding_everything_to_one(samples: list[Sample], days_apart: int) -> None:
    """Down to float precision, whichever bank has the newer reference."""
    bank = bank_of()
    other = HistogramBank(TFLOPS, half_life=DAY, reference=START + (days_apart + 0.25) * DAY)
    other.add_row()
    together = bank_of()
    add(bank, [sample for sample in samples if sample.row == 0])
    add(other, [sample._replace(row=0) for sample in samples if sample.row == 1])
    add(together, [sample._replace(row=0) for sample in samples])
    bank.merge(0, other, 0)
    together.move_reference(bank.reference)
    assert bank.weights(0) == pytest.approx(together.weights(0), rel=1e-5)


def test_histograms_of_other_buckets_or_half_lives_are_not_merged() -> None:
    bank = bank_of(LINEAR)
    for other in (bank_of(LinearBuckets(2, 10)), bank_of(LINEAR, half_life=HOUR)):
        with pytest.raises(ValueError, match="cannot be merged"):
            bank.merge(0, other, 0)


def test_a_year_of_daily_moves_changes_no_percentile_of_an_active_row(kernels: Kernels) -> None:
    """Compared with float64 weights that never move, sample by sample the same year."""
    bank, still = bank_of(kernels=kernels), ReferenceHistogram(TFLOPS, half_life=DAY, reference=START)
    usage = random.Random(7)
    moves = 0
    for step in range(4 * 365):
        time = START + step * DAY / 4
        value = inside(TFLOPS, int(usage.triangular(40, 120, 70)), 0.5)
        bank.add([0], [value], 0.1, [time])
        still.add(value, 0.1, time)
        before = bank.reference
        bank.move_reference(time)
        moves += bank.reference > before
        if step % 40 == 0:
            answers = bank.percentiles([0], [0.5, 0.9, 0.95])[0]
            assert all(still.agrees(p, answer) for p, answer in zip((0.5, 0.9, 0.95), answers, strict=True))
    assert moves == 364


@pytest.mark.parametrize(
    ("days", "moved"), [(-3, 0), (0, 0), (0.99, 0), (1, 1), (1.99, 1), (2, 2), (400.5, 400)]
)
def test_the_reference_moves_by_whole_half_lives(days: float, moved: int) -> None:
    bank = bank_of()
    bank.move_reference(START + days * DAY)
    assert bank.reference == START + moved * DAY


def test_moving_the_reference_scales_by_exact_powers_of_two() -> None:
    bank = bank_of()
    bank.add([0] * 3, [1, 5, 9], [0.1, 0.2, 0.3], START)
    before = bank.weights(0)
    bank.move_reference(START + 3 * DAY)
    assert (bank.weights(0) == before / 8).all()


def test_a_sample_far_ahead_moves_the_reference_instead_of_overflowing() -> None:
    bank = bank_of(LINEAR, rows=2)
    bank.add([0, 1], [3, 4], 1, START)
    bank.add([0], [1], 1, START + 10_000.5 * DAY)
    assert bank.reference == START + 10_000 * DAY
    assert bank.percentiles([0, 1], [1])[:, 0].tolist() == [2, 0]


def test_a_sample_far_in_the_past_counts_as_nothing() -> None:
    bank = bank_of(LINEAR)
    bank.add([0], [1], 1, START - 10_000 * DAY)
    assert bank.totals([0]).tolist() == [0]


# Rows in bulk


def test_rows_give_their_weights_in_the_order_asked_for() -> None:
    bank = bank_of(LINEAR, rows=3)
    bank.add([0, 1, 2], [1, 2, 3], [1, 2, 4], START)
    weights = bank.rows_weights([2, 0])
    assert weights.shape == (2, LINEAR.count)
    assert weights.dtype == np.float32
    assert [np.flatnonzero(row).tolist() for row in weights] == [[3], [1]]


def test_the_weights_given_are_a_copy() -> None:
    bank = bank_of(LINEAR)
    bank.rows_weights([0])[:] = 1
    assert bank.totals([0]).tolist() == [0]


@settings(max_examples=examples(30))
@given(st.lists(a_sample(), max_size=30), st.integers(0, 12))
def test_rows_that_are_loaded_are_what_they_were(samples: list[Sample], days: int) -> None:
    """To the last bit where whole half-lives lie between, whichever bank's reference is the newer."""
    bank, later = bank_of(rows=3), bank_of(rows=3)
    add(bank, samples)
    later.move_reference(START + days * DAY)
    later.load_rows([2, 1, 0], bank.rows_weights([0, 1, 2]), bank.reference)
    bank.move_reference(later.reference)
    assert (later.rows_weights([2, 1, 0]) == bank.rows_weights([0, 1, 2])).all()
    early = bank_of(rows=3)
    early.load_rows(range(3), bank.rows_weights(range(3)), bank.reference)
    assert early.reference == bank.reference
    assert (early.rows_weights(range(3)) == bank.rows_weights(range(3))).all()


def test_loading_with_a_newer_reference_takes_the_other_rows_along() -> None:
    bank = bank_of(LINEAR, rows=2)
    bank.add([0], [1], 1, START)
    bank.load_rows([1], bank.rows_weights([0]), START + 2.5 * DAY)
    assert bank.reference == START + 2 * DAY
    assert bank.totals([0, 1]) == pytest.approx([0.25, 2**0.5])


def test_loading_replaces_what_a_row_held() -> None:
    bank = bank_of(LINEAR, rows=2)
    bank.add([0, 1], [1, 7], 1, START)
    bank.load_rows([1], bank.rows_weights([0]), START)
    assert bank.percentiles([1], [1]).tolist() == [[2]]


def test_more_rows_than_fit_into_one_chunk_are_loaded() -> None:
    rows = np.arange(1500)
    bank, other = bank_of(LINEAR, rows=len(rows)), bank_of(LINEAR, rows=len(rows))
    bank.add(rows, rows % 10, 1, START)
    other.load_rows(rows[::-1], bank.rows_weights(rows), START)
    assert (other.percentiles(rows[::-1], [0.9])[:, 0] == rows % 10 + 1).all()


@pytest.mark.parametrize("wrong", [math.nan, -1e-9, math.inf, 2.0**127])
def test_a_weight_that_cannot_be_is_not_loaded_and_nothing_changes(wrong: float) -> None:
    bank = bank_of(LINEAR, rows=2)
    bank.add([0, 1], [1, 1], 1, START)
    weights = np.ones((2, LINEAR.count), dtype=np.float32)
    weights[1, 3] = wrong
    with pytest.raises(ValueError, match="weights to load"):
        bank.load_rows([0, 1], weights, START + 5 * DAY)
    assert (bank.reference, bank.totals([0, 1]).tolist()) == (START, [1, 1])


@pytest.mark.parametrize("reference", [math.nan, math.inf, -math.inf])
def test_weights_are_not_loaded_by_a_reference_that_is_no_time(reference: float) -> None:
    bank = bank_of(LINEAR)
    with pytest.raises(ValueError, match="reference finite"):
        bank.load_rows([0], np.ones((1, LINEAR.count)), reference)
    assert (bank.reference, bank.totals([0]).tolist()) == (START, [0])


@pytest.mark.parametrize("shape", [(1, 12), (2, 11), (11,)])
def test_weights_of_another_shape_are_not_loaded(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must have the shape"):
        bank_of(LINEAR).load_rows([0], np.ones(shape), START)


def test_weights_are_not_loaded_into_a_row_that_is_not_handed_out() -> None:
    with pytest.raises(IndexError):
        bank_of(LINEAR).load_rows([1], np.ones((1, LINEAR.count)), START)
