from typing import Any

import msgspec
import pytest

from tests.support.builders import profile
from tests.support.operators import configured_by_annotation
from vgpu.api import ConfigurationError
from vgpu.companion import PATH, merged, profile_spec, without_resources
from vgpu.kube.objects import CustomObject


def spec_of(text: str, spec: dict[str, Any] | None = None) -> object:
    made = configured_by_annotation(profile("gold", spec=spec or {}), text)
    return profile_spec(msgspec.convert(made, CustomObject))


def problem_of(text: str) -> str:
    with pytest.raises(ConfigurationError) as told:
        spec_of(text)
    return str(told.value)


def test_the_annotation_wins_over_the_spec_field_by_field() -> None:
    spec = {"autoScalingConfig": {"autoSetResources": {"Enable": False, "targetResource": "vram"}}}
    read = spec_of("autosetresources: {enable: true, minSamples: 3}", spec)
    assert read == {
        "autoScalingConfig": {"autosetresources": {"targetResource": "vram", "enable": True, "minSamples": 3}}
    }


def test_without_an_annotation_the_spec_stays_as_it_is() -> None:
    spec = {"autoScalingConfig": {"autoSetResources": {"enable": True}}}
    assert spec_of(" ", spec) == spec


def test_a_value_that_is_not_allowed_is_told_with_its_path_in_the_annotation() -> None:
    told = problem_of("autoSetResources: {targetTflopsPercentile: 90}")
    assert told.startswith(f"{PATH}.autoSetResources.targetTflopsPercentile: 90 ")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "not YAML: line 1"),
        ("- a", "no autoScalingConfig"),
        ("a: &x [1]\nb: *x", "aliases are not allowed"),
        ("1: 2", "key 1 is not a text"),
        ("a: [2026-01-01]", ".a[0]: "),
        ("{a: " * 2000, "not YAML"),
        ("{a: " * 150 + "1" + "}" * 150, "nested deeper"),
    ],
)
def test_what_is_no_configuration_is_told(text: str, told: str) -> None:
    assert told in problem_of(text)


def test_lists_are_replaced() -> None:
    assert merged({"a": [1, 2]}, {"A": [3]}) == {"A": [3]}


def test_a_slice_that_the_operator_wrote_is_left_out_however_it_is_spelled() -> None:
    assert without_resources({"Resources": {}, "gpuCount": 2}) == {"gpuCount": 2}
