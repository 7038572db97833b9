"""What an external scaler says, in the decisions: bounded, capped and merged like what usage says."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.decisions.advising import Consultation, advice_in_status, scaler_condition, without
from recommender.decisions.conditions import Condition
from recommender.decisions.external import NO_ADVICE, Advice, with_advice
from recommender.decisions.recommendation import Decision
from recommender.decisions.standing import Published
from tests.support.deciding import (
    GIB,
    TFLOPS,
    THURSDAY,
    VRAM,
    configurations,
    decided,
    slice_of,
    slices,
    tflops,
    vram,
)
from vgpu.slices import Amounts

ADVISED = {"tflops": {"target": "20", "source": "ExternalScaler"}, "vram": {"target": "4Gi"}}
ASKED = Consultation(asked=True)


def advised(requests: Amounts, *, reason: str = "", **given: Any) -> Decision:
    return decided(advice=Advice(requests, reason), **{"baseline": slice_of(10, 8), **given})


def test_advice_does_not_wait_for_samples() -> None:
    decision = advised(Amounts(tflops=20_000), samples=0, first_sample=None)
    assert decision.recommendation == slice_of(20, 8)
    assert decision.reason == "ExternalScalerRecommended"
    assert decision.measured == {TFLOPS}


def test_advice_counts_in_place_of_an_estimate() -> None:
    decision = advised(Amounts(tflops=5000), estimates={**tflops(30, 25, 35), **vram(4, 3, 5)})
    assert decision.recommendation == slice_of(5, 4)
    assert decision.reason == "OutOfEstimatedBound"  # of VRAM
    assert decision.message == (
        "TFLOPS scaled down due to external scaler (5), VRAM scaled down due to (8Gi) above upper bound (5Gi)"
    )


def test_its_words_follow_where_it_has_moved_something() -> None:
    assert advised(Amounts(vram=9 * GIB), reason="queue is long").message == (
        "VRAM scaled up due to external scaler (9Gi): queue is long"
    )
    same = advised(Amounts(tflops=10_000), reason="all is well")
    assert (same.changed, same.message) == (False, "Requests lie within the estimated bounds")


def test_a_card_cuts_advice_too() -> None:
    decision = advised(Amounts(tflops=9_000_000), cap=Amounts(tflops=60_000))
    assert decision.recommendation == slice_of(60, 8)
    assert decision.message.endswith("TFLOPS reduced due to target (9k) exceed max allowed (60)")


@pytest.mark.parametrize(("asked_for", "expected"), [(20, 44), (60, 60)])
def test_of_advice_and_rule_the_larger_counts(asked_for: int, expected: int) -> None:
    decision = advised(Amounts(tflops=1000 * asked_for), rule=THURSDAY)
    assert decision.recommendation is not None
    assert decision.recommendation.requests.tflops == 1000 * expected
    assert decision.reason == "RuleActive"


AMOUNT = st.none() | st.integers(0, 10**12)


@given(slices(), configurations(), AMOUNT, AMOUNT, st.integers(1, 10**6), st.integers(1, 80 * GIB))
def test_no_advice_leads_beyond_the_card_or_the_limit(
    baseline: Any, config: Any, tflops: int | None, vram: int | None, card_tflops: int, card_vram: int
) -> None:
    card = Amounts(tflops=card_tflops, vram=card_vram)
    advice = Advice(Amounts(tflops=tflops, vram=vram))
    decision = decided(advice=advice, baseline=baseline, config=config, cap=card)
    for resource in decision.measured & advice.resources:
        assert decision.recommendation is not None
        request = decision.recommendation.requests.get(resource)
        limit = decision.recommendation.limits.get(resource)
        own = baseline.requests.get(resource)
        assert request is not None
        assert limit is not None
        assert request <= limit
        assert request <= (card.get(resource) or 0) or request == own


def test_zero_is_no_advice() -> None:
    assert Advice(Amounts(tflops=0)).resources == frozenset()
    assert with_advice(tflops(1, 1, 1), NO_ADVICE) == tflops(1, 1, 1)


# In the status


def test_what_was_recommended_last_stands_in_the_status() -> None:
    assert advice_in_status({"estimation": ADVISED}) == Amounts(tflops=20_000)


@pytest.mark.parametrize(
    "estimation", [None, [], "x", {"tflops": []}, {"tflops": {"source": "ExternalScaler", "target": "many"}}]
)
def test_what_cannot_be_read_is_none(estimation: object) -> None:
    assert advice_in_status({"estimation": estimation}) == Amounts()


def test_former_advice_stays_as_long_as_the_scaler_is_asked() -> None:
    published = Published(measured=frozenset({TFLOPS, VRAM}))
    status = {"estimation": ADVISED}
    assert without(published, (), status, ASKED) == published
    assert without(published, (), status, Consultation()).measured == {VRAM}
    assert without(published, {VRAM}, status, ASKED).measured == {TFLOPS}
    assert without(published, {TFLOPS}, status, ASKED) == published


def test_the_condition_tells_of_a_scaler_and_ever_after() -> None:
    told = Condition("ExternalScalerAvailable", "Answered", "it answers", status=True)
    there = {"conditions": [told.to_json("2026-01-01T00:00:00Z")]}
    assert scaler_condition({}, Consultation(condition=told)) == [told]
    assert scaler_condition({}, Consultation()) == []
    assert scaler_condition(there, ASKED) == []
    [gone] = scaler_condition(there, Consultation())
    assert (gone.reason, gone.status) == ("Disabled", False)
