import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.decisions.recommendation import Decision, decide
from recommender.decisions.standing import Published
from recommender.decisions.targets import pair
from recommender.histories.estimators import Estimate
from tests.support.deciding import (
    AMOUNT,
    GIB,
    TFLOPS,
    THURSDAY,
    VRAM,
    configurations,
    decided,
    rule,
    slice_of,
    slices,
    tflops,
    vram,
)
from tests.support.examples import examples
from vgpu.api import AutoSetResources
from vgpu.quantities import INT64_MAX
from vgpu.schedule import Rule
from vgpu.slices import Amounts, Resource, VgpuSlice

# Bounds


def test_a_request_below_the_lower_bound_is_scaled_up_to_the_target() -> None:
    assert decided(estimates=tflops(13, 2, 20)) == Decision(
        recommendation=slice_of(13),
        changed=True,
        reason="OutOfEstimatedBound",
        message="TFLOPS scaled up due to (1) below lower bound (2)",
        rule=None,
        measured=frozenset({TFLOPS}),
    )


def test_a_request_above_the_upper_bound_is_scaled_down_to_the_target() -> None:
    decision = decided(estimates=vram(2, 1, 3), baseline=slice_of(1, 8))
    assert decision.recommendation == slice_of(1, 2)
    assert decision.message == "VRAM scaled down due to (8Gi) above upper bound (3Gi)"


def test_both_resources_are_told_of_in_one_message() -> None:
    decision = decided(estimates=tflops(3.51, 3.504, 6.318) | vram(2, 1, 3), baseline=slice_of(1, 8))
    assert decision.recommendation == slice_of(3.51, 2)
    assert decision.message == (
        "TFLOPS scaled up due to (1) below lower bound (3504m), "
        "VRAM scaled down due to (8Gi) above upper bound (3Gi)"
    )


@pytest.mark.parametrize("current", [2, 10, 20])
def test_a_request_within_the_bounds_stays(current: int) -> None:
    decision = decided(estimates=tflops(13, 2, 20), current=slice_of(current))
    assert (decision.recommendation, decision.changed) == (slice_of(current), False)
    assert (decision.reason, decision.message) == (
        "WithinBounds",
        "Requests lie within the estimated bounds",
    )


def test_the_last_recommendation_and_not_the_baseline_is_compared_with_the_bounds() -> None:
    decision = decided(estimates=tflops(13, 2, 20), baseline=slice_of(1), current=slice_of(13))
    assert not decision.changed


def test_a_resource_that_stays_within_its_bounds_keeps_its_value_while_the_other_moves() -> None:
    decision = decided(estimates=tflops(13, 2, 20) | vram(2, 1, 3), current=slice_of(1, 3))
    assert decision.recommendation == slice_of(13, 3)


def test_the_limit_keeps_the_ratio_of_the_baseline_not_of_the_current_value() -> None:
    baseline = slice_of(4, limits=(40, 1))
    current = slice_of(5, limits=(5, 1))
    decision = decided(estimates=tflops(8, 7, 9), baseline=baseline, current=current)
    assert decision.recommendation == slice_of(8, limits=(80, 1))


@pytest.mark.parametrize(
    "baseline",
    [
        VgpuSlice(Amounts(tflops=0, vram=GIB), Amounts(tflops=1000, vram=GIB)),
        VgpuSlice(Amounts(tflops=1000, vram=GIB), Amounts(tflops=0, vram=GIB)),
        VgpuSlice(Amounts(vram=GIB), Amounts(vram=GIB)),
    ],
    ids=["zero request", "zero limit", "none"],
)
def test_a_resource_with_a_zero_in_request_or_limit_is_left_alone(baseline: VgpuSlice) -> None:
    decision = decided(estimates=tflops(13, 12, 20) | vram(2, 2, 3), baseline=baseline)
    expected = baseline.with_resource(VRAM, request=2 * GIB, limit=2 * GIB)
    assert decision.recommendation == expected
    assert decision.message == "VRAM scaled up due to (1Gi) below lower bound (2Gi)"


def test_a_limit_that_clamps_is_told_as_a_warning() -> None:
    baseline = VgpuSlice(Amounts(tflops=1), Amounts(tflops=10**13))
    estimates = {TFLOPS: Estimate(10**13, 10**13, 10**14, 1.0)}
    decision = decided(estimates=estimates, baseline=baseline)
    assert decision.recommendation == VgpuSlice(Amounts(tflops=10**13), Amounts(tflops=INT64_MAX))
    assert decision.warnings == ("the TFLOPS limit was cut to the largest possible number",)


