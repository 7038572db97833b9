import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from recommender.simulation.errors import BadProfile
from recommender.simulation.trial import CardGiven, read_profile
from tests.support.simulating import GIB, own_slice, trial_of
from vgpu.errors import ExitCode
from vgpu.slices import Amounts, Resource, VgpuSlice

SPEC: dict[str, Any] = {
    "resources": {"requests": {"tflops": "4", "vram": "8Gi"}, "limits": {"tflops": "8", "vram": "16Gi"}},
    "autoScalingConfig": {"autoSetResources": {"enable": True, "targetResource": "all"}},
}
NOTHING = VgpuSlice()


def profile(tmp_path: Path, content: str | bytes) -> Path:
    file = tmp_path / "profile.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def refusal(tmp_path: Path, content: str | bytes) -> str:
    with pytest.raises(BadProfile) as raised:
        read_profile(profile(tmp_path, content))
    assert raised.value.exit_code == ExitCode.USAGE
    return str(raised.value)


@pytest.mark.parametrize("kind", ["WorkloadProfile", "TensorFusionWorkload"])
def test_a_profile_is_a_whole_object(tmp_path: Path, kind: str) -> None:
    written = {"apiVersion": "tensor-fusion.ai/v1", "kind": kind, "metadata": {"name": "a"}, "spec": SPEC}
    assert read_profile(profile(tmp_path, yaml.safe_dump(written))) == SPEC


def test_a_profile_may_be_a_bare_spec_in_json(tmp_path: Path) -> None:
    assert read_profile(profile(tmp_path, json.dumps(SPEC))) == SPEC


def test_a_profile_may_be_a_spec_without_a_kind(tmp_path: Path) -> None:
    assert read_profile(profile(tmp_path, yaml.safe_dump({"spec": SPEC}))) == SPEC


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "must hold one WorkloadProfile or TensorFusionWorkload, or the spec of one"),
        ("[1, 2]", "must hold one WorkloadProfile"),
        ("spec: {}\n---\nspec: {}\n", "must hold one WorkloadProfile"),
        ("kind: Deployment\nspec: {}\n", "kind 'Deployment' is neither WorkloadProfile nor TensorFusion"),
        ("kind: WorkloadProfile\nspec: 5\n", "spec: 5 is not a mapping of fields to values"),
        ("autoSetResources: {enable: true}", "it has none of resources, autoScalingConfig, gpuCount"),
        ("a: [1", "is neither YAML nor JSON: line 1, column 6: expected ',' or ']'"),
        ("at: 2025-13-45", "is neither YAML nor JSON: month must be in 1..12"),
        (b"\xff\xff", "is neither YAML nor JSON"),
        ("[" * 600, "is neither YAML nor JSON: nested too deep"),
        (b"#" * (2 << 20), "larger than 1048576 bytes, so it is no profile"),
    ],
)
def test_what_is_no_profile_is_refused(tmp_path: Path, content: str | bytes, told: str) -> None:
    assert f"profile.yaml: {told}" in refusal(tmp_path, content)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadProfile, match="cannot be read: Is a directory"):
        read_profile(tmp_path)


def test_every_wrong_field_is_named_by_its_path() -> None:
    rule = {"enable": True, "name": "a", "start": "0 8 * *", "end": "0 9 * * *"}
    config = {"autoSetResources": {"targetTflopsPercentile": 9}, "cronScalingRules": [rule]}
    with pytest.raises(BadProfile) as raised:
        trial_of({"autoScalingConfig": config})
    lines = str(raised.value).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(
        "profile.yaml: spec.autoScalingConfig.autoSetResources.targetTflopsPercentile: 9"
    )
    assert lines[1].startswith("profile.yaml: spec.autoScalingConfig.cronScalingRules")


def test_the_slice_is_that_of_the_profile() -> None:
    trial = trial_of(SPEC, NOTHING)
    assert trial.spec.resources == VgpuSlice(Amounts(4000, 8 * GIB), Amounts(8000, 16 * GIB))
    assert (trial.assumed, trial.notes) == (frozenset(), ())


def test_a_slice_that_is_given_wins_field_by_field() -> None:
    trial = trial_of(SPEC, VgpuSlice(requests=Amounts(tflops=5000)))
    assert trial.spec.resources == VgpuSlice(Amounts(5000, 8 * GIB), Amounts(8000, 16 * GIB))


def test_a_slice_that_does_not_fit_the_profiles_is_refused() -> None:
    with pytest.raises(BadProfile, match=r"spec\.resources\.requests\.tflops: 9 is above limits\.tflops 8"):
        trial_of(SPEC, VgpuSlice(requests=Amounts(tflops=9000)))


def test_a_resource_of_which_nobody_tells_is_assumed_and_that_is_told() -> None:
    trial = trial_of({}, VgpuSlice(Amounts(tflops=2000), Amounts(tflops=4000)))
    assert trial.spec.resources == VgpuSlice(Amounts(2000, GIB), Amounts(4000, GIB))
    assert trial.assumed == {Resource.VRAM}
    [note] = trial.notes
    assert note.startswith("no slice is given of vram: request and limit 1Gi are assumed; give resources in")


def test_half_of_a_slice_is_left_as_it_is_and_that_is_told() -> None:
    trial = trial_of({}, VgpuSlice(Amounts(2000, GIB), Amounts(vram=GIB)))
    assert trial.spec.resources.limits.tflops is None
    assert [note.partition(":")[0] for note in trial.notes] == ["tflops has no request, no limit or a zero"]


@pytest.mark.parametrize(
    ("card", "spec", "cap"),
    [
        (CardGiven(), {}, Amounts()),
        (CardGiven(model="A100"), {}, Amounts(tflops=312_000)),
        (CardGiven(), {"gpuModel": "A100"}, Amounts(tflops=312_000)),
        (CardGiven(model="T4"), {"gpuModel": "A100"}, Amounts(tflops=65_000)),
        (CardGiven(vram=80 * GIB), {}, Amounts(vram=80 * GIB)),
    ],
)
def test_the_card_caps_what_is_known_of_it(card: CardGiven, spec: dict[str, Any], cap: Amounts) -> None:
    assert trial_of(spec, own_slice(), card).cap == cap


def test_a_model_that_nobody_knows_is_told() -> None:
    assert trial_of({"gpuModel": "X9"}).notes == (
        "GPU model 'X9' is not in the table of models: no card caps TFLOPS",
    )


def test_a_profile_that_is_nested_without_end_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(200):
        deep = {"a": deep}
    with pytest.raises(BadProfile, match="nested deeper than 100 levels"):
        trial_of({"resources": {}, "other": deep})
