import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.bank.buckets import TFLOPS, VRAM
from recommender.bank.histograms import HistogramBank
from recommender.histories.estimators import (
    EstimateColumns,
    confidence,
    estimate_rows,
    in_units,
    lower_bound,
    upper_bound,
    with_margin,
)
from vgpu.slices import Resource

DAY = 24 * 3600.0
PERCENTILES = (0.9, 0.5, 0.95)
ANY_FLOAT = st.floats() | st.sampled_from([0.0, -0.0, 5e-324, sys.float_info.max, math.inf, math.nan])


def bank(resource: Resource = Resource.TFLOPS) -> HistogramBank:
    buckets = TFLOPS if resource is Resource.TFLOPS else VRAM
    bank = HistogramBank(buckets, half_life=DAY, reference=0)
    bank.add_row()
    return bank


def estimated(
    bank: HistogramBank,
    margin: float,
    sure: float,
    resource: Resource,
    percentiles: tuple[float, ...] = PERCENTILES,
) -> tuple[float, ...]:
    """Target, lower and upper bound of the first row."""
    found = estimate_rows(bank, [0], [percentiles], [margin], [sure], resource)
    assert not found.empty[0]
    return found.target[0], found.lower[0], found.upper[0]


def amounts_of(found: EstimateColumns) -> list[float]:
    return [*found.target, *found.lower, *found.upper]


def test_constant_usage_for_thirty_hours_gives_the_documented_estimate() -> None:
    usage, minutes = bank(), np.arange(30 * 60 + 1)
    usage.add(np.zeros_like(minutes), np.full(len(minutes), 3.0), 0.1, minutes * 60.0)
    sure = float(confidence(0, 30 * 3600, len(minutes), DAY))
    assert sure == 1.25
    assert estimated(usage, 0.15, sure, Resource.TFLOPS) == (3510, 3504, 6318)


def test_nine_samples_two_minutes_apart_give_the_documented_confidence() -> None:
    sure = confidence(0, 8 * 120, 9, DAY)
    assert sure == 0.00625
    assert upper_bound(3140, sure, Resource.TFLOPS, multiplier=0.1, exponent=2) == 907460


@pytest.mark.parametrize(
    ("first", "last", "count", "expected"),
    [
        (0, 2 * DAY, 1440, 1),
        (0, DAY / 2, 1440, 0.5),
        (0, 0, 1, 0),
        (math.nan, math.nan, 0, 0),
        (DAY, 0, 99, 0),
    ],
)
def test_confidence_is_the_smaller_of_lifespan_and_samples(
    first: float, last: float, count: int, expected: float
) -> None:
    assert confidence(first, last, count, DAY) == expected


def test_confidence_comes_for_many_workloads_at_once() -> None:
    sure = confidence([0, 0], [DAY, DAY], [1440, 720], [DAY, DAY / 2])
    assert sure.tolist() == [1, 1]


@pytest.mark.parametrize(("resource", "most"), [(Resource.TFLOPS, 10**17), (Resource.VRAM, 10**14)])
def test_without_history_the_bounds_are_everything_and_nothing(resource: Resource, most: int) -> None:
    assert upper_bound(1000, 0, resource) == most
    assert lower_bound(1000, 0, resource) == 0


def test_the_margin_is_truncated_before_it_is_added() -> None:
    assert with_margin([3053, 6, 7], 0.15, Resource.TFLOPS).tolist() == [3510, 6, 8]


def test_a_histogram_s_values_are_truncated_to_whole_units() -> None:
    assert in_units([3.0539, 0.0009], Resource.TFLOPS).tolist() == [3053, 0]
    assert in_units([1e9 + 0.9], Resource.VRAM).tolist() == [1e9]


def test_vram_is_estimated_in_bytes() -> None:
    usage = bank(Resource.VRAM)
    usage.add([0], [5e9], 1, 0)
    base = int(usage.percentiles([0], [0.9])[0, 0])
    target = base + int(base * 0.15)
    assert estimated(usage, 0.15, 1.0, Resource.VRAM) == (target, int(target * 1.001**-2), 2 * target)


def test_no_samples_give_no_estimate() -> None:
    usage = bank()
    usage.add([usage.add_row()], [3], 0.1, 0)
    found = estimate_rows(usage, [0, 1], [PERCENTILES] * 2, [0.15] * 2, [0, 1], Resource.TFLOPS)
    assert found.empty.tolist() == [True, False]
    assert (found.target[0], found.lower[0], found.upper[0]) == (0, 0, 0)


def test_each_workload_is_estimated_with_its_own_percentiles_margin_and_confidence() -> None:
    usage = bank()
    usage.add([0, 0], [1, 9], 0.1, 0)
    usage.add([usage.add_row()] * 2, [1, 9], 0.1, 0)
    percentiles, margins, sure = [(0.4, 0.4, 0.4), (0.6, 0.6, 0.6)], [0, 1], [0.5, 2]
    both = estimate_rows(usage, [0, 1], percentiles, margins, sure, Resource.TFLOPS)
    for row in (0, 1):
        alone = estimated(usage, margins[row], sure[row], Resource.TFLOPS, percentiles[row])
        assert (both.target[row], both.lower[row], both.upper[row]) == alone
    assert both.target[0] != both.target[1]


@given(ANY_FLOAT, ANY_FLOAT, ANY_FLOAT, ANY_FLOAT)
def test_confidence_is_finite_whatever_goes_in(
    first: float, last: float, count: float, interval: float
) -> None:
    assert 0 <= confidence(first, last, count, interval) <= 1e9


@given(
    st.sampled_from(Resource),
    st.lists(ANY_FLOAT.filter(lambda value: not math.isnan(value)), max_size=5),
    st.tuples(ANY_FLOAT, ANY_FLOAT, ANY_FLOAT),
    ANY_FLOAT,
    ANY_FLOAT,
)
def test_estimates_are_whole_and_fit_into_64_bits_whatever_goes_in(
    resource: Resource,
    values: list[float],
    percentiles: tuple[float, float, float],
    margin: float,
    sure: float,
) -> None:
    """Over all floats, also those that configuration refuses."""
    usage = bank(resource)
    usage.add([0] * len(values), values, 0.1, 0)
    found = estimate_rows(usage, [0], [percentiles], [margin], [sure], resource)
    assert found.empty[0] == (not values)
    for amount in amounts_of(found):
        assert amount == int(amount)
        assert 0 <= amount < 2**63


@given(ANY_FLOAT, ANY_FLOAT, st.sampled_from(Resource))
def test_bounds_of_any_amount_are_finite(amount: float, sure: float, resource: Resource) -> None:
    for bound in (upper_bound(amount, sure, resource), lower_bound(amount, sure, resource)):
        assert 0 <= bound < 2**63


@given(st.floats(0, 1e6), st.floats(1e-6, 100))
def test_bounds_enclose_the_amount_and_tighten_with_confidence(amount: float, sure: float) -> None:
    amount = math.floor(amount)
    lower, upper = (bound(amount, sure, Resource.TFLOPS) for bound in (lower_bound, upper_bound))
    assert lower <= amount <= upper
    assert lower <= lower_bound(amount, 2 * sure, Resource.TFLOPS)
    assert upper >= upper_bound(amount, 2 * sure, Resource.TFLOPS)
