from typing import Any

import jsonpatch
from hypothesis import given
from hypothesis import strategies as st

from vgpu.kube.patches import annotation_operations, escape_pointer

KEYS = st.text(alphabet="ab/~.", min_size=1, max_size=4)
MAPS = st.dictionaries(KEYS, st.text(max_size=3), max_size=4)


def patched(existing: dict[str, str] | None, changes: dict[str, str]) -> dict[str, Any]:
    obj: dict[str, Any] = {"metadata": {} if existing is None else {"annotations": existing}}
    result: dict[str, Any] = jsonpatch.apply_patch(obj, annotation_operations(existing, changes))
    return result


@given(existing=st.none() | MAPS, changes=MAPS)
def test_after_the_operations_the_annotations_hold_the_changes(
    existing: dict[str, str] | None, changes: dict[str, str]
) -> None:
    """For all maps: the result is the old map with the changes over it, and nothing else."""
    annotations = patched(existing, changes)["metadata"].get("annotations", {})
    assert annotations == (existing or {}) | changes


@given(existing=st.none() | MAPS, changes=MAPS)
def test_a_second_pass_is_empty(existing: dict[str, str] | None, changes: dict[str, str]) -> None:
    """For all maps: on its own result the function has nothing to say."""
    annotations = patched(existing, changes)["metadata"].get("annotations")
    assert annotation_operations(annotations, changes) == []


def test_keys_are_escaped_as_json_pointers_want() -> None:
    assert escape_pointer("tensor-fusion.ai/a~b") == "tensor-fusion.ai~1a~0b"


def test_an_object_without_annotations_gets_the_map_first() -> None:
    operations = annotation_operations(None, {"a": "1"})
    assert [operation["path"] for operation in operations] == [
        "/metadata/annotations",
        "/metadata/annotations/a",
    ]


def test_nothing_to_change_does_not_even_make_the_map() -> None:
    assert annotation_operations(None, {}) == []


def test_values_that_are_there_already_are_left_alone() -> None:
    operations = annotation_operations({"a": "1", "b": "2"}, {"a": "1", "b": "3"})
    assert operations == [{"op": "replace", "path": "/metadata/annotations/b", "value": "3"}]
