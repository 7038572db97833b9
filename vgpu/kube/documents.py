"""JSON objects that are kept as text: what a cache of a hundred thousand of them can afford."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

# Who looks at an object looks at it several times: the last few stay decoded.
_MOST_DECODED: Final = 256
# Objects that are configured alike share one text.
_MOST_SHARED: Final = 1024

_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


class Document(Mapping[str, Any]):
    """A JSON object, read-only; its decoded form takes six times the memory.

    Each access decodes it, in about 2 us, unless it was one of the last ones. Documents are equal when their
    texts are: keys are sorted and there is no white space, so that this is what equal means.
    """

    __slots__ = ("_text",)

    def __init__(self, content: Mapping[str, Any]) -> None:
        """Keep the text of a mapping of JSON values.

        Raises:
            RecursionError: it is nested deeper than can be written.
        """
        self._text: bytes = content.text if isinstance(content, Document) else _ENCODER.encode(content)

    @property
    def text(self) -> bytes:
        """The JSON, the same for equal documents."""
        return self._text

    @property
    def brackets(self) -> int:
        """How many brackets are opened, even inside of strings: it cannot be nested deeper than that."""
        return self._text.count(b"{") + self._text.count(b"[")

    def shared(self) -> "Document":
        """This document, or an equal one that others have too."""
        return _shared(self)

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401 - JSON
        """A member; KeyError where there is none."""
        return _decoded(self._text)[key]

    def __iter__(self) -> Iterator[str]:
        """The names of the members."""
        return iter(_decoded(self._text))

    def __len__(self) -> int:
        """How many members there are."""
        return len(_decoded(self._text))

    def __eq__(self, other: object) -> bool:
        """Whether the other one is a mapping with the same content."""
        if isinstance(other, Document):
            return self._text == other._text
        return _decoded(self._text) == other

    def __hash__(self) -> int:
        """The same for equal documents."""
        return hash(self._text)

    def __repr__(self) -> str:
        """The text."""
        return f"Document({self._text.decode()})"


@lru_cache(maxsize=_MOST_SHARED)
def _shared(document: Document) -> Document:
    return document


@lru_cache(maxsize=_MOST_DECODED)
def _decoded(text: bytes) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(text)
    return decoded
