import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.histories.preallocation import Ruling, Shares, all_hold, holds, rule_on, vram_limit
from tests.support.builders import pod_struct
from vgpu.annotations import VRAM_PREALLOCATED
from vgpu.kube.objects import Pod

GIB = float(1 << 30)
NONE = math.nan
SAME = Shares(8 * GIB, 7.2 * GIB, 16 * GIB, 14.4 * GIB)


def annotated(value: str | None) -> Pod:
    return pod_struct(annotations={VRAM_PREALLOCATED: value} if value is not None else {})


@pytest.mark.parametrize(
    ("peaks", "expected"),
    [
        ((8, 7.2, 16, 14.4), True),
        ((16, 14.4, 8, 7.2), True),
        ((8, 7.2 * 0.981, 16, 14.4), True),
        ((8, 7.2 * 0.979, 16, 14.4), False),
        ((8, 7.2, 16, 7.2), False),
        ((NONE, NONE, 16, 14.4), False),
        ((NONE, NONE, NONE, NONE), False),
        ((8, 0, 16, 0), False),
    ],
    ids=["same", "swapped", "within 2 %", "beyond 2 %", "same use", "one limit", "no limit", "no use"],
)
def test_the_same_share_of_two_limits_tells_of_preallocation(
    peaks: tuple[float, ...], expected: bool
) -> None:
    assert holds(np.array([peaks])).tolist() == [expected]


@given(st.lists(st.floats(), min_size=4, max_size=4))
def test_any_numbers_are_taken(numbers: list[float]) -> None:
    assert holds(np.array([numbers])).dtype == np.bool_


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.95])
@pytest.mark.parametrize("constant", [0, 0.5, 1.5, 2])
def test_a_fixed_share_and_a_constant_part_are_told_from_need(share: float, constant: float) -> None:
    limits = (16, 40)
    peaks = [share * limit + constant for limit in limits]
    assert holds(np.array([[limits[0], peaks[0], limits[1], peaks[1]]]) * GIB).tolist() == [True]


@pytest.mark.parametrize(
    ("peaks", "expected"),
    [
        ((8, 4 + 2.05, 40, 20 + 2.05), True),
        ((8, 4 + 3, 40, 20 + 3), False),
        ((2, 1.2, 4, 1.8), True),
        ((2, 1.7, 4, 2.0), False),
        ((9, 3, 10, 3.1), False),
    ],
    ids=["constant within 2 %", "constant too large", "half is fixed", "mostly constant", "hardly rising"],
)
def test_the_constant_part_is_at_most_two_gibibytes_and_half_of_each_peak(
    peaks: tuple[float, ...], expected: bool
) -> None:
    assert holds(np.array([peaks]) * GIB).tolist() == [expected]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(7.2, 7.2, True), (7.1, 7.2, True), (7.0, 7.2, False), (NONE, 7.2, True), (3.0, 7.2, False)],
)
def test_pods_that_differ_under_one_limit_follow_their_work(low: float, high: float, expected: bool) -> None:
    table = np.array([[8, low, high, 16, NONE, 14.4], [16, NONE, 14.4, 8, low, high]]) * GIB
    assert all_hold(table).tolist() == [expected] * 2


@given(
    peak=st.floats(0.01, 80),
    limits=st.tuples(st.floats(0.1, 80), st.floats(0.1, 80)).filter(lambda pair: pair[0] < 0.9 * pair[1]),
)
def test_a_use_that_is_the_same_under_two_limits_is_never_taken_for_it(
    peak: float, limits: tuple[float, float]
) -> None:
    for table in ((limits[0], peak, limits[1], peak), (limits[1], peak, limits[0], peak)):
        assert not holds(np.array([table]) * GIB).any()


def test_a_use_that_needs_no_more_under_a_larger_limit_is_none() -> None:
    """The guarantee: a constant use under limits a tenth apart never looks like a fixed share."""
    limits = np.linspace(1.11, 20, 50)
    table = np.stack([np.ones(50), np.full(50, 0.7), limits, np.full(50, 0.7)], axis=1)
    assert not holds(table).any()


def test_a_pod_s_limit_is_read_from_what_it_carries() -> None:
    assert vram_limit(pod_struct(vram_limit="16Gi")) == 16 * GIB


@pytest.mark.parametrize("limit", [None, "0", "much"])
def test_a_pod_without_a_limit_has_no_share(limit: str | None) -> None:
    assert math.isnan(vram_limit(pod_struct(vram_limit=limit)))


def test_a_pod_without_any_slice_has_no_share() -> None:
    nothing = dict.fromkeys(("tflops_request", "tflops_limit", "vram_request", "vram_limit"))
    assert math.isnan(vram_limit(pod_struct(**nothing)))


def test_the_same_share_leaves_vram_alone_and_says_why_and_what_to_do() -> None:
    assert rule_on(annotated(None), SAME, None) == Ruling(
        holds=True,
        reason="FixedShare",
        message=(
            "Pods take 90% of their VRAM under limits of 8Gi and 16Gi alike, which tells nothing about their "
            "need: VRAM stays as the template asks for it. Change it there, or have it follow use by the pod "
            'annotation tensor-fusion.ai/vram-preallocated: "false"'
        ),
    )


@pytest.mark.parametrize("shares", [None, SAME])
def test_the_annotation_alone_leaves_vram_alone(shares: Shares | None) -> None:
    ruling = rule_on(annotated(" True "), shares, None)
    assert ruling is not None
    assert (ruling.holds, ruling.reason) == (True, "Annotated")


def test_the_annotation_switches_the_guard_off() -> None:
    ruling = rule_on(annotated("false"), SAME, None)
    assert ruling is not None
    assert (ruling.holds, ruling.reason) == (False, "SwitchedOff")


@pytest.mark.parametrize("annotation", [None, "false", "perhaps"])
def test_where_nothing_ever_looked_like_it_nothing_is_said(annotation: str | None) -> None:
    assert rule_on(annotated(annotation), None, None) is None


@pytest.mark.parametrize("told", ["FixedShare", "Annotated", "SwitchedOff", "SharesDiffer"])
def test_what_was_told_is_taken_back_when_it_no_longer_holds(told: str) -> None:
    ruling = rule_on(annotated(None), None, told)
    assert ruling is not None
    assert (ruling.holds, ruling.reason) == (False, "SharesDiffer")


@pytest.mark.parametrize(("told", "held"), [("Annotated", True), ("SwitchedOff", False)])
@pytest.mark.parametrize("shares", [None, SAME])
def test_while_there_are_no_pods_what_the_last_one_said_goes_on(
    told: str, held: bool, shares: Shares | None
) -> None:
    ruling = rule_on(None, shares, told)
    assert ruling is not None
    assert (ruling.holds, ruling.reason) == (held, told)


def test_a_constant_part_is_told_of() -> None:
    ruling = rule_on(annotated(None), Shares(40 * GIB, 21.5 * GIB, 16 * GIB, 9.5 * GIB), None)
    assert ruling is not None
    assert ruling.message.startswith(
        "Pods take 54% of a VRAM limit of 40Gi and 59% of 16Gi, a fixed share and a constant, which tells"
    )
