import json

import pytest

from tests.support.admission import (
    ALL,
    FRIDAY_NOON,
    GOLD,
    NOON,
    RECOMMENDED,
    RECOMMENDED_ANNOTATIONS,
    THURSDAY,
    THURSDAY_ANNOTATIONS,
    FixedLookups,
    annotations_after,
    created,
    decided,
    knowing,
    slice_of,
    web,
    with_profile,
)
from tests.support.builders import (
    Json,
    pod,
    profile,
    slice_annotations,
    slice_json,
    workload,
)
from vgpu import annotations as keys
from vgpu.capacity import Card


def test_the_recommendation_is_written_over_request_and_limit() -> None:
    subject = web()
    outcome = decided(subject, knowing())
    annotations = annotations_after(subject, outcome)
    assert outcome.label == "recommendation"
    assert slice_of(annotations) == RECOMMENDED_ANNOTATIONS
    assert len(annotations[keys.APPLIED_RECOMMENDATION]) == 17


def test_what_was_applied_is_in_the_audit_log() -> None:
    subject = web()
    outcome = decided(subject, knowing({**ALL, "cronScalingRules": [THURSDAY]}))
    assert outcome.audit_annotations == {
        "workload": "web",
        "recommended": "tflops,vram",
        "rule": "thursday",
        "applied": annotations_after(subject, outcome)[keys.APPLIED_RECOMMENDATION],
    }


def test_a_controllers_pod_gets_no_warning_about_its_new_slice() -> None:
    assert decided(web(), knowing()).warnings == ()


def test_who_creates_a_pod_by_hand_is_told_its_new_slice() -> None:
    lookups = FixedLookups(workloads=[workload("solo", auto_scaling_config=ALL, recommendation=RECOMMENDED)])
    (warning,) = decided(created(pod("solo")), lookups).warnings
    assert warning == "vGPU slice requests are now tflops 13, vram 4Gi, by the recommendation"


@pytest.mark.parametrize(
    ("target", "changed"),
    [
        ("tflops", {keys.TFLOPS_REQUEST, keys.TFLOPS_LIMIT}),
        ("vram", {keys.VRAM_REQUEST, keys.VRAM_LIMIT}),
    ],
)
def test_the_resource_that_is_no_target_keeps_the_pods_own_values(target: str, changed: set[str]) -> None:
    subject = web()
    config = {"autoSetResources": {"enable": True, "targetResource": target}}
    annotations = annotations_after(subject, decided(subject, knowing(config)))
    for key, own in slice_annotations().items():
        assert annotations[key] == (RECOMMENDED_ANNOTATIONS[key] if key in changed else own)


@pytest.mark.parametrize(
    "config",
    [
        None,
        {"autoSetResources": {"enable": False, "targetResource": "all"}},
        {"autoSetResources": {"enable": True}},
        {"autoSetResources": {"enable": True, "targetResource": ""}},
    ],
)
def test_what_is_only_recommended_is_not_applied(config: Json | None) -> None:
    subject = web()
    outcome = decided(subject, knowing(config))
    assert outcome.label == "recorded"
    assert slice_of(annotations_after(subject, outcome)) == slice_annotations()


def test_with_auto_replicas_tflops_are_left_alone() -> None:
    subject = web()
    annotations = annotations_after(
        subject, decided(subject, knowing({**ALL, "autoSetReplicas": {"enable": True}}))
    )
    assert annotations[keys.TFLOPS_REQUEST] == "10"
    assert annotations[keys.VRAM_REQUEST] == "4Gi"


def test_a_withdrawn_recommendation_is_not_applied() -> None:
    withdrawn = [{"type": "RecommendationWithdrawn", "status": "True", "reason": "CrashLoop"}]
    subject = web()
    outcome = decided(subject, knowing(status={"conditions": withdrawn}))
    assert outcome.label == "recorded"
    assert slice_of(annotations_after(subject, outcome)) == slice_annotations()


def test_a_recommendation_that_makes_no_sense_is_warned_of_and_not_applied() -> None:
    subject = web()
    outcome = decided(subject, knowing(recommendation={"requests": {"tflops": "lots"}}))
    assert slice_of(annotations_after(subject, outcome)) == slice_annotations()
    assert "TensorFusionWorkload web: recommendation: requests.tflops" in outcome.warnings[0]


