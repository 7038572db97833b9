"""Arrays and texts as compressed bytes, a column each. Pure.

Numbers are cut into planes first: all lowest bytes, then all second lowest, and so on. Neighbours share their
high bytes, so that these planes shrink to nearly nothing, which zlib cannot do where they lie scattered.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

Scalar = TypeVar("Scalar", bound=np.generic)

_LARGEST: Final = 1 << 30
"""Bytes that all columns together may unpack to: several times what a million workloads take."""

_SEPARATOR: Final = "\0"
"""Stands in no name of Kubernetes, nor in a UID."""


class Column(msgspec.Struct, frozen=True):
    """Where a column is: they follow one another in the order of the list.

    Attributes:
        name: What it holds.
        plain: Its size unpacked, bytes.
        packed: Its size packed, bytes.
    """

    name: str
    plain: int
    packed: int


class Packer:
    """Packs columns one after the other."""

    def __init__(self) -> None:
        self.columns: list[Column] = []
        self._packed: list[bytes] = []

    def array(self, name: str, array: npt.NDArray[np.generic]) -> None:
        """Adds numbers; of several dimensions, in C order."""
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        planes = little.reshape(-1).view(np.uint8).reshape(-1, array.itemsize).T
        self._bytes(name, planes.tobytes())

    def texts(self, name: str, texts: Sequence[str]) -> None:
        """Adds texts.

        Raises:
            ValueError: One contains a NUL character.
        """
        joined = _SEPARATOR.join(texts)
        if texts and joined.count(_SEPARATOR) != len(texts) - 1:
            raise ValueError(f"one of the {name} contains a NUL character")
        self._bytes(name, joined.encode())

    def payload(self) -> bytes:
        """All columns."""
        return b"".join(self._packed)

    def _bytes(self, name: str, plain: bytes) -> None:
        packed = zlib.compress(plain)
        self._packed.append(packed)
        self.columns.append(Column(name, len(plain), len(packed)))


class Unpacker:
    """Unpacks columns by their names.

    Raises:
        ValueError: The columns do not make up the payload, or would unpack to far too much.
    """

    def __init__(self, columns: Sequence[Column], payload: bytes) -> None:
        if any(column.plain < 0 or column.packed < 0 for column in columns):
            raise ValueError("a column has a negative size")
        if sum(column.packed for column in columns) != len(payload):
            raise ValueError(f"the columns do not make up the {len(payload)} bytes of the payload")
        if sum(column.plain for column in columns) > _LARGEST:
            raise ValueError(f"the columns would unpack to more than {_LARGEST} bytes")
        self._columns = _places(columns)
        self._payload = memoryview(payload)

    def array(self, name: str, dtype: type[Scalar], *shape: int) -> npt.NDArray[Scalar]:
        """The numbers of a column, in C order; without a shape, as many as there are.

        Raises:
            ValueError: There is no such column, it is damaged, or has another shape.
        """
        plain = np.frombuffer(self._bytes(name), dtype=np.uint8)
        kind = np.dtype(dtype)
        planes = plain.reshape(kind.itemsize, -1).T
        numbers = np.ascontiguousarray(planes).reshape(-1).view(kind.newbyteorder("<"))
        return numbers.reshape(shape or -1).astype(kind)

    def texts(self, name: str, count: int) -> list[str]:
        """The `count` texts of a column; ValueError as for `array`."""
        plain = self._bytes(name).decode()
        texts = plain.split(_SEPARATOR) if count else []
        if len(texts) != count or (not count and plain):
            raise ValueError(f"there are {len(texts)} {name} and not {count}")
        return texts

    def _bytes(self, name: str) -> bytes:
        if name not in self._columns:
            raise ValueError(f"there is no column {name}")
        start, column = self._columns[name]
        unpacking = zlib.decompressobj()
        try:
            # One byte more than there should be tells when there is more, and no more than that is unpacked.
            plain = unpacking.decompress(self._payload[start : start + column.packed], column.plain + 1)
        except zlib.error as error:
            raise ValueError(f"column {name} cannot be unpacked: {error}") from error
        if len(plain) != column.plain or not unpacking.eof or unpacking.unused_data:
            raise ValueError(f"column {name} does not unpack to {column.plain} bytes")
        return plain


def _places(columns: Sequence[Column]) -> Mapping[str, tuple[int, Column]]:
    starts = np.cumsum([0, *(column.packed for column in columns)]).tolist()
    return {column.name: (start, column) for start, column in zip(starts, columns, strict=False)}
