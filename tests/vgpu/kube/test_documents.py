"""Documents are kept small, and give back every bit of what was put in."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import builders
from vgpu.kube.documents import Document

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
STATUS = {
    "recommendation": builders.slice_json(tflops_request="11686m", vram_request="8701517761"),
    "conditions": [
        {
            "type": "RecommendationProvided",
            "status": "True",
            "reason": "OutOfEstimatedBound",
            "message": "TFLOPS scaled up due to (10) below lower bound (11686m)",
            "lastTransitionTime": "2027-05-06T07:08:09Z",
        }
    ],
    "estimation": {
        name: {"target": "11686m", "lowerBound": "8121m", "upperBound": "25757m", "confidence": "1.04"}
        for name in ("tflops", "vram")
    },
}


@given(st.dictionaries(st.text(), JSON))
def test_a_document_holds_what_was_put_in(content: dict[str, Any]) -> None:
    document = Document(content)
    assert document == content
    assert document == Document(dict(reversed(content.items())))
    assert msgspec.json.decode(document.text) == content


def test_documents_with_another_content_are_not_equal() -> None:
    assert Document(STATUS) != Document({**STATUS, "observedGeneration": 2})


def test_equal_documents_have_one_hash() -> None:
    assert hash(Document(STATUS)) == hash(Document(dict(STATUS)))


def test_a_status_takes_a_third_of_its_text() -> None:
    document = Document(STATUS)
    assert 3 * len(document.packed) < len(document.text)


@pytest.mark.parametrize("size", [0, 1, 5_000, 500_000])
def test_a_text_of_any_length_is_kept(size: int) -> None:
    assert Document({"message": "ä" * size})["message"] == "ä" * size
