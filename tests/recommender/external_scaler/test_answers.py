import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.external_scaler.answers import MOST, Answer, question, read_answer
from recommender.external_scaler.errors import InvalidAnswer
from recommender.keys import WorkloadKey
from tests.support.deciding import slice_of
from vgpu.slices import Amounts, Resource

GIB = 1 << 30


def read(requests: object = None, limits: object = None, **more: Any) -> Answer:
    written = {"needScaleUp": True, "recommendedResources": {"requests": requests, "limits": limits}, **more}
    return read_answer(json.dumps(written).encode())


def refused(body: bytes) -> str:
    with pytest.raises(InvalidAnswer) as raised:
        read_answer(body)
    return str(raised.value)


def test_a_question_names_the_workload_and_what_it_has() -> None:
    current = slice_of(10, 8, limits=(20, 16))
    assert json.loads(question(WorkloadKey("team", "web"), current)) == {
        "workloadName": "web",
        "namespace": "team",
        "currentResources": {
            "requests": {"tflops": "10", "vram": "8Gi"},
            "limits": {"tflops": "20", "vram": "16Gi"},
        },
    }


def test_quantities_are_texts_or_numbers() -> None:
    assert read({"tflops": 12.5, "vram": "4Gi"}).requests == Amounts(tflops=12_500, vram=4 * GIB)


@pytest.mark.parametrize("nothing", [None, "", 0, "0"])
def test_a_resource_that_is_left_out_or_zero_is_not_named(nothing: object) -> None:
    answer = read({"tflops": "5", "vram": nothing}, {"tflops": "10", "vram": nothing})
    assert answer.requests == Amounts(tflops=5000)


def test_neither_up_nor_down_recommends_nothing_whatever_else_is_there() -> None:
    assert read({"tflops": "x"}, needScaleUp=False, reason="fine") == Answer(None, "fine")


@pytest.mark.parametrize(
    ("requests", "limits", "told"),
    [
        ({"tflops": "many"}, None, "requests.tflops is not a quantity"),
        ({"tflops": "-1"}, None, "requests.tflops is not a quantity"),
        ({"tflops": "NaN"}, None, "requests.tflops is not a quantity"),
        ({"tflops": "1" * 100}, None, "requests.tflops is not a quantity"),
        ({"tflops": 1e300}, None, "requests.tflops is more than any GPU has"),
        ({"vram": "2T"}, None, "requests.vram is more than any GPU has"),
        ({"tflops": "5"}, {"tflops": "4"}, "requests.tflops is above recommendedResources.limits.tflops"),
        ({"tflops": "5"}, {"vram": "4Gi"}, "limits.vram has no request"),
        ({}, {}, "recommends no request"),
        (None, None, "recommends no request"),
        ({"tflops": True}, None, "$.recommendedResources.requests.tflops"),
        ([], None, "$.recommendedResources.requests"),
    ],
)
def test_amounts_that_cannot_be_meant_are_refused(requests: object, limits: object, told: str) -> None:
    with pytest.raises(InvalidAnswer) as raised:
        read(requests, limits)
    assert told in str(raised.value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"needScaleUp": "yes"}',
        b'{"needScaleUp": true}',
        b'{"needScaleUp": true, "recommendedResources": {"requests": {"tflops": NaN}}}',
        b'{"a": ' + b"[" * 50_000,
    ],
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    assert refused(body)


def test_what_the_scaler_wrote_is_not_repeated_in_an_error() -> None:
    body = {"needScaleUp": "hush", "recommendedResources": {"requests": {"tflops": "hush"}}}
    assert "hush" not in refused(json.dumps(body).encode())
    assert "hush" not in refused(json.dumps({**body, "needScaleUp": True}).encode())


def test_a_reason_is_one_line_of_bounded_length_without_the_secret() -> None:
    body = json.dumps({"needScaleUp": False, "reason": "a\n\x00b hush " + "c" * 500}).encode()
    reason = read_answer(body, secret="hush").reason
    assert reason.startswith("a b ********** ccc")
    assert len(reason) == 200


TEXTS = st.text(max_size=8) | st.sampled_from(["1e9", "5Gi", "1k", "-0", "1n"])
NUMBERS = st.integers() | st.floats() | TEXTS
AMOUNTS = st.dictionaries(st.sampled_from(["tflops", "vram", "cpu"]), NUMBERS | st.none() | st.booleans())
VALUES = st.none() | st.booleans() | NUMBERS
JSON = st.recursive(VALUES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6)
ANSWERS = st.fixed_dictionaries(
    {},
    optional={
        "needScaleUp": st.booleans() | JSON,
        "needScaleDown": st.booleans() | JSON,
        "reason": st.text() | JSON,
        "recommendedResources": st.dictionaries(st.sampled_from(["requests", "limits"]), AMOUNTS) | JSON,
    },
)


def _bounded(body: bytes) -> None:
    try:
        answer = read_answer(body)
    except InvalidAnswer:
        return
    if answer.requests is not None:
        named = [answer.requests.get(resource) for resource in Resource]
        assert any(named)
        assert all(
            amount is None or 0 < amount <= MOST[resource]
            for resource, amount in zip(Resource, named, strict=True)
        )


@given(ANSWERS | JSON)
def test_any_json_is_an_answer_within_bounds_or_an_error(written: object) -> None:
    _bounded(json.dumps(written).encode())


@given(st.binary(max_size=60))
def test_any_bytes_are_an_answer_or_an_error(body: bytes) -> None:
    _bounded(body)
