import gc
import math
import weakref
from typing import Any

from recommender.decisions.configurations import Configurations, SpecCache, rule_in_status, rule_to_json
from recommender.keys import WorkloadKey
from tests.support import builders
from vgpu.kube.objects import CustomObject

MIDNIGHT = 1_767_225_600.0  # 2026-01-01T00:00:00Z, a Thursday
HOUR = 3600.0
NIGHT = builders.cron_rule("night", start="0 22 * * *", end="0 6 * * *")


def workload(
    config: dict[str, Any], *, generation: int = 1, status: dict[str, Any] | None = None
) -> CustomObject:
    built = builders.workload(auto_scaling_config=config, status=status)
    built["metadata"]["generation"] = generation
    return builders.struct(built, CustomObject)


def test_a_rule_is_active_in_its_window_only() -> None:
    subject, live = Configurations(), workload({"cronScalingRules": [NIGHT]})
    during, after = subject.read(live, MIDNIGHT + HOUR), subject.read(live, MIDNIGHT + 6 * HOUR)
    assert during.rule is not None
    assert during.rule.name == "night"
    assert after.rule is None


def test_between_transitions_nothing_is_evaluated_again() -> None:
    subject, live = Configurations(), workload({"cronScalingRules": [NIGHT]})
    assert subject.read(live, MIDNIGHT) is subject.read(live, MIDNIGHT + 6 * HOUR - 1)


def test_a_workload_is_due_at_its_next_transition() -> None:
    subject, live = Configurations(), workload({"cronScalingRules": [NIGHT]})
    subject.read(live, MIDNIGHT)
    assert subject.next_transition() == MIDNIGHT + 6 * HOUR
    assert subject.due(MIDNIGHT + 6 * HOUR - 0.001) == []
    assert subject.due(MIDNIGHT + 6 * HOUR) == [("default", "web")]


def test_a_workload_is_told_of_once_however_often_it_is_due() -> None:
    subject, live = Configurations(), workload({"cronScalingRules": [NIGHT]})
    subject.read(live, MIDNIGHT)
    for transition in (MIDNIGHT + 6 * HOUR, MIDNIGHT + 22 * HOUR):
        assert subject.due(transition) == [("default", "web")]
        assert subject.due(transition) == []
        assert subject.next_transition() == math.inf
        subject.read(live, transition)


def test_without_rules_nothing_is_ever_due() -> None:
    subject = Configurations()
    subject.read(workload({}), MIDNIGHT)
    assert subject.next_transition() == math.inf


def test_a_new_generation_is_read_anew() -> None:
    subject = Configurations()
    subject.read(workload({"autoSetResources": {"minSamples": 3}}), MIDNIGHT)
    changed = subject.read(workload({"autoSetResources": {"minSamples": 4}}, generation=2), MIDNIGHT)
    assert changed.spec is not None
    assert changed.spec.auto_scaling_config.auto_set_resources.min_samples == 4


def test_a_broken_spec_keeps_the_last_valid_configuration_and_says_where() -> None:
    subject = Configurations()
    valid = subject.read(workload({"cronScalingRules": [NIGHT]}), MIDNIGHT)
    broken = subject.read(workload({"autoSetResources": {"minSamples": "x"}}, generation=2), MIDNIGHT)
    assert (broken.spec, broken.rule) == (valid.spec, valid.rule)
    [problem] = broken.problems
    assert problem.startswith("spec.autoScalingConfig.autoSetResources.minSamples: ")


def test_the_rules_of_the_last_valid_configuration_begin_and_end_in_time() -> None:
    subject = Configurations()
    subject.read(workload({"cronScalingRules": [NIGHT]}), MIDNIGHT)
    live = workload({"autoSetResources": {"minSamples": "x"}}, generation=2)
    during = subject.read(live, MIDNIGHT + HOUR)
    assert during.rule is not None
    assert subject.next_transition() == MIDNIGHT + 6 * HOUR
    after = subject.read(live, MIDNIGHT + 6 * HOUR)
    again = subject.read(live, MIDNIGHT + 22 * HOUR)
    assert (after.rule, again.rule) == (None, during.rule)
    assert during.problems == after.problems == again.problems != ()


