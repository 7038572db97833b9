"""Reading what kube-apiserver sends, whatever somebody has stored in it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgpu.kube.errors import BadAnswer, Gone
from vgpu.kube.objects import MOST_LEVELS, CustomObject, HorizontalPodAutoscaler, Node, PartialObject, Pod
from vgpu.kube.transport import Call
from vgpu.kube.wire import decode, decode_event, decode_page, without_depths

CALL = Call("GET", "/apis/tensor-fusion.ai/v1/workloadprofiles")


def nested(levels: int, *, value: str = "1") -> str:
    """JSON of an object in an object in an object..."""
    return '{"a":' * levels + value + "}" * levels


def profile(name: str, spec: str = "{}") -> str:
    return f'{{"metadata":{{"name":"{name}","namespace":"team"}},"spec":{spec}}}'


def page(*items: str) -> bytes:
    return f'{{"metadata":{{"resourceVersion":"7","continue":"c"}},"items":[{",".join(items)}]}}'.encode()


def event(kind: str, object_: str) -> bytes:
    return f'{{"type":"{kind}","object":{object_}}}'.encode()


# As a real kube-apiserver (1.37) sends them; older ones add `creationTimestamp: null` to the metadata.
_ZERO_HPA = (
    '"spec":{"scaleTargetRef":{"kind":"","name":""},"maxReplicas":0},'
    '"status":{"desiredReplicas":0,"currentMetrics":null}'
)
BOOKMARKS = [
    (Pod, '"metadata":{"resourceVersion":"7"},"spec":{"containers":null},"status":{}'),
    (Pod, '"metadata":{"resourceVersion":"7","creationTimestamp":null},"spec":{"containers":null}'),
    (HorizontalPodAutoscaler, f'"metadata":{{"resourceVersion":"7"}},{_ZERO_HPA}'),
    (Node, '"metadata":{"resourceVersion":"7"},"spec":{},"status":{"nodeInfo":{"machineID":""}}'),
    (PartialObject, '"metadata":{"resourceVersion":"7"}'),
    (CustomObject, '"metadata":{"resourceVersion":"7"}'),
]


@pytest.mark.parametrize(("type_", "fields"), BOOKMARKS)
def test_of_a_bookmark_only_the_version_is_read(type_: type[Any], fields: str) -> None:
    read = decode_event(CALL, type_, event("BOOKMARK", f"{{{fields}}}"))
    assert (read.type, read.metadata.resource_version, read.object) == ("BOOKMARK", "7", None)


def test_a_pod_without_containers_is_read() -> None:
    assert decode(CALL, Pod, b'{"spec":{"containers":null}}') == Pod()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (nested(1_500).encode(), "recursion depth"),
        (b'{"metadata":{"name":"\xff"}}', "invalid start byte"),
        (b"<html>", "malformed"),
        (b'{"metadata":1}', "Expected `object`"),
    ],
)
def test_whatever_cannot_be_read_is_a_bad_answer(body: bytes, reason: str) -> None:
    with pytest.raises(BadAnswer, match=reason):
        decode(CALL, CustomObject, body)


@pytest.mark.parametrize(
    "spec",
    [
        nested(MOST_LEVELS),
        nested(MOST_LEVELS + 50),
        nested(1_500),
        nested(9_990),
        "[" * 9_990 + "]" * 9_990,
        '"text"',
        "[]",
    ],
    ids=[
        "deep",
        "deeper",
        "too deep for msgspec",
        "as deep as kube-apiserver lets it",
        "lists",
        "text",
        "list",
    ],
)
def test_one_object_that_cannot_be_read_does_not_hide_the_others(spec: str) -> None:
    read = decode_page(CALL, CustomObject, page(profile("a"), profile("bad", spec), profile("b")))
    assert [each.metadata.name for each in read.items] == ["a", "b"]
    assert [(each.metadata.namespace, each.metadata.name) for each in read.unreadable] == [("team", "bad")]
    assert (read.metadata.resource_version, read.metadata.continue_) == ("7", "c")


def test_bytes_that_are_no_text_do_not_hide_the_others() -> None:
    bad = page(profile("a"), profile("bad", '{"note":"?"}'), profile("b")).replace(b"?", b"\xff")
    read = decode_page(CALL, CustomObject, bad)
    assert [each.metadata.name for each in read.items] == ["a", "b"]
    assert [each.metadata.name for each in read.unreadable] == ["bad"]
    assert "invalid start byte" in read.unreadable[0].problem


def test_metadata_that_cannot_be_read_leaves_the_object_without_a_name() -> None:
    read = decode_page(CALL, CustomObject, page(profile("a"), '{"metadata":1}'))
    assert [each.metadata.name for each in read.unreadable] == [""]


def test_a_spec_just_within_the_levels_is_read_whole() -> None:
    spec = nested(MOST_LEVELS - 1)
    read = decode_page(CALL, CustomObject, page(profile("a", spec)))
    assert read.items[0].spec == json.loads(spec)


def test_a_page_that_is_none_is_a_bad_answer() -> None:
    with pytest.raises(BadAnswer):
        decode_page(CALL, CustomObject, b"<html>")


def test_a_page_without_items_is_empty() -> None:
    assert decode_page(CALL, Pod, b'{"metadata":{},"items":null}').items == []


@pytest.mark.parametrize("levels", [MOST_LEVELS + 1, 1_500, 9_990])
@pytest.mark.parametrize("kind", ["ADDED", "MODIFIED", "DELETED"])
def test_an_event_of_an_object_that_cannot_be_read_says_which_it_is(kind: str, levels: int) -> None:
    read = decode_event(CALL, CustomObject, event(kind, profile("bad", nested(levels))))
    assert (read.type, read.metadata.name, read.object) == (kind, "bad", None)
    assert "nested deeper than 100 levels" in read.problem


def test_an_error_event_is_the_error_that_it_means() -> None:
    with pytest.raises(Gone, match="too old"):
        decode_event(CALL, Pod, event("ERROR", '{"kind":"Status","code":410,"message":"too old"}'))


JSON = st.recursive(
    st.none() | st.integers() | st.text(alphabet='ab"\\[]{},:', max_size=5),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3)
    ),
    max_leaves=20,
)


@given(JSON)
def test_what_is_not_deep_is_left_as_it_is(value: object) -> None:
    body = json.dumps(value).encode()
    assert without_depths(body) == body


@given(JSON, st.integers(0, 30))
def test_only_what_is_deep_becomes_null(value: object, extra: int) -> None:
    """For all values below any number of levels: all else stays, and the result is JSON."""
    levels = MOST_LEVELS + 20 + extra
    deep = nested(levels, value=json.dumps(value))
    body = f"[{json.dumps(value)},{deep},{json.dumps(value)}]"
    before, cut, after = json.loads(without_depths(body.encode()))
    assert before == after == value
    steps = 0
    while cut is not None:
        cut, steps = cut["a"], steps + 1
    assert MOST_LEVELS < steps < levels
