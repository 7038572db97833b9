"""The file of usage: CSV with the columns `timestamp,pod,tflops,vram_bytes`, read into arrays.

A sample costs 24 bytes of memory, so that a million rows are nothing. A row that makes no sense is an error
that names its line and column; a value that is a number but cannot be true is left to the hygiene of samples.
"""

import csv
import math
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import BinaryIO, Final, Protocol

import numpy as np

from recommender.bank.buckets import FloatArray, IndexArray
from recommender.simulation.errors import BadUsage, quoted
from recommender.simulation.lines import TextLines, Watch, raw_lines
from vgpu.slices import Resource

COLUMNS: Final = ("timestamp", "pod", "tflops", "vram_bytes")

# The first second after the last year that a timestamp can name.
_END_OF_TIME: Final = 253_402_300_800.0
# Pods are sampled together, so that their timestamps repeat.
_CACHED_TIMES: Final = 4096

_TIMES: Final = "an ISO 8601 time such as 2025-10-09T09:16:46Z, or seconds since 1970"
_NUMBERS: Final = "a number, or nothing where there is no sample"


@dataclass(frozen=True, slots=True)
class Column:
    """The rows that have something to say about one resource, in the order of the file.

    Attributes:
        of: which pod, shape (n,).
        times: seconds since the epoch, shape (n,).
        values: TFLOPS or bytes, as they stand there, shape (n,).
    """

    of: IndexArray
    times: FloatArray
    values: FloatArray


@dataclass(frozen=True, slots=True)
class UsageFile:
    """What a file holds.

    Attributes:
        pods: their names.
        columns: what is told of each resource.
        ignored: names of the columns that mean nothing here.
    """

    pods: tuple[str, ...]
    columns: dict[Resource, Column]
    ignored: tuple[str, ...]


class Reader(Protocol):
    """The part of csv's reader that is needed here."""

    line_num: int

    def __iter__(self) -> Iterator[list[str]]:
        """Rows, as lists of fields."""
        ...

    def __next__(self) -> list[str]:
        """The next row."""
        ...


def read_usage(stream: BinaryIO, name: str, *, watch: Watch = iter) -> UsageFile:
    """Read a file of usage.

    Args:
        stream: the file.
        name: what to call it in errors.
        watch: sees every line go by.

    Raises:
        BadUsage: the file is empty or no CSV, has not all columns, or has a row that makes no sense.
    """
    text = TextLines(watch(raw_lines(stream, name)), name)
    reader = csv.reader(text, strict=True)
    try:
        return _read(reader, name)
    except csv.Error as error:
        raise BadUsage(name, f"is not CSV: {error}", line=text.line) from error
    except (OSError, EOFError, zlib.error) as error:
        raise BadUsage(name, f"cannot be read: {error}", line=text.line + 1) from error


class _Rows:
    """Samples of one resource while they are read."""

    def __init__(self) -> None:
        self._of, self._times, self._values = array("q"), array("d"), array("d")

    def append(self, of: int, time: float, value: float) -> None:
        self._of.append(of)
        self._times.append(time)
        self._values.append(value)

    def column(self) -> Column:
        return Column(
            of=np.array(self._of, dtype=np.intp),
            times=np.array(self._times, dtype=np.float64),
            values=np.array(self._values, dtype=np.float64),
        )


def _read(reader: Reader, name: str) -> UsageFile:
    header = next(reader, None)
    if header is None:
        raise BadUsage(name, f"is empty; its first line must be {','.join(COLUMNS)}")
    places = _places(header, name)
    pods: dict[str, int] = {}
    rows = {resource: _Rows() for resource in Resource}
    for row in reader:
        if not row:
            continue
        line = reader.line_num
        if len(row) != len(header):
            raise BadUsage(name, f"has {len(row)} fields, the header has {len(header)}", line=line)
        when, pod, tflops, vram = (row[place].strip() for place in places)
        time = _parsed(_time, when, name, line, "timestamp")
        if not pod:
            raise BadUsage(name, "is empty; the name of a pod must stand here", line=line, column="pod")
        of = pods.setdefault(pod, len(pods))
        if tflops:
            rows[Resource.TFLOPS].append(of, time, _parsed(_number, tflops, name, line, "tflops"))
        if vram:
            rows[Resource.VRAM].append(of, time, _parsed(_number, vram, name, line, "vram_bytes"))
    return UsageFile(
        pods=tuple(pods),
        columns={resource: taken.column() for resource, taken in rows.items()},
        ignored=tuple(cell.strip() for place, cell in enumerate(header) if place not in places),
    )


def _places(header: Sequence[str], name: str) -> list[int]:
    """Where in a row the columns stand."""
    names = [cell.strip().lower() for cell in header]
    missing = [column for column in COLUMNS if column not in names]
    if missing:
        raise BadUsage(
            name,
            f"the header must name the columns {','.join(COLUMNS)}, in any order; "
            f"{quoted(','.join(header))} lacks {', '.join(missing)}",
            line=1,
        )
    twice = [column for column in COLUMNS if names.count(column) > 1]
    if twice:
        raise BadUsage(name, f"the header names {', '.join(twice)} more than once", line=1)
    return [names.index(column) for column in COLUMNS]


def _parsed(parse: Callable[[str], float], text: str, name: str, line: int, column: str) -> float:
    try:
        return parse(text)
    except ValueError as error:
        raise BadUsage(name, f"{quoted(text)} {error}", line=line, column=column) from error


def _number(text: str) -> float:
    # Python would also read 1_000 and the digits of other scripts.
    if "_" in text or not text.isascii():
        raise ValueError(f"is not {_NUMBERS}")
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"is not {_NUMBERS}") from None


@lru_cache(maxsize=_CACHED_TIMES)
def _time(text: str) -> float:
    try:
        seconds = _number(text)
    except ValueError:
        seconds = _iso(text)
    if not (math.isfinite(seconds) and 0 <= seconds < _END_OF_TIME):
        raise ValueError(f"is not a time of the years 1970 to 9999; write {_TIMES}")
    return seconds


def _iso(text: str) -> float:
    try:
        when = datetime.fromisoformat(text)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"is not a time; write {_TIMES}") from None