def test_a_spec_that_never_was_valid_gives_none() -> None:
    assert Configurations().read(workload({"autoSetResources": {"minSamples": "x"}}), MIDNIGHT).spec is None


def test_rules_active_at_once_keep_the_rule_in_force_until_the_overlap_is_over() -> None:
    late = builders.cron_rule("late", start="0 1 * * *", end="0 3 * * *")
    subject, live = Configurations(), workload({"cronScalingRules": [NIGHT, late]})
    subject.read(live, MIDNIGHT)
    overlap = subject.read(live, MIDNIGHT + 2 * HOUR)
    assert overlap.rule is not None
    assert overlap.rule.name == "night"
    [problem] = overlap.problems
    assert '"night" and "late"' in problem
    assert subject.read(live, MIDNIGHT + 4 * HOUR).problems == ()


def test_after_a_restart_the_rule_in_force_is_taken_from_the_status() -> None:
    overlapping = [builders.cron_rule(name, start="0 0 * * *", end="0 23 * * *") for name in "ab"]
    live = workload({"cronScalingRules": overlapping}, status={"activeCronScalingRule": overlapping[1]})
    configuration = Configurations().read(live, MIDNIGHT + HOUR)
    assert configuration.rule is not None
    assert configuration.rule.name == "b"


def test_a_rule_survives_the_way_through_the_status() -> None:
    written = {**NIGHT, "desiredReplicas": 3}
    rule = rule_in_status({"activeCronScalingRule": written})
    assert rule is not None
    assert rule_to_json(rule) == written


def test_a_rule_in_a_status_that_makes_no_sense_is_none() -> None:
    assert rule_in_status({"activeCronScalingRule": "night"}) is None
    assert (
        rule_in_status({"activeCronScalingRule": {"name": "x", "start": "nonsense", "end": "0 0 * * *"}})
        is None
    )
    assert rule_in_status({}) is None


def test_a_forgotten_workload_is_due_no_more() -> None:
    subject, live = Configurations(), workload({"cronScalingRules": [NIGHT]})
    subject.read(live, MIDNIGHT)
    subject.forget(WorkloadKey("default", "web"))
    assert subject.due(math.inf) == []


# Memory


def test_specs_of_the_same_content_are_one_object() -> None:
    cache = SpecCache()
    one = {"resources": builders.slice_json(), "autoScalingConfig": {"cronScalingRules": [NIGHT]}}
    other = dict(reversed(one.items()))
    assert cache.parse(one) is cache.parse(other)


def test_specs_that_differ_elsewhere_share_how_they_are_scaled() -> None:
    cache = SpecCache()
    config = {"autoSetResources": {"minSamples": 3}}
    one = cache.parse({"replicas": 1, "autoScalingConfig": config})
    other = cache.parse({"replicas": 2, "AutoScalingConfig": config})
    third = cache.parse({"replicas": 3, "autoScalingConfig": config})
    assert (one.replicas, other.replicas, third.replicas) == (1, 2, 3)
    assert one.auto_scaling_config is third.auto_scaling_config
    assert one.auto_scaling_config == other.auto_scaling_config


def test_specs_that_say_something_else_are_not_mixed_up() -> None:
    cache = SpecCache()
    parsed = [
        cache.parse({"autoScalingConfig": {"autoSetResources": {"minSamples": count}}}) for count in (3, 4)
    ]
    assert [spec.auto_scaling_config.auto_set_resources.min_samples for spec in parsed] == [3, 4]


def test_a_spec_that_nobody_keeps_is_not_kept_by_the_cache() -> None:
    cache = SpecCache()
    kept = weakref.ref(cache.parse({"replicas": 1}))
    gc.collect()
    assert kept() is None


def test_workloads_that_are_configured_alike_share_their_configuration() -> None:
    subject = Configurations()
    specs = [subject.read(builders.workload_struct(name), MIDNIGHT).spec for name in ("web", "other")]
    assert specs[0] is specs[1]