# Limits, threshold and card


def test_a_target_above_max_allowed_is_cut_and_the_message_says_so() -> None:
    decision = decided(estimates=tflops(13, 2, 20), config={"maxAllowed": {"tflops": 5}})
    assert decision.recommendation == slice_of(5)
    assert decision.message == (
        "TFLOPS scaled up due to (1) below lower bound (2), "
        "TFLOPS reduced due to target (13) exceed max allowed (5)"
    )


def test_the_card_cuts_every_resource_and_the_message_ends_with_both() -> None:
    decision = decided(estimates=tflops(13, 2, 20) | vram(8, 4, 9), cap=Amounts(tflops=5000, vram=6 * GIB))
    assert decision.recommendation == slice_of(5, 6)
    assert decision.message == (
        "TFLOPS scaled up due to (1) below lower bound (2), "
        "VRAM scaled up due to (1Gi) below lower bound (4Gi), "
        "TFLOPS reduced due to target (13) exceed max allowed (5), "
        "VRAM reduced due to target (8Gi) exceed max allowed (6Gi)"
    )


def test_the_card_caps_the_limit_and_the_ratio_gives_way() -> None:
    decision = decided(
        estimates=tflops(8, 7, 9), baseline=slice_of(4, limits=(40, 1)), cap=Amounts(tflops=30_000)
    )
    assert decision.recommendation == slice_of(8, limits=(30, 1))
    assert decision.message == "TFLOPS scaled up due to (4) below lower bound (7)"


def test_a_request_that_its_limits_hold_back_is_no_change() -> None:
    decision = decided(estimates=tflops(0.2, 0.1, 0.3), config={"minAllowed": {"tflops": 1}})
    assert (decision.recommendation, decision.changed) == (slice_of(1), False)
    assert decision.reason == "WithinBounds"
    assert decision.message.startswith("Requests stay as they are")


def test_a_request_that_the_card_holds_back_is_told_of_once_only() -> None:
    arguments: dict[str, Any] = {"estimates": tflops(13, 12, 20), "cap": Amounts(tflops=5000)}
    first = decided(**arguments)
    assert first.changed
    assert not decided(current=first.recommendation, **arguments).changed


def test_a_resource_that_does_not_move_is_not_told_of() -> None:
    decision = decided(estimates=tflops(0.2, 0.1, 0.3) | vram(3, 2, 4))
    assert decision.message == "VRAM scaled up due to (1Gi) below lower bound (2Gi)"


def test_a_current_value_beyond_the_card_is_cut_even_within_its_bounds() -> None:
    decision = decided(estimates=tflops(13, 2, 20), current=slice_of(12), cap=Amounts(tflops=10_000))
    assert (decision.recommendation, decision.reason) == (slice_of(10), "WithinBounds")
    assert decision.message.endswith("TFLOPS reduced due to target (12) exceed max allowed (10)")


def test_the_users_own_slice_is_not_cut_to_the_card() -> None:
    baseline = slice_of(500, 8, limits=(900, 8))
    decision = decided(estimates=vram(2, 1, 3), baseline=baseline, cap=Amounts(tflops=312_000))
    assert decision.recommendation == slice_of(500, 2, limits=(900, 2))
    assert decision.message == "VRAM scaled down due to (8Gi) above upper bound (3Gi)"


def test_the_users_own_slice_is_not_cut_where_usage_lies_within_its_bounds() -> None:
    baseline = slice_of(300, limits=(400, 1))
    decision = decided(estimates=tflops(250, 200, 350), baseline=baseline, cap=Amounts(tflops=312_000))
    assert (decision.recommendation, decision.changed) == (baseline, False)


def test_what_was_published_stays_after_a_restart_also_when_the_larger_cards_are_gone() -> None:
    published = slice_of(1, 47)
    decision = decided(
        current=published, measured=frozenset({VRAM}), samples=0, cap=Amounts(tflops=65_000, vram=15 * GIB)
    )
    assert (decision.recommendation, decision.changed) == (published, False)
    assert decision.message == "Fewer than 30 samples so far"


