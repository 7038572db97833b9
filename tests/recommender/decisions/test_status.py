from dataclasses import replace
from typing import Any

import pytest

from recommender.decisions.configurations import Configuration
from recommender.decisions.recommendation import Decision
from recommender.decisions.status import (
    Condition,
    configuration_condition,
    find_condition,
    merge_conditions,
    status_patch,
    wanted_status,
)
from recommender.decisions.verdicts import Verdict
from recommender.histories.estimators import Estimate
from recommender.histories.preallocation import Ruling
from tests.support import builders
from vgpu.api import parse_spec
from vgpu.schedule import Rule
from vgpu.slices import Resource, VgpuSlice

NOW = 1_760_001_406.0  # 2025-10-09T09:16:46Z
SPEC = parse_spec({"resources": builders.slice_json()})
SLICE = VgpuSlice.from_json(
    {"limits": {"tflops": "13", "vram": "1Gi"}, "requests": {"tflops": "13", "vram": "1Gi"}}
)
MESSAGE = "TFLOPS scaled up due to (1) below lower bound (2)"
SCALED_UP = Decision(SLICE, changed=True, reason="OutOfEstimatedBound", message=MESSAGE, rule=None)
CALM = Decision(SLICE, changed=False, reason="WithinBounds", message="calm", rule=None)
WAITING = Decision(None, changed=False, reason="InsufficientSamples", message="few", rule=None)
DOCUMENTED = {
    "conditions": [
        {
            "lastTransitionTime": "2025-10-09T09:16:46Z",
            "message": MESSAGE,
            "reason": "OutOfEstimatedBound",
            "status": "True",
            "type": "RecommendationProvided",
        }
    ],
    "recommendation": {
        "limits": {"tflops": "13", "vram": "1Gi"},
        "requests": {"tflops": "13", "vram": "1Gi"},
    },
    "appliedRecommendedReplicas": 3,
}


def wanted(
    decision: Decision | None,
    *,
    recommendation: VgpuSlice | None = SLICE,
    status: dict[str, Any] | None = None,
    rule: Rule | None = None,
    estimates: dict[Resource, Estimate] | None = None,
    now: float = NOW,
) -> dict[str, Any]:
    live = builders.workload_struct(status=status or {})
    verdict = Verdict(Configuration(SPEC, rule), estimates or {}, decision, recommendation)
    return wanted_status(live, verdict, applied=3, conditions=(), now=now)


def test_a_status_reads_as_documented() -> None:
    status = wanted(SCALED_UP)
    assert status.items() >= DOCUMENTED.items()
    assert "activeCronScalingRule" not in status


@pytest.mark.parametrize("decision", [CALM, WAITING])
def test_a_pass_without_a_change_leaves_the_documented_condition(decision: Decision) -> None:
    before = {**wanted(SCALED_UP), "observedGeneration": 0}
    assert wanted(decision, status=before, now=NOW + 600) == before


