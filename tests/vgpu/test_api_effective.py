"""The spec in force for a pod: annotations over the profile, field by field."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.documentation import documented_spec
from vgpu.annotations import (
    AUTO_REPLICAS,
    AUTO_RESOURCES,
    AUTO_SCALE_TARGET_RESOURCE,
    AUTOSCALE,
    AUTOSCALE_TARGET,
    UPDATE_MODE,
)
from vgpu.api import WorkloadSpec, annotation_problems, effective_spec, parse_spec
from vgpu.slices import Amounts, VgpuSlice

SLICE = VgpuSlice(requests=Amounts(tflops=13500, vram=1 << 30), limits=Amounts(tflops=27000, vram=2 << 30))


def in_force(annotations: dict[str, str], profile: dict[str, Any] | None = None) -> WorkloadSpec:
    return parse_spec(effective_spec(annotations, profile, VgpuSlice()))


def vertical(annotations: dict[str, str], profile: dict[str, Any] | None = None) -> tuple[bool, str]:
    resources = in_force(annotations, profile).auto_scaling_config.auto_set_resources
    return resources.enable, resources.target_resource


def profile_of(**resources: Any) -> dict[str, Any]:
    return {"autoScalingConfig": {"autoSetResources": resources}}


def test_a_pod_with_nothing_but_a_slice_has_a_spec_with_nothing_but_the_slice() -> None:
    assert effective_spec({}, None, SLICE) == {
        "resources": {
            "requests": {"tflops": "13500m", "vram": "1Gi"},
            "limits": {"tflops": "27", "vram": "2Gi"},
        }
    }


def test_the_documented_annotations_switch_both_scalers_on() -> None:
    annotations = {AUTO_RESOURCES: "true", AUTO_SCALE_TARGET_RESOURCE: "all", AUTO_REPLICAS: "true"}
    assert effective_spec(annotations, None, VgpuSlice()) == {
        "autoScalingConfig": {
            "autoSetResources": {"enable": True, "targetResource": "all"},
            "autoSetReplicas": {"enable": True},
        }
    }


def test_a_profile_is_taken_over_as_it_is() -> None:
    profile = {**documented_spec(), "unknown": {"a": [1, 2]}}
    assert effective_spec({}, profile, VgpuSlice()) == profile


def test_a_profile_is_not_changed_by_what_a_pod_says() -> None:
    profile = documented_spec()
    effective_spec({AUTO_RESOURCES: "false"}, profile, SLICE)
    assert profile == documented_spec()


def test_the_pod_says_no_to_a_profile_that_says_yes() -> None:
    assert vertical({AUTO_RESOURCES: "false"}, profile_of(enable=True, targetResource="all")) == (
        False,
        "all",
    )


def test_each_field_is_overridden_by_itself() -> None:
    annotations = {AUTO_SCALE_TARGET_RESOURCE: "vram"}
    profile = profile_of(enable=True, targetResource="all", minSamples=5)
    spec = effective_spec(annotations, profile, VgpuSlice())
    assert spec == profile_of(enable=True, targetResource="vram", minSamples=5)


def test_an_empty_target_on_the_pod_makes_it_recommend_only() -> None:
    target = {AUTO_SCALE_TARGET_RESOURCE: ""}
    assert vertical(target, profile_of(enable=True, targetResource="all")) == (True, "")


def test_a_field_of_the_profile_is_overridden_in_whatever_spelling_it_has() -> None:
    profile = {"AutoscalingConfig": {"AUTOSETRESOURCES": {"ENABLE": True, "TargetResource": "all"}}}
    assert effective_spec({AUTO_RESOURCES: "false"}, profile, VgpuSlice()) == {
        "AutoscalingConfig": {"AUTOSETRESOURCES": {"enable": False, "TargetResource": "all"}}
    }


def test_documented_switches_without_a_target_only_recommend() -> None:
    assert vertical({AUTO_RESOURCES: "true"}) == (True, "")


def test_the_newer_switch_without_a_target_means_all() -> None:
    assert vertical({AUTOSCALE: "true"}) == (True, "all")


def test_the_newer_switch_leaves_the_target_of_the_profile() -> None:
    assert vertical({AUTOSCALE: "true"}, profile_of(targetResource="vram")) == (True, "vram")


def test_the_newer_target_is_read() -> None:
    assert vertical({AUTOSCALE: "true", AUTOSCALE_TARGET: "vram"}) == (True, "vram")


def test_the_documented_annotations_win_over_the_newer_ones() -> None:
    assert vertical({AUTOSCALE: "true", AUTO_RESOURCES: "false"}) == (False, "")
    both = {AUTOSCALE: "true", AUTOSCALE_TARGET: "vram", AUTO_SCALE_TARGET_RESOURCE: "tflops"}
    assert vertical(both) == (True, "tflops")


@pytest.mark.parametrize("text", ["True", " TRUE ", "true"])
def test_a_switch_is_read_whatever_its_case(text: str) -> None:
    assert vertical({AUTO_RESOURCES: text})[0]


@pytest.mark.parametrize("key", [AUTO_RESOURCES, AUTOSCALE, AUTO_REPLICAS])
def test_a_malformed_switch_is_told_and_says_nothing(key: str) -> None:
    assert effective_spec({key: "on"}, None, VgpuSlice()) == {}
    assert annotation_problems({key: "on"}) == (f'annotation {key}: \'on\' is neither "true" nor "false"',)


@pytest.mark.parametrize("key", [AUTO_SCALE_TARGET_RESOURCE, AUTOSCALE_TARGET])
def test_an_unknown_target_is_told_and_leaves_that_of_the_profile(key: str) -> None:
    given_ = {AUTO_RESOURCES: "true", key: "vrma"}
    assert vertical(given_, profile_of(targetResource="vram")) == (True, "vram")
    assert annotation_problems(given_) == (
        f"annotation {key}: 'vrma' is none of all, tflops, compute, vram and empty",
    )


def test_an_unknown_target_is_never_taken_for_all() -> None:
    assert vertical({AUTOSCALE: "true", AUTOSCALE_TARGET: "vrma"}) == (True, "")


@pytest.mark.parametrize("text", ["all", "tflops", "Compute", " VRAM ", ""])
def test_every_target_is_taken_over_that_of_the_profile(text: str) -> None:
    given_ = {AUTO_SCALE_TARGET_RESOURCE: text}
    assert vertical(given_, profile_of(targetResource="vram"))[1] == text
    assert annotation_problems(given_) == ()


@pytest.mark.parametrize(
    ("text", "mode"), [("Recreate", "Recreate"), (" recreate ", "Recreate"), ("INITIAL", "Initial")]
)
def test_an_update_mode_is_taken_over_that_of_the_profile_whatever_its_case(text: str, mode: str) -> None:
    for other in ("Initial", "Recreate"):
        config = in_force({UPDATE_MODE: text}, profile_of(updateMode=other)).auto_scaling_config
        assert config.auto_set_resources.update_mode == mode
    assert annotation_problems({UPDATE_MODE: text}) == ()


def test_an_unknown_update_mode_is_told_and_is_initial() -> None:
    config = in_force({UPDATE_MODE: "Auto"}, profile_of(updateMode="Recreate")).auto_scaling_config
    assert config.auto_set_resources.update_mode == "Initial"
    assert annotation_problems({UPDATE_MODE: "Auto"}) == (
        f"annotation {UPDATE_MODE}: 'Auto' is none of Initial and Recreate; Initial is in force",
    )


def test_good_annotations_have_no_problems() -> None:
    assert annotation_problems({AUTO_RESOURCES: "false", AUTO_REPLICAS: "True"}) == ()
    assert annotation_problems({}) == ()


def test_the_slice_of_the_pod_wins_over_that_of_the_profile_field_by_field() -> None:
    profile = {"Resources": {"requests": {"TFLOPS": "5", "vram": "4Gi"}, "other": 1}}
    only_tflops = VgpuSlice(requests=Amounts(tflops=8000))
    assert effective_spec({}, profile, only_tflops) == {
        "Resources": {"requests": {"tflops": "8", "vram": "4Gi"}, "other": 1}
    }


def test_a_profile_with_something_else_in_place_of_an_object_gives_way() -> None:
    spec = effective_spec({AUTO_RESOURCES: "true"}, {"autoScalingConfig": "x", "resources": []}, SLICE)
    assert parse_spec(spec).resources == SLICE
    assert parse_spec(spec).auto_scaling_config.auto_set_resources.enable


annotations = st.dictionaries(
    st.sampled_from([AUTO_RESOURCES, AUTO_REPLICAS, AUTOSCALE, AUTOSCALE_TARGET, AUTO_SCALE_TARGET_RESOURCE]),
    st.sampled_from(["true", "false", "all", "vram", "", "x"]),
)


@given(annotations)
def test_what_is_in_force_stays_when_it_is_laid_over_itself(given_: dict[str, str]) -> None:
    once = effective_spec(given_, documented_spec(), SLICE)
    assert effective_spec(given_, once, SLICE) == once
