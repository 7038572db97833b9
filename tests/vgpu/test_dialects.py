"""Dialects: the slice in TensorFusion's annotations, and the baseline of a pod."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.builders import pod_struct
from vgpu.annotations import (
    ORIGINAL_RESOURCES,
    TFLOPS_LIMIT,
    TFLOPS_REQUEST,
    VRAM_LIMIT,
    VRAM_REQUEST,
    WORKLOAD_PROFILE,
)
from vgpu.dialects import DIALECTS, baseline, dialect_of
from vgpu.dialects.tensorfusion import TENSORFUSION
from vgpu.kube.objects import ObjectMeta, Pod
from vgpu.slices import Amounts, VgpuSlice

GIB = 1 << 30
SLICE = VgpuSlice(requests=Amounts(tflops=13000, vram=GIB), limits=Amounts(tflops=13500, vram=3 * GIB))
ANNOTATIONS = {TFLOPS_REQUEST: "13", TFLOPS_LIMIT: "13500m", VRAM_REQUEST: "1Gi", VRAM_LIMIT: "3Gi"}


def annotated(annotations: dict[str, str] | None) -> Pod:
    return Pod(metadata=ObjectMeta(name="pod", annotations=annotations))


def test_dialects_have_names_of_their_own() -> None:
    assert len({dialect.name for dialect in DIALECTS}) == len(DIALECTS)


@pytest.mark.parametrize("key", [*ANNOTATIONS, WORKLOAD_PROFILE])
def test_a_pod_with_one_of_the_annotations_speaks_tensorfusion(key: str) -> None:
    assert dialect_of(annotated({key: "1"})) is TENSORFUSION


@pytest.mark.parametrize("annotations", [None, {}, {"other": "1"}])
def test_a_pod_without_a_slice_speaks_no_dialect(annotations: dict[str, str] | None) -> None:
    assert dialect_of(annotated(annotations)) is None


def test_the_slice_is_read_from_the_annotations() -> None:
    reading = TENSORFUSION.read(annotated(ANNOTATIONS))
    assert reading.slice == SLICE
    assert reading.problems == ()


def test_a_missing_annotation_is_not_given() -> None:
    assert TENSORFUSION.read(annotated({VRAM_REQUEST: "1Gi"})).slice == VgpuSlice(requests=Amounts(vram=GIB))


def test_a_malformed_annotation_is_named_and_the_others_are_read() -> None:
    reading = TENSORFUSION.read(annotated({**ANNOTATIONS, VRAM_LIMIT: "lots", TFLOPS_LIMIT: ""}))
    assert reading.slice == VgpuSlice(requests=SLICE.requests)
    assert [problem.split(":")[0] for problem in reading.problems] == [
        f"annotation {TFLOPS_LIMIT}",
        f"annotation {VRAM_LIMIT}",
    ]
    assert "'lots' is not a quantity" in reading.problems[1]


def test_a_slice_is_written_into_the_annotations() -> None:
    edit = TENSORFUSION.write(annotated(None), SLICE)
    assert edit.annotations == ANNOTATIONS
    assert edit.operations == ()


def test_only_what_differs_is_written() -> None:
    edit = TENSORFUSION.write(annotated({**ANNOTATIONS, VRAM_REQUEST: "2Gi"}), SLICE)
    assert edit.annotations == {VRAM_REQUEST: "1Gi"}


def test_another_notation_of_the_same_amount_is_left_as_it_is() -> None:
    same = {TFLOPS_REQUEST: "13000m", TFLOPS_LIMIT: "13.5", VRAM_REQUEST: "1024Mi", VRAM_LIMIT: "3221225472"}
    assert TENSORFUSION.write(annotated(same), SLICE).annotations == {}


def test_a_field_that_the_slice_does_not_name_is_left_as_it_is() -> None:
    edit = TENSORFUSION.write(annotated(ANNOTATIONS), VgpuSlice(requests=Amounts(tflops=1000)))
    assert edit.annotations == {TFLOPS_REQUEST: "1"}


def test_a_malformed_annotation_is_left_as_it_is() -> None:
    edit = TENSORFUSION.write(annotated({**ANNOTATIONS, VRAM_REQUEST: "lots", TFLOPS_REQUEST: "5"}), SLICE)
    assert edit.annotations == {TFLOPS_REQUEST: "13"}


amounts = st.builds(
    Amounts,
    tflops=st.none() | st.integers(0, 10**9),
    vram=st.none() | st.integers(0, 1 << 40),
)


@given(
    st.builds(VgpuSlice, requests=amounts, limits=amounts),
    st.builds(VgpuSlice, requests=amounts, limits=amounts),
)
def test_after_writing_the_pod_carries_the_slice_and_nothing_is_left_to_write(
    before: VgpuSlice, wanted: VgpuSlice
) -> None:
    carried = dict(TENSORFUSION.write(annotated(None), before).annotations)
    written = annotated({**carried, **TENSORFUSION.write(annotated(carried), wanted).annotations})
    assert TENSORFUSION.write(written, wanted).annotations == {}
    for part in ("requests", "limits"):
        for resource, text in wanted.to_json().get(part, {}).items():
            assert TENSORFUSION.read(written).slice.to_json()[part][resource] == text


def test_the_baseline_is_what_the_webhook_recorded() -> None:
    recorded = VgpuSlice(requests=Amounts(tflops=1000), limits=Amounts(tflops=2000))
    pod = annotated({**ANNOTATIONS, ORIGINAL_RESOURCES: json.dumps(recorded.to_json())})
    assert baseline(pod).slice == recorded


def test_without_a_record_the_baseline_is_what_the_pod_carries() -> None:
    pod = pod_struct(tflops_request="13", tflops_limit="13.5", vram_request="1Gi", vram_limit="3Gi")
    assert baseline(pod).slice == SLICE


def test_a_pod_without_a_slice_has_an_empty_baseline() -> None:
    assert baseline(annotated(None)).slice == VgpuSlice()


@pytest.mark.parametrize(
    "record",
    ["nonsense", "[]", '{"requests": 5}', '{"requests": {"vram": "lots"}}', "[" * 100_000, '{"a":' * 9999],
)
def test_a_record_that_cannot_be_read_is_named_and_the_pod_stands_in(record: str) -> None:
    reading = baseline(annotated({**ANNOTATIONS, ORIGINAL_RESOURCES: record}))
    assert reading.slice == SLICE
    assert len(reading.problems) == 1
    assert reading.problems[0].startswith(f"annotation {ORIGINAL_RESOURCES}: ")
