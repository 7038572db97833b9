import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.simulation.measurements import Measured, measure
from recommender.usage.samples import Outcome
from tests.support.simulating import BEGIN, Row, measured, usage_of
from vgpu.slices import Amounts, Resource

TFLOPS, VRAM = Resource.TFLOPS, Resource.VRAM


def tflops_of(rows: Sequence[Row], usage_step: float | None = None) -> Measured:
    return measure(usage_of(rows), largest=Amounts(), usage_step=usage_step).resources[TFLOPS]


def test_rows_are_put_in_the_order_of_time() -> None:
    rows = [(BEGIN + 60, "a", 2, 1), (BEGIN, "b", 3, 1), (BEGIN, "a", 1, 1)]
    taken = tflops_of(rows)
    assert taken.times.tolist() == [BEGIN, BEGIN, BEGIN + 60]
    assert sorted(zip(taken.times.tolist(), taken.values.tolist(), strict=True)) == [
        (BEGIN, 1.0),
        (BEGIN, 3.0),
        (BEGIN + 60, 2.0),
    ]


def test_of_several_gpus_of_a_pod_the_fullest_counts() -> None:
    taken = tflops_of([(BEGIN, "a", 1, 1), (BEGIN, "a", 5, 1), (BEGIN, "a", 2, 1), (BEGIN, "b", 9, 1)])
    assert sorted(taken.values.tolist()) == [5.0, 9.0]
    assert taken.dropped == {Outcome.DUPLICATE: 2}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("nan", Outcome.NOT_FINITE),
        ("inf", Outcome.NOT_FINITE),
        ("-inf", Outcome.NOT_FINITE),
        ("-0.001", Outcome.NEGATIVE),
        ("1e30", Outcome.IMPLAUSIBLE),
        ("11000", Outcome.IMPLAUSIBLE),
    ],
)
def test_what_cannot_be_true_is_dropped_and_counted(value: str, reason: Outcome) -> None:
    taken = tflops_of([(BEGIN, "a", value, 1), (BEGIN + 60, "a", 7, 1)])
    assert (taken.values.tolist(), taken.dropped) == ([7.0], {reason: 1})


def test_a_wrong_value_of_one_gpu_leaves_that_of_another() -> None:
    assert tflops_of([(BEGIN, "a", "nan", 1), (BEGIN, "a", 7, 1)]).values.tolist() == [7.0]


def test_no_sample_exceeds_the_card_by_more_than_a_twentieth() -> None:
    rows = [(BEGIN, "a", 312, 84e9), (BEGIN + 60, "a", 320, 85e9), (BEGIN + 120, "a", 340, 91e9)]
    found = measure(usage_of(rows), largest=Amounts(tflops=312_000, vram=80 << 30))
    assert [len(found.resources[resource].times) for resource in Resource] == [2, 2]
    assert found.dropped == {Outcome.IMPLAUSIBLE: 2}


def test_with_a_usage_step_the_maximum_of_each_step_counts_at_its_end() -> None:
    rows = [(BEGIN + seconds, "a", seconds, 1) for seconds in (0, 15, 30, 45, 60, 75)]
    taken = tflops_of(rows, usage_step=60)
    assert taken.times.tolist() == [BEGIN, BEGIN + 60, BEGIN + 120]
    assert taken.values.tolist() == [0.0, 60.0, 75.0]


def test_first_and_last_are_those_of_either_resource() -> None:
    found = measured([(BEGIN, "a", "", 5), (BEGIN + 60, "a", 1, 5), (BEGIN + 120, "a", 1, "")])
    assert (found.first, found.last, len(found)) == (BEGIN, BEGIN + 120, 4)


def test_without_samples_there_is_no_time() -> None:
    found = measured([(BEGIN, "a", "nan", "")])
    assert (found.first, found.last, len(found)) == (math.inf, -math.inf, 0)


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 2), st.floats(allow_nan=True, width=32)), max_size=40
    )
)
def test_what_is_taken_is_the_maximum_of_what_is_sound_for_each_pod_and_time(
    rows: list[tuple[int, int, float]],
) -> None:
    """Against a dictionary that takes one row after the other; every row is taken or counted."""
    expected: dict[tuple[int, str], float] = {}
    for time, pod, value in rows:
        if 0 <= value <= 10_500:
            key = (time, f"p{pod}")
            expected[key] = max(value, expected.get(key, value))
    file = usage_of([(time, f"p{pod}", repr(value), "") for time, pod, value in rows])
    found = measure(file, largest=Amounts())
    taken = found.resources[TFLOPS]
    names = [found.pods[index] for index in taken.of.tolist()]
    assert (
        dict(zip(zip(taken.times.tolist(), names, strict=True), taken.values.tolist(), strict=True))
        == expected
    )
    assert len(taken.times) + taken.dropped.total() == len(rows)
    assert np.all(np.diff(taken.times) >= 0)
