from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.admission import ALL, FRIDAY_NOON, NOON, THURSDAY
from tests.support.builders import slice_json
from vgpu import annotations as keys
from vgpu import schedule
from vgpu.schedule import Rule, ScheduleError
from vgpu.slices import Resource
from webhook import configuration
from webhook.configuration import Configuration, Configurations, KnownSpec, overriding

PROFILE = {"autoScalingConfig": {**ALL, "cronScalingRules": [THURSDAY]}, "resources": slice_json()}


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Any]:
    """Record the calls of a function that the module uses."""
    calls: list[Any] = []
    real = getattr(configuration, name)

    def recording(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        return real(*arguments, **options)

    monkeypatch.setattr(configuration, name, recording)
    return calls


def test_nothing_configured_applies_nothing() -> None:
    nothing = Configurations().of({}, None)
    assert (nothing.targets, nothing.rules, nothing.problem) == (frozenset(), (), None)
    assert nothing.active_rule(NOON) is None


def test_a_spec_is_parsed_to_targets_rules_and_slice() -> None:
    parsed = Configuration.parse(PROFILE)
    assert parsed.targets == frozenset(Resource)
    assert [rule.name for rule in parsed.rules] == ["thursday"]
    assert parsed.resources.to_json() == slice_json()


def test_a_bad_spec_is_kept_with_its_problem() -> None:
    parsed = Configuration.parse({"autoScalingConfig": {"autoSetResources": {"minSamples": -1}}})
    assert parsed.problem is not None
    assert "minSamples" in parsed.problem


def test_a_profile_is_not_parsed_again_for_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    profile, configurations = KnownSpec.of(PROFILE), Configurations()
    parses = counted(monkeypatch, "parse_spec")
    assert configurations.of({"team": "search"}, profile) is profile.configuration
    assert parses == []


def test_annotations_over_a_profile_are_parsed_once_for_a_template(monkeypatch: pytest.MonkeyPatch) -> None:
    profile, configurations = KnownSpec.of(PROFILE), Configurations()
    parses = counted(monkeypatch, "parse_spec")
    annotations = {keys.AUTO_SCALE_TARGET_RESOURCE: "vram"}
    found = [configurations.of({**annotations, "pod": str(number)}, profile) for number in range(5)]
    assert {id(each) for each in found} == {id(found[0])}
    assert found[0].targets == {Resource.VRAM}
    assert len(parses) == 1


def test_a_changed_profile_is_parsed_anew_with_the_same_annotations() -> None:
    configurations, annotations = Configurations(), {keys.AUTO_RESOURCES: "true"}
    assert configurations.of(annotations, KnownSpec.of(PROFILE)).targets == frozenset(Resource)
    only_vram = {"autoScalingConfig": {"autoSetResources": {"enable": False, "targetResource": "vram"}}}
    assert configurations.of(annotations, KnownSpec.of(only_vram)).targets == {Resource.VRAM}


def test_a_switch_that_cannot_be_read_is_a_warning() -> None:
    found = Configurations().of({keys.AUTO_REPLICAS: "maybe"}, None)
    assert found.problem is None
    assert keys.AUTO_REPLICAS in found.warnings[0]


def test_only_annotations_that_configure_scaling_override() -> None:
    annotations = {keys.AUTOSCALE: "true", keys.WORKLOAD_PROFILE: "gold", "team": "search"}
    assert overriding(annotations) == ((keys.AUTOSCALE, "true"),)


def test_rules_are_evaluated_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = Configuration.parse(PROFILE)
    evaluations = counted(monkeypatch, "active_rule")
    found = [parsed.active_rule(NOON + second) for second in (0, 0.5, 59.9)]
    assert [rule and rule.name for rule in found] == ["thursday"] * 3
    assert len(evaluations) == 1
    parsed.active_rule(NOON + 60)
    assert len(evaluations) == 2


def test_a_clock_that_is_set_back_gets_the_rule_of_that_time() -> None:
    parsed = Configuration.parse(PROFILE)
    assert parsed.active_rule(FRIDAY_NOON) is None
    assert parsed.active_rule(NOON) is not None


def test_what_is_wrong_with_the_rules_is_said_each_time() -> None:
    again = {**THURSDAY, "name": "again", "end": "0 5 * * Fri"}
    parsed = Configuration.parse({"autoScalingConfig": {"cronScalingRules": [THURSDAY, again]}})
    for _ in range(2):
        with pytest.raises(ScheduleError, match="active at once"):
            parsed.active_rule(NOON)


@given(st.floats(0, 3600))
def test_the_rule_of_a_minute_is_the_rule_of_each_of_its_instants(second: float) -> None:
    """What lets the evaluation be kept for a minute: no cron expression changes its mind within one."""
    rule = Rule(name="x", start="*/7 * * * *", end="3-59/7 * * * *", time_zone="Asia/Kolkata")
    now = NOON + second
    assert schedule.is_active(rule, now) == schedule.is_active(rule, now // 60 * 60)
