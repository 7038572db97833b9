from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.publishing.transitions import transitions
from tests.support.builders import slice_json

Json = dict[str, Any]

CREATED, DELETED = "HorizontalPodAutoscalerCreated", "HorizontalPodAutoscalerDeleted"
BLOCKED, RESTORED = "HorizontalScalingBlocked", "HorizontalScalingRestored"


def condition(type_: str, *, status: bool, reason: str = "Because", message: str = "said") -> Json:
    return {"type": type_, "status": str(status), "reason": reason, "message": message}


def conditions(*given: Json) -> Json:
    return {"conditions": list(given)}


def rule(name: str, **more: str) -> Json:
    return {"activeCronScalingRule": {"name": name, "start": "0 22 * * *", "end": "0 6 * * *", **more}}


def told(before: Json, after: Json) -> list[tuple[str, str]]:
    return [(happening.kind.reason, happening.note) for happening in transitions(before, after)]


def reasons(before: Json, after: Json) -> list[str]:
    return [reason for reason, _ in told(before, after)]


def horizontal(reason: str) -> Json:
    return conditions(
        condition("HorizontalScaling", status=reason == "AutoscalerInPlace", reason=reason, message=reason)
    )


# Recommendations


def test_a_change_of_the_recommendation_names_what_has_changed_and_why() -> None:
    before = {"recommendation": slice_json(tflops_request="10", tflops_limit="40")}
    after = {
        "recommendation": slice_json(tflops_request="12500m", tflops_limit="50"),
        **conditions(condition("RecommendationProvided", status=True, message="TFLOPS scaled up")),
    }
    note = "TFLOPS request 10 -> 12500m, limit 40 -> 50: TFLOPS scaled up"
    assert told(before, after) == [("RecommendationChanged", note)]


def test_a_first_recommendation_is_told_whole() -> None:
    first = {"recommendation": {"requests": {"tflops": "2", "vram": "1Gi"}, "limits": {"vram": "2Gi"}}}
    assert told({}, first) == [("RecommendationChanged", "TFLOPS request 2; VRAM request 1Gi, limit 2Gi")]


def test_what_is_no_longer_recommended_of_one_resource_is_told() -> None:
    both = {"recommendation": {"requests": {"tflops": "2", "vram": "1Gi"}}}
    one = {"recommendation": {"requests": {"tflops": "2"}}}
    assert told(both, one) == [("RecommendationChanged", "VRAM request 1Gi -> none")]


def test_the_same_amount_in_other_words_is_no_change() -> None:
    assert (
        told(
            {"recommendation": {"requests": {"tflops": "2000m"}}},
            {"recommendation": {"requests": {"tflops": "2"}}},
        )
        == []
    )


@pytest.mark.parametrize("nonsense", ["much", 7, {"requests": {"tflops": "many"}}, None])
def test_a_recommendation_that_cannot_be_read_counts_as_none(nonsense: object) -> None:
    sane = {"recommendation": {"requests": {"tflops": "2"}}}
    assert told({"recommendation": nonsense}, sane) == [("RecommendationChanged", "TFLOPS request 2")]
    assert told(sane, {"recommendation": nonsense}) == []


def test_another_estimation_or_count_is_nothing_to_tell() -> None:
    before = {"estimation": {"tflops": {"target": "1"}}, "appliedRecommendedReplicas": 1}
    after = {
        "estimation": {"tflops": {"target": "2"}},
        "appliedRecommendedReplicas": 2,
        "observedGeneration": 3,
    }
    assert told(before, after) == []


# Cron rules


def test_a_rule_that_starts_is_named_with_its_window() -> None:
    note = 'Cron scaling rule "night" has started: active from "0 22 * * *" to "0 6 * * *" (Europe/Berlin)'
    assert told({}, rule("night", timeZone="Europe/Berlin")) == [("CronRuleStarted", note)]


def test_a_rule_that_ends_is_named() -> None:
    assert told(rule("night"), {}) == [("CronRuleEnded", 'Cron scaling rule "night" has ended')]


def test_a_rule_that_takes_another_ones_place_ends_it() -> None:
    assert reasons(rule("night"), rule("day")) == ["CronRuleEnded", "CronRuleStarted"]


def test_another_window_of_the_same_rule_is_nothing_to_tell() -> None:
    assert told(rule("night"), rule("night", start="0 21 * * *")) == []


def test_a_rule_comes_before_the_recommendation_that_it_brings() -> None:
    after = {**rule("night"), "recommendation": slice_json(tflops_request="1")}
    assert reasons({}, after) == ["CronRuleStarted", "RecommendationChanged"]


# Configuration


def configured(*, valid: bool, message: str) -> Json:
    return conditions(condition("ConfigurationValid", status=valid, message=message))


