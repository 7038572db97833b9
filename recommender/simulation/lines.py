"""The lines of a file of usage, wherever it comes from."""

import gzip
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final, cast

import click

from recommender.simulation.errors import BadUsage, quoted

STDIN: Final = "-"

# A row has some fifty characters; without a bound one line could be all of a disk.
_LONGEST_LINE: Final = 1 << 16
_GZIP: Final = b"\x1f\x8b"

Watch = Callable[[Iterable[bytes]], Iterable[bytes]]
"""Passes lines on, and may show how many have gone by."""


@contextmanager
def open_usage(path: str) -> Iterator[BinaryIO]:
    """A file of usage, or standard input where the path is `-`; unpacked where it is compressed by gzip.

    Raises:
        BadUsage: it cannot be opened.
    """
    try:
        opened = click.open_file(path, "rb")  # which leaves standard input open at the end
    except OSError as error:
        raise BadUsage(path, f"cannot be opened: {error.strerror}") from error
    with opened as stream:
        # Standard input need not know how to peek, and must not be closed by what reads it.
        buffered = io.BufferedReader(cast("io.RawIOBase", stream))
        try:
            yield _unpacked(buffered)
        finally:
            buffered.detach()


def _unpacked(stream: "io.BufferedReader[io.RawIOBase]") -> BinaryIO:
    if stream.peek(len(_GZIP)).startswith(_GZIP):
        return cast("BinaryIO", gzip.GzipFile(fileobj=stream))
    return stream


def raw_lines(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """The lines of a file, none longer than a row can be.

    Raises:
        BadUsage: a line is.
    """
    number = 0
    while line := stream.readline(_LONGEST_LINE + 1):
        number += 1
        if len(line) > _LONGEST_LINE:
            raise BadUsage(name, f"longer than {_LONGEST_LINE} bytes, so it is no row", line=number)
        yield line


class TextLines:
    """Lines as text, counted.

    Args:
        lines: as they stand in the file.
        name: what to call it in errors.

    Attributes:
        line: number of the latest line, from 1 on.
    """

    def __init__(self, lines: Iterable[bytes], name: str) -> None:
        self._lines = iter(lines)
        self._name = name
        self.line = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.line += 1
        try:
            # Spreadsheets begin a file with a mark that says it is UTF-8.
            return line.decode("utf-8-sig" if self.line == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise BadUsage(
                self._name,
                f"{quoted(line)} is not UTF-8 text; CSV is read, also packed by gzip",
                line=self.line,
            ) from error