def test_a_published_limit_that_the_card_cut_stays_cut_after_a_restart() -> None:
    published = slice_of(8, limits=(30, 1))
    decision = decided(
        current=published,
        measured=frozenset({TFLOPS}),
        samples=0,
        baseline=slice_of(4, limits=(40, 1)),
        cap=Amounts(tflops=15_000),
    )
    assert (decision.recommendation, decision.changed) == (published, False)


def test_a_rule_does_not_cut_what_was_published_when_the_larger_cards_are_gone() -> None:
    published = slice_of(1, 47)
    decision = decided(
        rule=THURSDAY, current=published, measured=frozenset({VRAM}), samples=0, cap=Amounts(vram=8 * GIB)
    )
    assert decision.recommendation == slice_of(44, 47, limits=(99, 47))


def test_a_rule_does_not_cut_what_it_leaves_to_the_user() -> None:
    night = rule(requests=Amounts(vram=2 * GIB))
    decision = decided(rule=night, baseline=slice_of(500, 1), cap=Amounts(tflops=312_000, vram=GIB))
    assert decision.recommendation == slice_of(500, 1)


@pytest.mark.parametrize(("threshold", "changed"), [(0, True), (0.2, True), (0.25, False), (1, False)])
def test_moves_up_to_the_threshold_are_skipped(threshold: float, changed: bool) -> None:
    decision = decided(
        estimates=tflops(10, 9, 11), current=slice_of(8), config={"updateThreshold": threshold}
    )
    assert decision.changed is changed
    assert decision.recommendation == slice_of(10 if changed else 8)


def test_one_resource_that_moves_enough_takes_the_other_along() -> None:
    decision = decided(
        estimates=tflops(10, 9, 11) | vram(8, 7, 9), current=slice_of(8, 1), config={"updateThreshold": 0.5}
    )
    assert decision.recommendation == slice_of(10, 8)


# Too early


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"samples": 29}, "Fewer than 30 samples so far"),
        ({"samples": 0, "first_sample": None, "config": {"minSamples": 5}}, "Fewer than 5 samples so far"),
        (
            {"config": {"initialDelayPeriod": "2h"}},
            "The first sample is less than initialDelayPeriod (7200s) old",
        ),
    ],
)
def test_too_few_or_too_young_samples_give_no_recommendation(given: dict[str, Any], message: str) -> None:
    decision = decided(estimates=tflops(13, 2, 20), **given)
    assert decision == Decision(None, changed=False, reason="InsufficientSamples", message=message, rule=None)


@pytest.mark.parametrize("given", [{"samples": 30}, {"config": {"initialDelayPeriod": "1h"}}])
def test_just_enough_samples_give_a_recommendation(given: dict[str, Any]) -> None:
    assert decided(estimates=tflops(13, 2, 20), **given).recommendation == slice_of(13)


# Cron rules


def test_an_active_rule_sets_the_recommendation() -> None:
    assert decided(rule=THURSDAY) == Decision(
        recommendation=THURSDAY.desired,
        changed=True,
        reason="RuleActive",
        message='Cron scaling rule "test" is active',
        rule="test",
    )


def test_a_rule_that_goes_on_changes_nothing() -> None:
    decision = decided(rule=THURSDAY, previous=THURSDAY, current=THURSDAY.desired)
    assert (decision.changed, decision.reason, decision.rule) == (False, "RuleActive", "test")


def test_a_rule_needs_no_samples() -> None:
    decision = decided(rule=THURSDAY, samples=0, first_sample=None, estimates=tflops(80, 70, 90))
    assert decision.recommendation == THURSDAY.desired


def test_while_a_rule_is_active_the_larger_of_rule_and_histogram_counts_for_each_resource() -> None:
    estimates = tflops(50, 40, 60) | vram(2, 1, 3)
    decision = decided(rule=THURSDAY, estimates=estimates, baseline=slice_of(4, limits=(40, 1)))
    # TFLOPS with the limit of the baseline's ratio, VRAM with that of the rule.
    assert decision.recommendation == slice_of(50, 5, limits=(500, 10))
    assert decision.message == 'Cron scaling rule "test" is active'


def test_a_rule_counts_alone_for_a_resource_without_samples() -> None:
    decision = decided(rule=THURSDAY, estimates=tflops(13, 2, 20), baseline=slice_of(60, 8))
    assert decision.recommendation == slice_of(44, 5, limits=(99, 10))


