from typing import Any

import pytest

from tests.support.builders import slice_json
from vgpu.schedule import Rule
from vgpu.slices import Amounts, VgpuSlice
from webhook.published import Published, read_status

RECOMMENDATION = slice_json(tflops_request="13", tflops_limit="13", vram_request="1Gi", vram_limit="1Gi")
THIRTEEN = VgpuSlice(requests=Amounts(13_000, 1 << 30), limits=Amounts(13_000, 1 << 30))


def rule(name: str) -> Rule:
    return Rule(name=name, start="0 0 * * Thu", end="59 23 * * Thu")


def withdrawn(status: str) -> list[dict[str, str]]:
    return [{"type": "Ready", "status": "True"}, {"type": "RecommendationWithdrawn", "status": status}]


def test_the_documented_status_is_read() -> None:
    published = read_status({"recommendation": RECOMMENDATION, "activeCronScalingRule": "test"})
    assert published == Published(recommendation=THIRTEEN, rule="test")


def test_a_rule_that_is_written_as_an_object_is_known_by_its_name() -> None:
    assert read_status({"activeCronScalingRule": {"name": "test", "enable": True}}).rule == "test"


@pytest.mark.parametrize("status", [{}, {"recommendation": {}}, {"recommendation": None}])
def test_a_status_without_a_recommendation_has_none(status: dict[str, Any]) -> None:
    assert read_status(status) == Published()


@pytest.mark.parametrize(
    "recommendation",
    [
        "13",
        {"requests": "13"},
        {"requests": {"tflops": "much"}},
        {"requests": {"tflops": "-1"}},
        {"requests": {"tflops": "13"}, "limits": {"tflops": "12"}},
    ],
)
def test_a_recommendation_that_makes_no_sense_is_left_out_and_named(recommendation: object) -> None:
    published = read_status({"recommendation": recommendation})
    assert published.recommendation is None
    assert published.problem is not None
    assert published.problem.startswith("recommendation")


@pytest.mark.parametrize("conditions", [None, "x", {}, [None, 3, "x"], [{"status": "True"}]])
def test_odd_conditions_withdraw_nothing(conditions: object) -> None:
    assert not read_status({"conditions": conditions}).withdrawn


@pytest.mark.parametrize(("status", "expected"), [("True", None), ("False", THIRTEEN), ("Unknown", THIRTEEN)])
def test_a_withdrawn_recommendation_does_not_hold(status: str, expected: VgpuSlice | None) -> None:
    published = read_status({"recommendation": RECOMMENDATION, "conditions": withdrawn(status)})
    assert published.usable(None) == expected
    assert published.without_rules() == expected


def test_a_recommendation_without_a_rule_holds_when_one_begins() -> None:
    assert Published(recommendation=THIRTEEN).usable(rule("test")) == THIRTEEN


def test_a_recommendation_made_under_a_rule_holds_while_that_rule_is_active() -> None:
    assert Published(recommendation=THIRTEEN, rule="test").usable(rule("test")) == THIRTEEN


@pytest.mark.parametrize("active", [None, rule("other")])
def test_a_recommendation_made_under_a_rule_ends_with_it(active: Rule | None) -> None:
    assert Published(recommendation=THIRTEEN, rule="test").usable(active) is None


def test_what_was_published_last_stays_in_force_when_no_rule_can_be_evaluated() -> None:
    assert Published(recommendation=THIRTEEN, rule="test").without_rules() == THIRTEEN