def test_an_active_rule_of_the_profile_applies_without_a_workload() -> None:
    subject = web(annotations=GOLD)
    lookups = FixedLookups(
        profiles=[profile("gold", spec={"autoScalingConfig": {"cronScalingRules": [THURSDAY]}})]
    )
    outcome = decided(subject, lookups)
    assert outcome.label == "rule"
    assert slice_of(annotations_after(subject, outcome)) == THURSDAY_ANNOTATIONS
    assert outcome.audit_annotations["rule"] == "thursday"


def test_outside_its_window_a_rule_is_not_applied() -> None:
    subject = web(annotations=GOLD)
    outcome = decided(subject, with_profile({"cronScalingRules": [THURSDAY]}), now=FRIDAY_NOON)
    assert slice_of(annotations_after(subject, outcome)) == slice_annotations()


def test_a_rule_begins_and_ends_on_the_minute() -> None:
    subject, lookups = web(), knowing({"cronScalingRules": [THURSDAY]})
    midnight = NOON - 12 * 3600
    labels = [decided(subject, lookups, now=midnight + offset).label for offset in (-1, 0, 86_339, 86_340)]
    assert labels == ["recorded", "rule", "rule", "recorded"]


def test_of_rule_and_recommendation_the_larger_request_counts() -> None:
    subject = web()
    lookups = knowing(
        {**ALL, "cronScalingRules": [THURSDAY]},
        recommendation=slice_json(
            tflops_request="13", tflops_limit="26", vram_request="6Gi", vram_limit="12Gi"
        ),
    )
    annotations = annotations_after(subject, decided(subject, lookups))
    assert slice_of(annotations) == slice_annotations(
        tflops_request="44", tflops_limit="99", vram_request="6Gi", vram_limit="12Gi"
    )


def test_a_rule_sets_tflops_although_replicas_scale() -> None:
    subject = web()
    config = {**ALL, "autoSetReplicas": {"enable": True}, "cronScalingRules": [THURSDAY]}
    assert annotations_after(subject, decided(subject, knowing(config)))[keys.TFLOPS_REQUEST] == "44"


def test_after_the_window_a_pod_gets_its_original_slice_though_the_status_still_has_the_rules() -> None:
    """With the recommender stopped the status keeps what the rule gave; that must not outlive the rule."""
    subject = web()
    lookups = knowing({**ALL, "cronScalingRules": [THURSDAY]}, status={"activeCronScalingRule": "thursday"})
    outcome = decided(subject, lookups, now=FRIDAY_NOON)
    assert slice_of(annotations_after(subject, outcome)) == slice_annotations()


def test_rules_that_overlap_are_warned_of_and_the_published_recommendation_stays_in_force() -> None:
    subject = web()
    lookups = knowing(
        {**ALL, "cronScalingRules": [THURSDAY, {**THURSDAY, "name": "again", "end": "0 5 * * Fri"}]}
    )
    outcome = decided(subject, lookups)
    assert slice_of(annotations_after(subject, outcome)) == RECOMMENDED_ANNOTATIONS
    assert "thursday" in outcome.warnings[0]
    assert "again" in outcome.warnings[0]


def test_while_rules_overlap_the_one_that_was_in_force_stays_so() -> None:
    subject = web()
    lookups = knowing(
        {"cronScalingRules": [THURSDAY, {**THURSDAY, "name": "again", "end": "0 5 * * Fri"}]},
        status={"activeCronScalingRule": {"name": "thursday"}},
    )
    assert slice_of(annotations_after(subject, decided(subject, lookups))) == THURSDAY_ANNOTATIONS


def test_annotations_win_over_the_profile_field_by_field() -> None:
    subject = web(annotations={**GOLD, keys.AUTO_SCALE_TARGET_RESOURCE: "vram"})
    annotations = annotations_after(subject, decided(subject, with_profile(ALL)))
    assert annotations[keys.TFLOPS_REQUEST] == "10"
    assert annotations[keys.VRAM_REQUEST] == "4Gi"