def test_waiting_for_samples_is_a_condition_that_is_false() -> None:
    status = wanted(WAITING, recommendation=None)
    [condition] = status["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "InsufficientSamples")
    assert "recommendation" not in status


def test_an_active_rule_stands_in_the_status_in_the_words_of_the_spec() -> None:
    rule = Rule("test", "0 0 * * Thu", "59 23 * * Thu", desired=SLICE, desired_replicas=2)
    status = wanted(SCALED_UP, rule=rule)
    assert status["activeCronScalingRule"] == {
        "enable": True,
        "name": "test",
        "start": "0 0 * * Thu",
        "end": "59 23 * * Thu",
        "desiredResources": SLICE.to_json(),
        "desiredReplicas": 2,
    }


def test_a_rule_that_has_ended_leaves_the_status() -> None:
    assert "activeCronScalingRule" not in wanted(
        SCALED_UP, status={"activeCronScalingRule": {"name": "test"}}
    )


def test_without_a_decision_everything_stays_that_a_decision_would_change() -> None:
    before = {**DOCUMENTED, "activeCronScalingRule": {"name": "test"}}
    assert wanted(None, status=before).items() >= before.items()


def test_an_estimation_is_written_in_quantities() -> None:
    estimates = {Resource.TFLOPS: Estimate(3510, 3504, 6318, 1.25)}
    assert wanted(CALM, estimates=estimates)["estimation"] == {
        "tflops": {"target": "3510m", "lowerBound": "3504m", "upperBound": "6318m", "confidence": "1.25"}
    }


@pytest.mark.parametrize(
    ("measured", "expected"), [({Resource.VRAM}, {"tflops", "vram"}), (set[Resource](), {"tflops"})]
)
def test_an_estimation_stays_as_long_as_the_recommendation_rests_on_it(
    measured: set[Resource], expected: set[str]
) -> None:
    estimates = {Resource.TFLOPS: Estimate(1000, 1000, 1000, 1)}
    decision = replace(CALM, measured=frozenset(measured))
    status = wanted(decision, estimates=estimates, status={"estimation": {"vram": {"target": "1Gi"}}})
    assert status["estimation"].keys() == expected


def test_a_status_without_any_estimate_has_no_estimation() -> None:
    assert "estimation" not in wanted(CALM, status={"estimation": {"vram": {"target": "1Gi"}}})


# VRAM that is taken in advance


def told(ruling: Ruling | None, before: dict[str, Any] | None = None) -> dict[str, Any]:
    live = builders.workload_struct(status=before or {})
    verdict = Verdict(Configuration(SPEC, None), {}, CALM, SLICE, ruling)
    return wanted_status(live, verdict, applied=3, conditions=(), now=NOW)


HELD = Ruling(holds=True, reason="FixedShare", message="90% of 8Gi and 16Gi")


def test_vram_that_is_left_alone_is_a_condition() -> None:
    assert find_condition(told(HELD), "VramPreallocated") == {
        "lastTransitionTime": "2025-10-09T09:16:46Z",
        "message": "90% of 8Gi and 16Gi",
        "reason": "FixedShare",
        "status": "True",
        "type": "VramPreallocated",
    }


def test_shares_that_move_a_little_are_not_told_again() -> None:
    before = told(HELD)
    assert told(replace(HELD, message="91% of 8Gi and 16Gi"), before)["conditions"] == before["conditions"]


def test_another_reason_is_told() -> None:
    status = told(Ruling(holds=True, reason="Annotated", message="says so"), told(HELD))
    condition = find_condition(status, "VramPreallocated")
    assert condition is not None
    assert (condition["reason"], condition["message"]) == ("Annotated", "says so")


def test_vram_that_is_no_longer_left_alone_is_told() -> None:
    status = told(Ruling(holds=False, reason="SharesDiffer", message="no more"), told(HELD))
    condition = find_condition(status, "VramPreallocated")
    assert condition is not None
    assert (condition["status"], condition["reason"]) == ("False", "SharesDiffer")


def test_a_workload_that_never_looked_like_it_has_no_such_condition() -> None:
    assert find_condition(told(None), "VramPreallocated") is None


def test_conditions_of_others_stay_as_and_where_they_are() -> None:
    foreign = {"type": "Ready", "status": "True", "x": 1}
    merged = merge_conditions([foreign], [Condition("A", "Because", "of it", status=True)], NOW)
    assert [merged[0], merged[1]["type"]] == [foreign, "A"]


def test_the_transition_time_moves_only_with_the_status() -> None:
    first = merge_conditions([], [Condition("A", "One", "1", status=True)], NOW)
    second = merge_conditions(first, [Condition("A", "Two", "2", status=True)], NOW + 60)
    third = merge_conditions(second, [Condition("A", "Three", "3", status=False)], NOW + 120)
    assert second[0]["reason"] == "Two"
    assert second[0]["lastTransitionTime"] == "2025-10-09T09:16:46Z"
    assert third[0]["lastTransitionTime"] == "2025-10-09T09:18:46Z"


def test_a_problem_is_told_until_it_is_gone() -> None:
    [told] = configuration_condition({}, ["spec.x: is wrong", "spec.y: too"])
    assert (told.status, told.message) == (False, "spec.x: is wrong; spec.y: too")
    [healed] = configuration_condition({"conditions": [told.to_json("")]}, [])
    assert healed.status is True


def test_a_configuration_that_was_always_valid_is_no_news() -> None:
    assert list(configuration_condition({}, [])) == []


def test_a_condition_is_found_by_its_type() -> None:
    assert find_condition({"conditions": [{"type": "A"}, {"type": "B", "x": 1}]}, "B") == {
        "type": "B",
        "x": 1,
    }
    assert find_condition({}, "B") is None


def patch(live: dict[str, Any], new: dict[str, Any], *, age: float = 0) -> dict[str, Any] | None:
    return status_patch(live, new, now=NOW, estimation_written=NOW - age)


def estimation(target: str, confidence: str = "1") -> dict[str, Any]:
    return {"estimation": {"tflops": {"target": target, "confidence": confidence}}}


def test_what_has_not_changed_is_not_written() -> None:
    assert patch(DOCUMENTED, dict(DOCUMENTED)) is None


def test_a_patch_says_only_what_differs() -> None:
    assert patch({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 4}, "d": 3}) == {"a": {"c": 4}}


def test_what_is_gone_is_removed_by_null() -> None:
    assert patch({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1}}) == {"a": {"c": None}, "d": None}


def test_an_estimation_that_moved_little_is_not_written_alone() -> None:
    assert patch(estimation("1000m"), estimation("1099m")) is None


def test_an_estimation_that_moved_by_more_than_a_tenth_is_written() -> None:
    assert patch(estimation("1000m"), estimation("1101m")) is not None


def test_an_estimation_is_written_after_an_hour() -> None:
    assert patch(estimation("1000m"), estimation("1001m"), age=3600) is not None


def test_growing_confidence_alone_is_not_written() -> None:
    assert patch(estimation("1000m", "1"), estimation("1000m", "9")) is None


def test_an_estimation_rides_along_with_anything_else() -> None:
    written = patch({**estimation("1000m"), "a": 1}, {**estimation("1001m"), "a": 2})
    assert written is not None
    assert written.keys() == {"estimation", "a"}
