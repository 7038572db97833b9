import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.bank.percentiles import WeightArray
from recommender.checkpoints.quantising import BITS, quantised, restored
from tests.recommender.checkpoints.making import random_snapshot
from tests.support.examples import examples

COUNT = 24
EPSILON = np.float32(1e-4)

near_epsilon = st.integers(-3, 3).map(lambda steps: float(EPSILON + np.float32(steps * np.spacing(EPSILON))))
amounts = st.one_of(
    st.just(0.0),
    near_epsilon,
    st.floats(0, 1, width=32),
    st.floats(0, 2.0**100, width=32),
    st.floats(0, 2.0**-100, width=32),
    st.integers(1, 50).map(lambda samples: samples / 8),
)
rows = st.lists(amounts, min_size=1, max_size=12).flatmap(
    lambda row: st.permutations(range(0, COUNT, 2)).map(lambda places: placed(row, places))
)
histograms = st.lists(rows, max_size=4).map(lambda found: np.array(found, np.float32).reshape(-1, COUNT))


def placed(row: list[float], places: list[int]) -> WeightArray:
    weights = np.zeros(COUNT, np.float32)
    weights[places[: len(row)]] = row
    return weights


def there_and_back(weights: WeightArray) -> WeightArray:
    return restored(quantised(weights), weights.shape[1])


def running(row: WeightArray) -> list[Fraction]:
    sums, total = [], Fraction(0)
    for weight in row.tolist():
        total += Fraction(weight)
        sums.append(total)
    return sums


def unit_of(row: WeightArray) -> Fraction:
    _, exponent = math.frexp(running(row)[-1])
    return Fraction(2**exponent, 2**BITS) if exponent > 0 else Fraction(1, 2 ** (BITS - exponent))


def slack(row: WeightArray) -> Fraction:
    """How far a running sum may move: half a unit, and one for each bucket that lies so near to epsilon."""
    unit, epsilon = unit_of(row), Fraction(float(EPSILON))
    near = sum(abs(Fraction(weight) - epsilon) <= unit for weight in row.tolist() if weight)
    return unit * (Fraction(1, 2) + near) * Fraction(1001, 1000)


def bucket_at(row: WeightArray, fraction: Fraction) -> int | None:
    """The bucket in which a percentile falls, by the rules of the bank; None in an empty row."""
    counted = np.flatnonzero(row >= EPSILON)
    if not len(counted):
        return None
    sums = running(row)
    before = sums[counted[0]] - Fraction(row[counted[0]].item())
    for bucket in range(counted[0], counted[-1]):
        if sums[bucket] - before >= fraction * sums[-1]:
            return bucket
    return int(counted[-1])


def is_tie(row: WeightArray, fraction: Fraction) -> bool:
    counted = np.flatnonzero(row >= EPSILON)
    sums = running(row)
    before = sums[counted[0]] - Fraction(row[counted[0]].item()) if len(counted) else Fraction(0)
    return any(abs(reached - before - fraction * sums[-1]) <= 3 * slack(row) for reached in sums)


@settings(max_examples=examples(40))
@given(histograms)
def test_every_running_sum_stays_within_half_a_unit_of_the_total(weights: WeightArray) -> None:
    for before, after in zip(weights, there_and_back(weights), strict=True):
        allowed = slack(before)
        for old, new in zip(running(before), running(after), strict=True):
            assert abs(old - new) <= allowed


@settings(max_examples=examples(40))
@given(histograms)
def test_a_bucket_counts_afterwards_if_and_only_if_it_did_before(weights: WeightArray) -> None:
    np.testing.assert_array_equal(there_and_back(weights) >= EPSILON, weights >= EPSILON)


@settings(max_examples=examples(40))
@given(histograms, st.fractions(-1, 2) | st.sampled_from([Fraction(p, 100) for p in (0, 50, 90, 95, 100)]))
def test_no_percentile_moves_but_for_ties(weights: WeightArray, fraction: Fraction) -> None:
    for before, after in zip(weights, there_and_back(weights), strict=True):
        if not is_tie(before, fraction):
            assert bucket_at(before, fraction) == bucket_at(after, fraction)


def test_no_usual_percentile_of_thousands_of_workloads_moves() -> None:
    snapshot = random_snapshot(4_000)
    for before in (snapshot.tflops.weights, snapshot.vram.weights):
        after = there_and_back(before)
        sums = [np.cumsum(each, axis=1, dtype=np.float64) for each in (before, after)]
        for p in (0.5, 0.9, 0.95):
            found = [(each >= p * each[:, -1:]).argmax(axis=1) for each in sums]
            np.testing.assert_array_equal(*found)


@settings(max_examples=examples(40))
@given(histograms)
def test_what_was_rounded_once_is_not_rounded_further(weights: WeightArray) -> None:
    once = there_and_back(weights)
    # Unless the sum was rounded up to the next power of two: then the unit doubles.
    same = [unit_of(a) == unit_of(b) for a, b in zip(weights, once, strict=True)]
    np.testing.assert_array_equal(there_and_back(once)[same], once[same])


def test_rows_are_rounded_apart_from_one_another() -> None:
    weights = np.zeros((20_000, COUNT), np.float32)
    weights[0, 3], weights[1, 4], weights[-1, COUNT - 1] = 2.0**120, 2.0**-120, 0.1
    np.testing.assert_array_equal(there_and_back(weights), weights)


def test_histograms_of_all_buckets_come_back() -> None:
    weights = np.arange(1, 3 * COUNT + 1, dtype=np.float32).reshape(3, COUNT)
    np.testing.assert_array_equal(there_and_back(weights), weights)


def test_units_that_are_no_histograms_are_refused() -> None:
    units = quantised(np.eye(4, COUNT, dtype=np.float32))
    with pytest.raises(ValueError, match="beyond the last"):
        restored(units, 3)
    with pytest.raises(ValueError, match="4 buckets have 3 places"):
        restored(replace(units, gaps=units.gaps[:3]), COUNT)
    with pytest.raises(ValueError, match="out of all bounds"):
        restored(replace(units, exponents=units.exponents + np.int16(1000)), COUNT)