def test_a_pod_can_opt_out_of_its_profile() -> None:
    subject = web(annotations={**GOLD, keys.AUTO_RESOURCES: "false"})
    outcome = decided(subject, with_profile(ALL))
    assert outcome.label == "recorded"
    assert slice_of(annotations_after(subject, outcome)) == slice_annotations()


def test_annotations_alone_switch_application_on() -> None:
    subject = web(annotations={keys.AUTO_RESOURCES: "true", keys.AUTO_SCALE_TARGET_RESOURCE: "all"})
    annotations = annotations_after(subject, decided(subject, knowing(None)))
    assert slice_of(annotations) == RECOMMENDED_ANNOTATIONS


def test_the_newer_annotation_alone_means_all_resources() -> None:
    subject = web(annotations={keys.AUTOSCALE: "true"})
    annotations = annotations_after(subject, decided(subject, knowing(None)))
    assert slice_of(annotations) == RECOMMENDED_ANNOTATIONS


def test_annotations_win_over_the_workload_field_by_field() -> None:
    """Also a rule that somebody wrote on the workload itself counts for a pod that switches scaling on."""
    subject = web(annotations={keys.AUTO_RESOURCES: "true", keys.AUTO_SCALE_TARGET_RESOURCE: "vram"})
    lookups = knowing({"cronScalingRules": [THURSDAY]})
    assert slice_of(annotations_after(subject, decided(subject, lookups))) == THURSDAY_ANNOTATIONS
    later = annotations_after(subject, decided(subject, lookups, now=FRIDAY_NOON))
    assert slice_of(later) == slice_annotations(vram_request="4Gi", vram_limit="8Gi")


def test_a_pod_can_opt_out_of_its_workload() -> None:
    subject = web(annotations={keys.AUTO_RESOURCES: "false"})
    outcome = decided(subject, knowing(ALL))
    assert outcome.label == "recorded"
    assert slice_of(annotations_after(subject, outcome)) == slice_annotations()


def test_a_profile_on_the_pod_puts_the_workloads_own_configuration_aside() -> None:
    subject = web(annotations=GOLD)
    assert decided(subject, with_profile({}, auto_scaling_config=ALL)).label == "recorded"


def test_while_a_profile_is_not_there_its_last_state_in_the_workload_counts_with_a_warning() -> None:
    subject = web(annotations=GOLD)
    outcome = decided(subject, knowing({**ALL, "cronScalingRules": [THURSDAY]}))
    assert outcome.label == "misconfigured"
    assert slice_of(annotations_after(subject, outcome)) == THURSDAY_ANNOTATIONS
    assert "WorkloadProfile 'gold': not found in namespace default" in outcome.warnings[0]


def test_while_a_profile_is_bad_its_last_state_in_the_workload_counts_with_a_warning() -> None:
    lookups = with_profile({"autoSetResources": {"targetVramPercentile": 7}}, auto_scaling_config=ALL)
    subject = web(annotations=GOLD)
    outcome = decided(subject, lookups)
    assert outcome.label == "misconfigured"
    assert slice_of(annotations_after(subject, outcome)) == RECOMMENDED_ANNOTATIONS
    assert "WorkloadProfile 'gold': spec.autoScalingConfig.autoSetResources" in outcome.warnings[0]


def test_a_pod_that_takes_its_slice_from_a_profile_keeps_it_when_the_profile_is_gone() -> None:
    bare = {"tflops_request": None, "tflops_limit": None, "vram_request": None, "vram_limit": None}
    subject = web(annotations=GOLD, **bare)
    assert slice_of(annotations_after(subject, decided(subject, knowing({})))) == slice_annotations()


def test_an_opt_out_holds_while_the_profile_is_bad() -> None:
    lookups = with_profile({"autoSetResources": {"targetVramPercentile": 7}}, auto_scaling_config=ALL)
    subject = web(annotations={**GOLD, keys.AUTO_RESOURCES: "false"})
    assert slice_of(annotations_after(subject, decided(subject, lookups))) == slice_annotations()