def test_a_rule_that_hides_what_usage_recommended_does_not_bring_the_baseline_back() -> None:
    # Usage had cut 60 TFLOPS to 18; 60 lies within the bounds again, which are wide.
    estimates, baseline = tflops(18, 12, 62), slice_of(60, 5)
    usage: dict[str, Any] = {"estimates": estimates, "baseline": baseline, "measured": frozenset({TFLOPS})}
    first = decided(rule=THURSDAY, current=slice_of(18, 5), **usage)
    second = decided(rule=THURSDAY, previous=THURSDAY, current=first.recommendation, **usage)
    assert first.recommendation == slice_of(44, 5, limits=(99, 10))
    assert (second.recommendation, second.changed) == (first.recommendation, False)


def test_a_field_that_the_rule_does_not_name_keeps_its_current_value() -> None:
    decision = decided(rule=rule(requests=Amounts(tflops=2000)), baseline=slice_of(1, 3, limits=(4, 3)))
    assert decision.recommendation == slice_of(2, 3, limits=(4, 3))


def test_a_rule_beyond_the_card_is_cut_and_its_message_says_so() -> None:
    decision = decided(rule=THURSDAY, cap=Amounts(tflops=40_000, vram=80 * GIB))
    assert decision.recommendation == slice_of(40, 5, limits=(40, 10))
    assert decision.message == (
        'Cron scaling rule "test" is active, TFLOPS reduced due to target (44) exceed max allowed (40)'
    )


def test_the_configured_limits_do_not_bind_a_rule() -> None:
    decision = decided(rule=THURSDAY, config={"maxAllowed": {"tflops": 5}, "updateThreshold": 100})
    assert decision.recommendation == THURSDAY.desired


def test_when_a_rule_ends_the_baseline_returns() -> None:
    decision = decided(previous=THURSDAY, current=THURSDAY.desired)
    assert decision == Decision(
        recommendation=slice_of(1),
        changed=True,
        reason="RuleInactive",
        message='Cron scaling rule "test" is inactive',
        rule=None,
    )


def test_when_a_rule_ends_the_larger_of_baseline_and_target_counts_for_each_resource() -> None:
    decision = decided(
        previous=THURSDAY,
        baseline=slice_of(10, 4, limits=(20, 8)),
        current=THURSDAY.desired,
        estimates=tflops(13, 1, 99) | vram(2, 1, 99),
    )
    assert decision.recommendation == slice_of(13, 4, limits=(26, 8))


def test_after_the_end_of_a_rule_the_bounds_decide_from_the_baseline_on() -> None:
    ended = decided(previous=THURSDAY, baseline=slice_of(10), estimates=tflops(2, 1, 3))
    assert ended.recommendation == slice_of(10)
    after = decided(current=ended.recommendation, baseline=slice_of(10), estimates=tflops(2, 1, 3))
    assert after.recommendation == slice_of(2)
    assert after.message == "TFLOPS scaled down due to (10) above upper bound (3)"


def test_when_a_rule_ends_too_early_for_the_histogram_the_baseline_returns() -> None:
    decision = decided(previous=THURSDAY, current=THURSDAY.desired, samples=3, estimates=tflops(80, 1, 99))
    assert (decision.recommendation, decision.reason) == (slice_of(1), "RuleInactive")


def test_what_one_rule_asked_for_ends_when_another_follows_it() -> None:
    night = rule("night", requests=Amounts(tflops=2000), limits=Amounts(tflops=2000))
    decision = decided(rule=night, previous=THURSDAY, current=THURSDAY.desired)
    assert decision.recommendation == slice_of(2)
    assert (decision.changed, decision.rule) == (True, "night")


def test_the_end_of_a_rule_beyond_the_card_is_cut_and_its_message_says_so() -> None:
    decision = decided(previous=THURSDAY, estimates=tflops(50, 1, 99), cap=Amounts(tflops=40_000))
    assert decision.recommendation == slice_of(40)
    assert decision.message == (
        'Cron scaling rule "test" is inactive, TFLOPS reduced due to target (50) exceed max allowed (40)'
    )


# Guarantees

