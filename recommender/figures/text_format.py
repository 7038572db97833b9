"""Prometheus' text format (0.0.4) for columns of numbers, without an object for each series.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import add
from typing import Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

# So many lines take some milliseconds: whoever waits for the interpreter meanwhile gets it soon.
LINES_AT_ONCE: Final = 8192

ABSENT: Final = -1
"""Stands in a column for a value that there is not: no amount is negative."""

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_IN_A_LABEL: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_IN_HELP: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})


@dataclass(frozen=True, slots=True)
class Family:
    """A metric with all of its series.

    Attributes:
        name: as Prometheus knows it; a counter's ends in `_total`.
        type: what its values are.
        text: what it tells.
        labels: names of its labels, in the order in which they are written.
    """

    name: str
    type: Literal["gauge", "counter"]
    text: str
    labels: tuple[str, ...] = ()

    def head(self) -> bytes:
        """What stands before the first sample."""
        text = self.text.translate(_IN_HELP)
        return f"# HELP {self.name} {text}\n# TYPE {self.name} {self.type}\n".encode()


def label_set(labels: Mapping[str, str]) -> str:
    """Labels as they stand behind the name, ready to be followed by a value; nothing where there are none."""
    if not labels:
        return " "
    pairs = ",".join(f'{name}="{value.translate(_IN_A_LABEL)}"' for name, value in labels.items())
    return f"{{{pairs}}} "


def column(family: Family, label_sets: Sequence[str], values: IntArray, unit: int) -> Iterator[bytes]:
    """A family with one series for each value that there is; nothing at all where there is none.

    Args:
        family: which it is.
        label_sets: what `label_set` makes of each series' labels, n of them.
        values: shape (n,); `ABSENT` gives no line.
        unit: how many of what the column counts are one of what Prometheus is told: 1000 for thousandths.
    """
    present = values != ABSENT
    if not present.any():
        return
    yield family.head()
    for begin in range(0, len(values), LINES_AT_ONCE):
        part = slice(begin, begin + LINES_AT_ONCE)
        chosen = compress(label_sets[part], present[part].tolist())
        yield _lines(family.name, map(add, chosen, _texts(values[part][present[part]], unit)))


def single_values(family: Family, values: Iterable[tuple[str, float]]) -> bytes:
    """A family with a few series, each with what `label_set` made of its labels."""
    texts = (f"{labels}{int(value) if value == int(value) else value!r}" for labels, value in values)
    return family.head() + _lines(family.name, texts)


def ones(family: Family, label_sets: Sequence[str]) -> Iterator[bytes]:
    """A family that tells by its labels: each of its series is 1. Nothing where there is none."""
    if label_sets:
        yield family.head()
    for begin in range(0, len(label_sets), LINES_AT_ONCE):
        yield _lines(family.name, (labels + "1" for labels in label_sets[begin : begin + LINES_AT_ONCE]))


def _texts(values: IntArray, unit: int) -> list[str]:
    numbers = values.tolist() if unit == 1 else (values / unit).tolist()
    # In a list of numbers as JSON each stands as Prometheus reads it, several times as fast as by `str`.
    return msgspec.json.encode(numbers)[1:-1].decode().split(",")


def _lines(name: str, rest: Iterable[str]) -> bytes:
    text = f"\n{name}".join(rest)
    # Kubernetes lets no half of a surrogate pair through; should one come from elsewhere, it is replaced.
    return f"{name}{text}\n".encode(errors="replace") if text else b""