def test_annotations_that_mend_a_bad_profile_make_it_usable() -> None:
    subject = web(annotations={**GOLD, keys.AUTO_RESOURCES: "true"})
    lookups = with_profile({"autoSetResources": {"enable": "perhaps", "targetResource": "vram"}})
    annotations = annotations_after(subject, decided(subject, lookups))
    assert slice_of(annotations) == slice_annotations(vram_request="4Gi", vram_limit="8Gi")


@pytest.mark.parametrize(
    ("lookups", "source"),
    [
        (FixedLookups(), "WorkloadProfile 'gold': not found"),
        (knowing({"autoSetResources": {"enable": "perhaps"}}), "TensorFusionWorkload 'web': spec"),
    ],
)
def test_where_nothing_usable_is_configured_a_pod_keeps_its_slice_and_is_recorded_with_a_warning(
    lookups: FixedLookups, source: str
) -> None:
    subject = web(annotations=GOLD)
    outcome = decided(subject, lookups)
    annotations = annotations_after(subject, outcome)
    assert outcome.label == "misconfigured"
    assert slice_of(annotations) == slice_annotations()
    assert annotations[keys.WORKLOAD] == "web"
    assert json.loads(annotations[keys.ORIGINAL_RESOURCES]) == slice_json()
    assert any(source in warning for warning in outcome.warnings)


def test_a_rule_gives_no_more_than_the_largest_card_has() -> None:
    subject = web()
    lookups = FixedLookups(
        workloads=[workload("web", auto_scaling_config={"cronScalingRules": [THURSDAY]})],
        cards=[Card("NVIDIA-RTX-4000-SFF-Ada", 71_000, 20 << 30)],
    )
    annotations = annotations_after(subject, decided(subject, lookups))
    assert annotations[keys.TFLOPS_REQUEST] == "44"
    assert annotations[keys.TFLOPS_LIMIT] == "71"


def test_the_card_is_one_of_the_model_that_the_workload_is_meant_for() -> None:
    subject = web()
    lookups = FixedLookups(
        workloads=[
            workload("web", auto_scaling_config={"cronScalingRules": [THURSDAY]}, spec={"gpuModel": "T4"})
        ],
        cards=[Card("NVIDIA-A100", 312_000, 80 << 30), Card("Tesla-T4", 65_000, 16 << 30)],
    )
    assert annotations_after(subject, decided(subject, lookups))[keys.TFLOPS_LIMIT] == "65"


def test_a_switch_that_is_neither_true_nor_false_is_warned_of_and_left_out() -> None:
    subject = web(annotations={**GOLD, keys.AUTO_RESOURCES: "maybe"})
    outcome = decided(subject, with_profile(ALL))
    assert slice_of(annotations_after(subject, outcome)) == RECOMMENDED_ANNOTATIONS
    assert f"annotation {keys.AUTO_RESOURCES}: 'maybe'" in outcome.warnings[0]


def test_a_pod_takes_from_its_profile_what_it_does_not_ask_for_itself() -> None:
    subject = web(annotations=GOLD, vram_request=None, vram_limit=None)
    resources = slice_json(tflops_request="1", tflops_limit="2", vram_request="3Gi", vram_limit="4Gi")
    annotations = annotations_after(subject, decided(subject, with_profile({}, resources=resources)))
    assert slice_of(annotations) == slice_annotations(vram_request="3Gi", vram_limit="4Gi")
    assert json.loads(annotations[keys.ORIGINAL_RESOURCES]) == slice_json(
        vram_request="3Gi", vram_limit="4Gi"
    )


def test_what_a_profile_adds_never_contradicts_the_pod() -> None:
    subject = web(
        annotations=GOLD, tflops_request="50", tflops_limit=None, vram_request=None, vram_limit="1Gi"
    )
    resources = slice_json(tflops_request="1", tflops_limit="2", vram_request="3Gi", vram_limit="4Gi")
    annotations = annotations_after(subject, decided(subject, with_profile({}, resources=resources)))
    assert slice_of(annotations) == slice_annotations(
        tflops_request="50", tflops_limit="50", vram_request="1Gi", vram_limit="1Gi"
    )