ESTIMATES = st.dictionaries(
    st.sampled_from(Resource), st.builds(Estimate, AMOUNT, AMOUNT, AMOUNT, st.floats(0, 1e9))
)
RULES = st.none() | st.builds(
    rule, st.sampled_from(["one", "two"]), requests=st.builds(Amounts, AMOUNT, AMOUNT)
)
PUBLISHED = st.builds(
    Published,
    recommendation=st.none() | slices(),
    measured=st.frozensets(st.sampled_from(Resource)),
    rule=st.sampled_from([None, "one", "two"]),
    desired=st.builds(VgpuSlice, st.builds(Amounts, st.none() | AMOUNT, st.none() | AMOUNT)),
)
CAP = st.builds(Amounts, st.none() | AMOUNT, st.none() | AMOUNT)


@settings(max_examples=examples(100))
@given(
    estimates=ESTIMATES,
    config=configurations(),
    baseline=slices(),
    published=PUBLISHED,
    waiting=st.sampled_from([None, "Fewer than 30 samples so far"]),
    rule=RULES,
    cap=CAP,
)
def test_whatever_is_configured_a_decision_fits_its_limit_and_64_bits_and_no_more_than_a_card(
    **given: Any,
) -> None:
    """Only what the user asked for, or what was published before, may be more than the card."""
    decision = decide(**given)
    assert re.fullmatch(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", decision.reason)
    assert not re.search(r"\b(nan|inf)\b", decision.message, re.IGNORECASE)
    if decision.recommendation is None:
        assert decision.reason == "InsufficientSamples"
        return
    for resource in Resource:
        request = decision.recommendation.requests.get(resource)
        limit = decision.recommendation.limits.get(resource)
        before = [given["baseline"], given["published"].recommendation or VgpuSlice()]
        amounts = [amount for slice_ in before for amount in pair(slice_, resource)]
        most = max(given["cap"].get(resource) or INT64_MAX, *(amount or 0 for amount in amounts))
        assert request is None or 0 <= request <= most
        assert limit is None or 0 <= limit <= most
        assert request is None or limit is None or request <= limit


@settings(max_examples=examples(80))
@given(
    ESTIMATES,
    configurations(),
    slices(),
    PUBLISHED,
    st.sampled_from([None, "Fewer than 30 samples so far"]),
    RULES,
    CAP,
)
def test_a_decision_settles(
    estimates: dict[Resource, Estimate],
    config: AutoSetResources,
    baseline: VgpuSlice,
    published: Published,
    waiting: str | None,
    rule: Rule | None,
    cap: Amounts,
) -> None:
    """With estimates whose target lies within their bounds the second pass changes nothing any more.

    But for the end of a rule: there the bounds decide in the second pass, and nothing changes in the third.
    """
    estimates = {
        resource: Estimate(middle, low, high, 1.0)
        for resource, found in estimates.items()
        for low, middle, high in [sorted((found.target, found.lower_bound, found.upper_bound))]
    }
    decisions: list[Decision] = []
    for _ in range(3):
        decision = decide(
            estimates=estimates,
            config=config,
            baseline=baseline,
            published=published,
            waiting=waiting,
            rule=rule,
            cap=cap,
        )
        published = Published(
            recommendation=decision.recommendation if decision.changed else published.recommendation,
            measured=decision.measured,
            rule=decision.rule,
            desired=rule.desired if rule else VgpuSlice(),
        )
        decisions.append(decision)
    first, second, third = decisions
    assert first.reason == "RuleInactive" or not second.changed
    assert not third.changed


@settings(max_examples=examples(100))
@given(estimates=ESTIMATES, config=configurations(), baseline=slices(), published=PUBLISHED, cap=CAP)
def test_a_limit_keeps_the_ratio_of_the_baseline_unless_the_card_or_64_bits_cut_it(
    estimates: dict[Resource, Estimate],
    config: AutoSetResources,
    baseline: VgpuSlice,
    published: Published,
    cap: Amounts,
) -> None:
    decision = decide(
        estimates=estimates,
        config=config,
        baseline=baseline,
        published=replace(published, rule=None),
        waiting=None,
        rule=None,
        cap=cap,
    )
    assert decision.recommendation is not None
    for resource in decision.measured:
        request, limit = pair(decision.recommendation, resource)
        own_request, own_limit = pair(baseline, resource)
        assert request is not None
        assert own_request
        assert own_limit is not None
        kept = max(request, request * own_limit // own_request)
        cuts = {INT64_MAX, cap.get(resource), *pair(published.recommendation or VgpuSlice(), resource)}
        assert limit == kept or limit in cuts
