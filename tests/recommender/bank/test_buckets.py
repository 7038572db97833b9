import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.bank.buckets import TFLOPS, VRAM, ExponentialBuckets
from tests.support.reference_histogram import LinearBuckets, inside


def test_exponential_buckets_have_the_documented_starts() -> None:
    buckets = ExponentialBuckets(first=40, ratio=1.5, maximum=500)
    assert buckets.count == 6
    assert buckets.starts.tolist() == [0, 40, 100, 190, 325, 527.5]


def test_exponential_buckets_find_the_documented_values() -> None:
    buckets = ExponentialBuckets(first=40, ratio=1.5, maximum=500)
    assert buckets.find(np.array([-1, 39.99, 40, 100, 900])).tolist() == [0, 0, 1, 2, 5]


def test_the_end_of_a_bucket_is_the_next_start_and_the_last_answers_with_its_own() -> None:
    buckets = ExponentialBuckets(first=40, ratio=1.5, maximum=500)
    assert buckets.ends.tolist() == [40, 100, 190, 325, 527.5, 527.5]


@pytest.mark.parametrize("buckets", [TFLOPS, VRAM], ids=["tflops", "vram"])
def test_either_resource_has_176_buckets(buckets: ExponentialBuckets) -> None:
    assert buckets.count == len(buckets.starts) == len(buckets.ends) == 176


@pytest.mark.parametrize("buckets", [TFLOPS, VRAM], ids=["tflops", "vram"])
def test_the_largest_value_expected_does_not_need_the_open_bucket(buckets: ExponentialBuckets) -> None:
    assert buckets.find(np.array([buckets.maximum])).tolist() == [174]


@given(st.sampled_from([TFLOPS, VRAM]), st.integers(0, 175), st.floats(0.001, 0.999))
def test_a_value_between_two_starts_is_found_between_them(
    buckets: ExponentialBuckets, bucket: int, fraction: float
) -> None:
    assert buckets.find(np.array([inside(buckets, bucket, fraction)])).tolist() == [bucket]


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_every_number_has_a_bucket_of_the_histogram(values: list[float]) -> None:
    """Infinities and the largest floats included, without an overflow on the way."""
    found = TFLOPS.find(np.array(values))
    assert ((found >= 0) & (found < TFLOPS.count)).all()


@given(st.lists(st.floats(allow_nan=False), min_size=2))
def test_a_larger_value_is_never_in_an_earlier_bucket(values: list[float]) -> None:
    assert (np.diff(VRAM.find(np.sort(values))) >= 0).all()


def test_a_value_just_below_the_first_start_is_in_the_first_bucket() -> None:
    assert TFLOPS.find(np.array([math.nextafter(0.1, 0)])).tolist() == [0]


@pytest.mark.parametrize("buckets", [TFLOPS, VRAM, ExponentialBuckets(40, 1.5, 500)], ids=str)
def test_bounds_are_the_smallest_values_of_their_buckets(buckets: ExponentialBuckets) -> None:
    numbers = np.arange(buckets.count)
    assert (buckets.find(buckets.bounds) == numbers).all()
    assert (buckets.find(np.nextafter(buckets.bounds[1:], -np.inf)) == numbers[:-1]).all()
    assert buckets.bounds[1:] == pytest.approx(buckets.starts[1:], rel=1e-12)


def test_a_nan_has_no_bucket() -> None:
    with pytest.raises(ValueError, match="NaN"):
        TFLOPS.find(np.array([1.0, math.nan]))


@pytest.mark.parametrize(
    ("first", "ratio", "maximum"),
    [(0, 1.05, 1e4), (0.1, 1, 1e4), (0.1, 1.05, 0.1), (0.1, 1.05, math.inf), (math.nan, 1.05, 1e4)],
)
def test_buckets_that_cannot_be_are_refused(first: float, ratio: float, maximum: float) -> None:
    with pytest.raises(ValueError, match="needs first > 0"):
        ExponentialBuckets(first=first, ratio=ratio, maximum=maximum)


def test_the_linear_buckets_of_the_tests_are_those_of_the_vectors() -> None:
    buckets = LinearBuckets(width=1, maximum=10)
    assert buckets.count == 11
    assert buckets.find(np.array([-1, 0.5, 1, 9.5, 10, 99])).tolist() == [0, 0, 1, 9, 10, 10]
