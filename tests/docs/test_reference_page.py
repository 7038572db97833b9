"""docs/reference.md holds every annotation, field, condition and reason, and its examples work."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from recommender.decisions import advising, availability, recommendation, status
from recommender.histories import preallocation
from recommender.publishing import horizontal
from vgpu import annotations
from vgpu.api import AutoScalingConfig, WorkloadSpec, parse_spec
from vgpu.api.autoscaling import AutoSetReplicas, AutoSetResources, CronScalingRule, ExternalScaler
from vgpu.api.fields import Model

PAGE = Path(__file__).parents[2] / "docs" / "reference.md"
AUTO_SCALING = "autoScalingConfig"
SECTIONS: Mapping[str, type[Model]] = {
    f"{AUTO_SCALING}.autoSetResources`: vertical scaling": AutoSetResources,
    f"{AUTO_SCALING}.autoSetReplicas`: horizontal scaling": AutoSetReplicas,
    f"{AUTO_SCALING}.cronScalingRules[]`": CronScalingRule,
    f"{AUTO_SCALING}.externalScaler`": ExternalScaler,
}
REASONS = {
    status.RECOMMENDATION_PROVIDED: recommendation.Reason,
    status.CONFIGURATION_VALID: status.ConfigurationReason,
    availability.METRICS_AVAILABLE: availability.AvailabilityReason,
    status.HORIZONTAL_SCALING: horizontal.HorizontalReason,
    advising.EXTERNAL_SCALER_AVAILABLE: advising.ScalerReason,
    preallocation.VRAM_LEFT_ALONE: preallocation.Reason,
}


def rows(heading: str) -> dict[str, str]:
    """The examples in the first table under a heading, by what stands in their row's first cell."""
    text = PAGE.read_text(encoding="utf-8")
    section = re.split(r"\n#+ ", text.split(f"{heading}\n")[1])[0]
    found = re.findall(r"^\| `([^`]+)` \| (.+?) \|", section, re.MULTILINE)
    return {name: example.strip("`") for name, example in found}


def fields(model: type[Model]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def nested(path: str, value: object) -> dict[str, Any]:
    key, _, rest = path.partition(".")
    return {key: nested(rest, value) if rest else value}


def test_every_annotation_has_a_row() -> None:
    constants = {name: value for name, value in vars(annotations).items() if name.isupper()}
    unlike = {"GROUP", "GATE_SELECTOR"}
    keys = {value.partition("/")[2] for name, value in constants.items() if name not in unlike}
    assert set(rows("## Labels and annotations")) == keys


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_field_that_scales_has_a_row(heading: str) -> None:
    assert set(rows(f"### `{heading}")) == fields(SECTIONS[heading])


def test_every_other_field_of_a_spec_has_a_row() -> None:
    listed = set(rows("## Spec of TensorFusionWorkload and WorkloadProfile"))
    assert {path.partition(".")[0] for path in listed} == fields(WorkloadSpec)
    explained = {heading.split(".")[1].strip("[]`").partition("`")[0] for heading in SECTIONS}
    nested_fields = {path.rpartition(".")[2] for path in listed if path.startswith(AUTO_SCALING)}
    assert nested_fields | {name.strip("[]") for name in explained} == fields(AutoScalingConfig)


def examples() -> Iterator[dict[str, Any]]:
    """Each example of a field as a spec of its own."""
    for path, example in rows("## Spec of TensorFusionWorkload and WorkloadProfile").items():
        yield nested(path, yaml.safe_load(example))
    for name, example in rows(f"### `{AUTO_SCALING}.autoSetResources`: vertical scaling").items():
        yield nested(f"{AUTO_SCALING}.autoSetResources.{name}", yaml.safe_load(example))
    for name, example in rows(f"### `{AUTO_SCALING}.autoSetReplicas`: horizontal scaling").items():
        yield nested(f"{AUTO_SCALING}.autoSetReplicas.{name}", yaml.safe_load(example))
    scaler = rows(f"### `{AUTO_SCALING}.externalScaler`")
    yield nested(
        f"{AUTO_SCALING}.externalScaler", {name: yaml.safe_load(text) for name, text in scaler.items()}
    )


@pytest.mark.parametrize("spec", list(examples()), ids=str)
def test_the_example_of_a_field_can_be_read(spec: dict[str, Any]) -> None:
    parse_spec(spec)


def test_the_examples_of_a_rules_fields_make_a_rule() -> None:
    written = rows(f"### `{AUTO_SCALING}.cronScalingRules[]`")
    rule = {name: yaml.safe_load(example) for name, example in written.items()}
    [read] = parse_spec(nested(f"{AUTO_SCALING}.cronScalingRules", [rule])).auto_scaling_config.rules
    assert (read.name, read.desired_replicas, read.desired.limits.tflops) == ("thursday", 5, 99_000)


@pytest.mark.parametrize("condition", REASONS)
def test_every_reason_of_a_condition_has_a_row(condition: str) -> None:
    assert set(rows(f"### {condition}")) == set(get_args(REASONS[condition]))


def test_no_condition_is_left_out() -> None:
    section = PAGE.read_text(encoding="utf-8").split("## Conditions\n")[1]
    assert set(re.findall(r"^### (\w+)$", section, re.MULTILINE)) == set(REASONS)
