"""Specs: the documented block, defaults, spellings, and every problem at once."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.documentation import documented_spec
from vgpu.api import (
    AutoScalingConfig,
    AutoSetReplicas,
    AutoSetResources,
    ConfigurationError,
    ExternalScaler,
    Problem,
    WorkloadSpec,
    parse_spec,
)
from vgpu.api.autoscaling import SecretReference
from vgpu.schedule import Rule
from vgpu.slices import Amounts, Resource, VgpuSlice

GIB = 1 << 30
RULE = {"enable": True, "name": "test", "start": "0 0 * * Thu", "end": "59 23 * * Thu"}


def resources(**fields: Any) -> AutoSetResources:
    return config(autoSetResources=fields).auto_set_resources


def replicas(**fields: Any) -> AutoSetReplicas:
    return config(autoSetReplicas=fields).auto_set_replicas


def config(**fields: Any) -> AutoScalingConfig:
    return parse_spec({"autoScalingConfig": fields}).auto_scaling_config


def problems(**fields: Any) -> list[str]:
    """The paths of what is wrong with an `autoScalingConfig`, below it."""
    return [
        problem.path.removeprefix("spec.autoScalingConfig.") for problem in found(autoScalingConfig=fields)
    ]


def found(**fields: Any) -> tuple[Problem, ...]:
    with pytest.raises(ConfigurationError) as caught:
        parse_spec(fields)
    return caught.value.problems


def test_the_documented_block_is_read_as_it_says() -> None:
    assert parse_spec(documented_spec()) == WorkloadSpec(
        auto_scaling_config=AutoScalingConfig(
            auto_set_resources=AutoSetResources(
                enable=True,
                target_resource="all",
                target_tflops_percentile=0.9,
                lower_bound_tflops_percentile=0.5,
                upper_bound_tflops_percentile=0.95,
                target_vram_percentile=0.9,
                lower_bound_vram_percentile=0.5,
                upper_bound_vram_percentile=0.95,
                request_margin_fraction=0.15,
                confidence_interval=86400.0,
            ),
            auto_set_replicas=AutoSetReplicas(enable=False),
            rules=(
                Rule(
                    name="test",
                    start="0 0 * * Thu",
                    end="59 23 * * Thu",
                    time_zone="",
                    desired=VgpuSlice(
                        requests=Amounts(tflops=44_000, vram=5 * GIB),
                        limits=Amounts(tflops=99_000, vram=10 * GIB),
                    ),
                    desired_replicas=None,
                ),
            ),
        )
    )


def test_what_is_not_said_has_the_documented_defaults() -> None:
    defaults = parse_spec({}).auto_scaling_config.auto_set_resources
    assert not defaults.enable
    assert defaults.targets == frozenset()
    assert defaults.percentiles(Resource.TFLOPS) == (0.9, 0.5, 0.95)
    assert defaults.percentiles(Resource.VRAM) == (0.9, 0.5, 0.95)
    assert defaults.request_margin_fraction == 0.15
    assert defaults.confidence_interval == defaults.history_length == 86400
    assert (defaults.initial_delay_period, defaults.history_resolution, defaults.interval) == (0, 60, None)
    assert (defaults.min_samples, defaults.update_threshold) == (30, 0)
    assert defaults.min_allowed == Amounts(tflops=1000, vram=GIB)
    assert defaults.max_allowed == Amounts()


def test_replicas_are_not_scaled_and_bounded_by_default() -> None:
    defaults = parse_spec({}).auto_scaling_config.auto_set_replicas
    assert (defaults.enable, defaults.min_replicas, defaults.max_replicas) == (False, 1, 10)
    assert defaults.target_tflops_of_limits is None


def test_every_field_of_the_spec_is_read() -> None:
    spec = parse_spec(
        {
            "resources": {
                "requests": {"tflops": "10", "vram": "8Gi"},
                "limits": {"tflops": 20, "vram": "16Gi"},
            },
            "gpuCount": 2,
            "gpuModel": "A100",
            "poolName": "shared",
            "qos": "high",
            "replicas": 3,
        }
    )
    assert spec.resources == VgpuSlice(
        requests=Amounts(tflops=10_000, vram=8 * GIB), limits=Amounts(tflops=20_000, vram=16 * GIB)
    )
    assert (spec.gpu_count, spec.gpu_model, spec.pool_name, spec.qos, spec.replicas) == (
        2, "A100", "shared", "high", 3,
    )  # fmt: skip


def test_every_field_of_the_replicas_is_read() -> None:
    read = replicas(
        enable=True,
        targetTFlopsOfLimits="0.8",
        evaluationPeriod="1m",
        scaleUpStep="2",
        scaleDownStep=1,
        scaleUpCoolDownTime="30s",
        scaleDownCoolDownTime="5m",
        minReplicas=2,
        maxReplicas=20,
    )
    assert read == AutoSetReplicas(
        enable=True,
        target_tflops_of_limits=0.8,
        evaluation_period=60,
        scale_up_step=2,
        scale_down_step=1,
        scale_up_cool_down_time=30,
        scale_down_cool_down_time=300,
        min_replicas=2,
        max_replicas=20,
    )


def test_keys_are_matched_whatever_their_case() -> None:
    spec = {"AUTOSCALINGCONFIG": {"autosetresources": {"Enable": True, "TARGETRESOURCE": "ALL"}}}
    read = parse_spec(spec).auto_scaling_config.auto_set_resources
    assert (read.enable, read.targets) == (True, frozenset(Resource))


@pytest.mark.parametrize(
    ("newer", "documented"),
    [
        ("targetComputePercentile", "targetTflopsPercentile"),
        ("lowerBoundComputePercentile", "lowerBoundTflopsPercentile"),
        ("upperBoundComputePercentile", "upperBoundTflopsPercentile"),
        ("marginFraction", "requestMarginFraction"),
        ("MARGINFRACTION", "requestMarginFraction"),
    ],
)
def test_the_newer_names_are_synonyms(newer: str, documented: str) -> None:
    assert resources(**{newer: "0.6"}) == resources(**{documented: 0.6})


def test_the_history_may_be_called_a_data_period() -> None:
    assert resources(historyDataPeriod="2h").history_length == 7200


def test_of_two_spellings_the_documented_one_wins() -> None:
    assert resources(requestMarginFraction=0.1, marginFraction=0.2).request_margin_fraction == 0.1
    assert resources(marginFraction=0.2, requestMarginFraction=0.1).request_margin_fraction == 0.1
    assert resources(RequestMarginFraction=0.3, requestMarginFraction=0.1).request_margin_fraction == 0.1


@pytest.mark.parametrize("value", [0.25, "0.25", ".25", "2.5e-1"])
def test_a_fraction_is_a_number_or_a_text(value: float | str) -> None:
    assert resources(targetVramPercentile=value).target_vram_percentile == 0.25


@pytest.mark.parametrize("value", ["90s", "1m30s", 90, 90.0])
def test_a_duration_is_a_go_duration_or_seconds(value: float | str) -> None:
    assert resources(interval=value).interval == 90


@pytest.mark.parametrize("empty", [None, ""])
def test_an_empty_field_has_its_default(empty: str | None) -> None:
    read = resources(targetTflopsPercentile=empty, confidenceInterval=empty, minAllowed=empty, enable=empty)
    assert read == AutoSetResources()


def test_unknown_keys_are_no_problem() -> None:
    spec = {"newField": 1, "autoScalingConfig": {"other": {}, "autoSetResources": {"third": []}}}
    assert parse_spec(spec) == parse_spec({})


@pytest.mark.parametrize(
    ("written", "targets"),
    [
        ("tflops", {Resource.TFLOPS}),
        ("compute", {Resource.TFLOPS}),
        ("vram", {Resource.VRAM}),
        ("VRAM", {Resource.VRAM}),
        ("all", {Resource.TFLOPS, Resource.VRAM}),
        ("", set()),
    ],
)
def test_the_target_resource_names_what_is_applied(written: str, targets: set[Resource]) -> None:
    assert resources(targetResource=written).targets == targets


def test_an_unknown_target_resource_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(ConfigurationError) as refused:
        resources(targetResource="vrma")
    assert str(refused.value) == (
        "spec.autoScalingConfig.autoSetResources.targetResource: "
        "'vrma' is none of all, tflops, compute, vram and empty"
    )


@pytest.mark.parametrize("written", ["Recreate", "recreate", " RECREATE "])
def test_an_update_mode_is_read_whatever_its_case(written: str) -> None:
    assert resources(updateMode=written).update_mode == "Recreate"


def test_an_unknown_update_mode_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(ConfigurationError) as refused:
        resources(updateMode="Auto")
    assert str(refused.value) == (
        "spec.autoScalingConfig.autoSetResources.updateMode: 'Auto' is none of Initial, Recreate"
    )


def test_a_minimum_for_one_resource_leaves_that_of_the_other() -> None:
    assert resources(minAllowed={"tflops": "2"}).min_allowed == Amounts(tflops=2000, vram=GIB)
    assert resources(maxAllowed={"VRAM": "8Gi"}).max_allowed == Amounts(vram=8 * GIB)


def test_a_gpu_count_of_zero_is_one() -> None:
    assert parse_spec({"gpuCount": 0}).gpu_count == 1


@pytest.mark.parametrize(
    "change",
    [{"enable": False}, {"enable": None}, {"name": ""}, {"name": None}, {"start": ""}, {"end": None}],
)
def test_a_rule_that_is_disabled_or_incomplete_is_skipped_with_all_that_it_holds(
    change: dict[str, Any],
) -> None:
    broken = {"desiredResources": {"requests": {"vram": "lots"}}, "timeZone": "Mars"}
    assert config(cronScalingRules=[{**RULE, **broken, **change}]).rules == ()


def test_a_rule_has_a_time_zone_and_replicas() -> None:
    (rule,) = config(cronScalingRules=[{**RULE, "timeZone": "Europe/Berlin", "desiredReplicas": 3}]).rules
    assert (rule.time_zone, rule.desired, rule.desired_replicas) == ("Europe/Berlin", VgpuSlice(), 3)


def test_an_external_scaler_has_an_address_a_secret_and_times() -> None:
    written = {
        "enable": True,
        "url": "https://scaler",
        "apiKeySecretRef": {"name": "key"},
        "initialDelayPeriod": "30m",
        "interval": "5m",
    }
    assert config(externalScaler=written).external_scaler == ExternalScaler(
        enable=True,
        url="https://scaler",
        api_key_secret_ref=SecretReference(name="key"),
        initial_delay_period=1800,
        interval=300,
    )


def test_an_external_scaler_that_is_switched_off_has_no_problems() -> None:
    assert config(externalScaler={"interval": "often"}).external_scaler == ExternalScaler()


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ({}, "externalScaler.url"),
        ({"url": "https://scaler", "apiKeySecretRef": {"key": "a"}}, "externalScaler.apiKeySecretRef.name"),
        ({"url": "https://scaler", "interval": "often"}, "externalScaler.interval"),
    ],
)
def test_what_is_wrong_with_an_external_scaler_is_named(written: dict[str, Any], path: str) -> None:
    assert problems(externalScaler={"enable": True, **written}) == [path]


@pytest.mark.parametrize(
    ("vertical", "horizontal", "both", "applied"),
    [
        ({"enable": True, "targetResource": "all"}, False, False, {Resource.TFLOPS, Resource.VRAM}),
        ({"enable": True, "targetResource": "vram"}, False, False, {Resource.VRAM}),
        ({"enable": True}, False, False, set()),
        ({"enable": False, "targetResource": "all"}, False, False, set()),
        ({"enable": True, "targetResource": "all"}, True, False, {Resource.VRAM}),
        ({"enable": True, "targetResource": "tflops"}, True, False, set()),
        ({"enable": True, "targetResource": "all"}, True, True, {Resource.TFLOPS, Resource.VRAM}),
    ],
)
def test_what_is_applied_follows_target_and_replicas(
    vertical: dict[str, Any], horizontal: bool, both: bool, applied: set[Resource]
) -> None:
    written = {
        "autoSetResources": vertical,
        "autoSetReplicas": {"enable": horizontal},
        "allowBoth": both,
    }
    assert parse_spec({"autoScalingConfig": written}).applied_resources() == applied


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("targetTflopsPercentile", 1.5, "1.5 is not between 0 and 1"),
        ("lowerBoundVramPercentile", "-0.1", "-0.1 is not between 0 and 1"),
        ("targetVramPercentile", "NaN", "'NaN' is not a number"),
        ("targetVramPercentile", True, "True is not a number"),
        ("upperBoundVramPercentile", {}, "{} is not a number"),
        ("requestMarginFraction", -0.1, "-0.1 is negative"),
        ("updateThreshold", "inf", "'inf' is not a number"),
        ("confidenceInterval", "24", "'24' is not a duration"),
        ("confidenceInterval", "-1h", "'-1h' is negative"),
        ("interval", -5, "-5 is negative"),
        ("minSamples", 0, "greater than or equal to 1 (found 0)"),
        ("minComputeResourcesRatio", 0, "0 is not above zero"),
        ("maxVRAMResourcesRatio", "x", "'x' is not a number"),
        ("enable", "maybe", "(found 'maybe')"),
        ("maxAllowed", "8Gi", "(found '8Gi')"),
    ],
)
def test_a_bad_field_is_named_with_what_it_holds(field: str, value: object, message: str) -> None:
    (problem,) = found(autoScalingConfig={"autoSetResources": {field: value}})
    assert problem.path == f"spec.autoScalingConfig.autoSetResources.{field}"
    assert message in problem.message


def test_a_problem_has_the_documented_name_of_its_field() -> None:
    assert problems(AutoSetResources={"targetcomputepercentile": 2}) == [
        "autoSetResources.targetTflopsPercentile"
    ]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"lowerBoundTflopsPercentile": 0.99}, "lowerBoundTflopsPercentile"),
        ({"upperBoundVramPercentile": "0.4"}, "lowerBoundVramPercentile"),
        ({"minComputeResourcesRatio": 2, "maxComputeResourcesRatio": 1}, "minComputeResourcesRatio"),
        ({"minVRAMResourcesRatio": 2, "maxVRAMResourcesRatio": 1}, "minVRAMResourcesRatio"),
        ({"minAllowed": {"tflops": 5}, "maxAllowed": {"tflops": 4}}, "minAllowed.tflops"),
    ],
)
def test_a_lower_bound_above_its_upper_bound_is_a_problem(fields: dict[str, Any], path: str) -> None:
    assert problems(autoSetResources=fields) == [f"autoSetResources.{path}"]


def test_a_most_below_the_default_least_is_no_problem() -> None:
    assert resources(maxAllowed={"vram": "512Mi"}).max_allowed == Amounts(vram=GIB // 2)


def test_fewer_replicas_at_most_than_at_least_are_a_problem() -> None:
    assert problems(autoSetReplicas={"minReplicas": 3, "maxReplicas": 2}) == ["autoSetReplicas.minReplicas"]


def test_a_request_above_its_limit_is_a_problem_of_that_resource() -> None:
    (problem,) = found(resources={"requests": {"tflops": 5, "vram": 1}, "limits": {"tflops": 4, "vram": 1}})
    assert str(problem) == "spec.resources.requests.tflops: 5 is above limits.tflops 4"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": "x"}, "cron scaling rule \"test\": start 'x': has 1 fields"),
        ({"end": "0 0 30 2 *"}, "end '0 0 30 2 *': never fires"),
        ({"end": "0 0 * * Thu"}, "start and end are the same"),
        ({"timeZone": "Mars"}, "unknown time zone 'Mars'"),
    ],
)
def test_a_bad_rule_is_named(change: dict[str, Any], message: str) -> None:
    (problem,) = found(autoScalingConfig={"cronScalingRules": [{"enable": False}, {**RULE, **change}]})
    assert problem.path == "spec.autoScalingConfig.cronScalingRules[1]"
    assert problem.message.startswith('cron scaling rule "test"')
    assert message in problem.message


def test_a_bad_quantity_in_a_rule_is_named_by_its_path() -> None:
    rule = {**RULE, "desiredResources": {"limits": {"VRAM": "lots"}}}
    assert problems(cronScalingRules=[rule]) == ["cronScalingRules[0].desiredResources.limits.vram"]


def test_two_enabled_rules_of_one_name_are_a_problem() -> None:
    (problem,) = found(autoScalingConfig={"cronScalingRules": [RULE, {**RULE, "end": "0 9 * * Thu"}]})
    assert str(problem) == (
        'spec.autoScalingConfig.cronScalingRules: several enabled rules are named "test"; '
        "a name may stand for one rule only"
    )


def test_a_disabled_rule_may_have_the_name_of_another() -> None:
    assert len(config(cronScalingRules=[RULE, {**RULE, "enable": False}]).rules) == 1


def test_all_problems_are_told_at_once() -> None:
    paths = [
        problem.path
        for problem in found(
            resources={"requests": {"vram": "lots"}, "limits": []},
            gpuCount=-1,
            autoScalingConfig={
                "autoSetResources": {"targetVramPercentile": 2, "confidenceInterval": "x"},
                "autoSetReplicas": {"minReplicas": 0},
                "cronScalingRules": [{**RULE, "start": "x"}, RULE, {**RULE, "name": "b", "end": "x"}],
            },
        )
    ]
    assert sorted(paths) == [
        "spec.autoScalingConfig.autoSetReplicas.minReplicas",
        "spec.autoScalingConfig.autoSetResources.confidenceInterval",
        "spec.autoScalingConfig.autoSetResources.targetVramPercentile",
        "spec.autoScalingConfig.cronScalingRules[0]",
        "spec.autoScalingConfig.cronScalingRules[2]",
        "spec.gpuCount",
        "spec.resources.limits",
        "spec.resources.requests.vram",
    ]


def test_the_text_of_the_error_has_every_problem() -> None:
    with pytest.raises(ConfigurationError, match=r"^spec\.gpuCount: .*; spec\.replicas: "):
        parse_spec({"gpuCount": "x", "replicas": -1})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
keys = st.sampled_from(
    [
        "resources",
        "requests",
        "tflops",
        "gpuCount",
        "autoScalingConfig",
        "autoSetResources",
        "enable",
        "minAllowed",
        "targetResource",
        "confidenceInterval",
        "autoSetReplicas",
        "cronScalingRules",
        "start",
        "externalScaler",
    ]
)
specs = st.recursive(json_values, lambda inner: st.dictionaries(keys, inner, max_size=5), max_leaves=12)


@given(st.dictionaries(keys, specs, max_size=5))
def test_any_json_is_a_spec_or_a_configuration_error(spec: dict[str, Any]) -> None:
    try:
        parsed = parse_spec(spec)
    except ConfigurationError as error:
        told = len(error.problems)
    else:
        told = parsed.gpu_count
    assert told >= 1