def test_a_configuration_that_turns_out_invalid_is_told_in_the_words_of_the_condition() -> None:
    wrong = configured(valid=False, message="spec.a: no number")
    assert told({}, wrong) == [("ConfigurationInvalid", "spec.a: no number")]
    assert told(configured(valid=True, message="fine"), wrong) == [
        ("ConfigurationInvalid", "spec.a: no number")
    ]


def test_another_mistake_is_told_and_the_same_one_is_not() -> None:
    wrong, other = configured(valid=False, message="a"), configured(valid=False, message="b")
    assert reasons(wrong, other) == ["ConfigurationInvalid"]
    assert reasons(wrong, wrong) == []


def test_a_configuration_is_valid_again_only_after_it_was_not() -> None:
    right = configured(valid=True, message="fine")
    assert told(configured(valid=False, message="a"), right) == [("ConfigurationValid", "fine")]
    assert told({}, right) == []


# Replicas


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("", "AutoscalerInPlace", [CREATED]),
        ("Disabled", "AutoscalerInPlace", [CREATED]),
        ("ForeignAutoscaler", "AutoscalerInPlace", [CREATED]),
        ("AutoscalerFailed", "AutoscalerInPlace", [RESTORED]),
        ("AutoscalerInPlace", "Disabled", [DELETED]),
        ("AutoscalerInPlace", "ForeignAutoscaler", [DELETED, BLOCKED]),
        ("AutoscalerInPlace", "AutoscalerFailed", [BLOCKED]),
        ("AutoscalerInPlace", "SomethingNew", [BLOCKED]),
        ("", "NotScalable", [BLOCKED]),
        ("Disabled", "NotScalable", [BLOCKED]),
        ("ForeignAutoscaler", "AnotherWorkload", [BLOCKED]),
        ("NotScalable", "NotScalable", []),
        ("NotScalable", "Disabled", []),
        ("", "Disabled", []),
        ("AutoscalerInPlace", "AutoscalerInPlace", []),
    ],
)
def test_replicas_are_told_of_when_who_scales_them_changes(
    before: str, after: str, expected: list[str]
) -> None:
    old = horizontal(before) if before else {}
    assert told(old, horizontal(after)) == [(reason, after) for reason in expected]


# VRAM


def preallocated(*, holds: bool) -> Json:
    return conditions(condition("VramPreallocated", status=holds, message="shares"))


def test_vram_that_is_taken_in_advance_is_told_when_it_is_found_out_and_when_it_is_not_so() -> None:
    assert told({}, preallocated(holds=True)) == [("VramPreallocationFound", "shares")]
    assert told(preallocated(holds=True), preallocated(holds=False)) == [("VramFollowsUse", "shares")]
    assert told({}, preallocated(holds=False)) == []


# All of it

# Usage


def usage(reason: str, *, status: str = "False") -> Json:
    return conditions(
        {"type": "MetricsAvailable", "status": status, "reason": reason, "message": reason.lower()}
    )


SEEN = usage("UsageSeen", status="True")


def test_usage_that_is_missing_is_told_and_that_it_is_back() -> None:
    assert told(SEEN, usage("NoSamples")) == [("UsageMissing", "nosamples")]
    assert told({}, usage("NoSamples")) == [("UsageMissing", "nosamples")]
    assert told(usage("NoSamples"), SEEN) == [("UsageBack", "usageseen")]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, SEEN),
        (SEEN, usage("SourceUnavailable")),
        (usage("SourceUnavailable"), SEEN),
        (usage("NoSamples"), usage("NoPods", status="Unknown")),
        (usage("NoSamples"), usage("NoSamples")),
    ],
    ids=["first", "source away", "source back", "pods gone", "still missing"],
)
def test_an_outage_of_the_source_and_pods_that_go_are_not_told_of_usage(before: Json, after: Json) -> None:
    assert told(before, after) == []


TYPES = ["RecommendationProvided", "ConfigurationValid", "HorizontalScaling", "VramPreallocated", "Another"]
statuses = st.fixed_dictionaries(
    {},
    optional={
        "conditions": st.lists(
            st.builds(
                condition,
                st.sampled_from(TYPES),
                status=st.booleans(),
                reason=st.sampled_from(["AutoscalerInPlace", "Disabled", "Other"]),
                message=st.text(max_size=3),
            ),
            max_size=4,
        ),
        "recommendation": st.sampled_from([{}, {"requests": {"tflops": "1"}}, {"limits": {"vram": "1Gi"}}]),
        "activeCronScalingRule": st.sampled_from([{}, {"name": "a"}, {"name": "b"}, None]),
    },
)


@given(statuses)
def test_a_status_that_stays_as_it_is_tells_nothing(status: Json) -> None:
    """So a restart, which finds what was told, tells nothing again."""
    assert told(status, status) == []


@given(statuses, statuses)
def test_no_write_tells_the_same_reason_twice(before: Json, after: Json) -> None:
    told_of = reasons(before, after)
    assert len(told_of) == len(set(told_of))
