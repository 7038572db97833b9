"""The tables of GPU models: the one that comes with the product, and the operator's own."""

import csv
import math
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import ClassVar, Final

from pydantic import Field

from vgpu.errors import ExitCode, StartupError
from vgpu.gpu_models import GpuModels, normal
from vgpu.settings import FilePath, ServiceSettings

_PRODUCT: Final = "product"
_PEAK: Final = "fp16_dense_tflops"
# `alias_of` marks a row that repeats another's figure under the driver's name; it is for readers.
_COLUMNS: Final = (_PRODUCT, _PEAK, "vendor", "alias_of")
# A thousand times what the largest cards give: more is GFLOPS, or a slip.
_MOST_TFLOPS: Final = 1e6


class GpuPeaksError(StartupError):
    """A table of GPU models that cannot be used; the text names file, line and column."""

    exit_code: ClassVar[int] = ExitCode.USAGE


class GpuPeaksSettings(ServiceSettings):
    """For every service that has to know what a card can do."""

    gpu_peaks_file: FilePath | None = Field(
        None,
        description=(
            "CSV file of GPU models that the product's own table lacks or has wrong: columns product, "
            "fp16_dense_tflops and, if wanted, vendor"
        ),
    )

    def models(self) -> GpuModels:
        """The GPU models that are known.

        Raises:
            GpuPeaksError: `gpu_peaks_file` cannot be used.
        """
        return load_models(self.gpu_peaks_file)


def load_models(file: Path | None = None) -> GpuModels:
    """The models of the product's own table, and those of a file over them.

    Args:
        file: CSV with the columns product, fp16_dense_tflops and, if wanted, vendor; None for no file.

    Raises:
        GpuPeaksError: the file cannot be used.
    """
    return GpuModels({**_bundled(), **(read_peaks(file) if file is not None else {})})


def read_peaks(file: Path) -> dict[str, float]:
    """Read a table: peak dense FP16 TFLOPS by product, in one spelling.

    Raises:
        GpuPeaksError: the file cannot be read, or a row of it cannot be right.
    """
    try:
        # The signature is what spreadsheets put in front of UTF-8.
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise GpuPeaksError(f"gpu_peaks_file {file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise GpuPeaksError(f"gpu_peaks_file {file} is not UTF-8 text") from error
    return _peaks(text, name=f"gpu_peaks_file {file}")


@cache
def _bundled() -> dict[str, float]:
    table = resources.files("vgpu").joinpath("data/gpu-peaks.csv")
    return _peaks(table.read_text(encoding="utf-8"), name="the product's own table")


def _peaks(text: str, *, name: str) -> dict[str, float]:
    peaks: dict[str, float] = {}
    lines: dict[str, int] = {}
    for line, row in _rows(text, name):
        product = normal(row[_PRODUCT])
        if not product:
            raise _wrong(name, line, _PRODUCT, "is empty; write the name that the driver gives")
        if product in peaks:
            raise _wrong(name, line, _PRODUCT, f"{row[_PRODUCT]!r} stands in line {lines[product]} already")
        peaks[product], lines[product] = _peak(row[_PEAK], name, line), line
    return peaks


def _rows(text: str, name: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row by column, with the number of its line."""
    reader = csv.reader(text.splitlines(), strict=True)
    try:
        columns = [column.strip() for column in next(reader, [])]
        _check_columns(columns, name)
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, _row(columns, cells, name, reader.line_num)
    except csv.Error as error:
        raise GpuPeaksError(f"{name}, line {reader.line_num}: not CSV: {error}") from error


def _check_columns(columns: list[str], name: str) -> None:
    for column in (_PRODUCT, _PEAK):
        if column not in columns:
            raise _wrong(name, 1, column, f"is missing; the first line must name it (it names {columns})")
    for index, column in enumerate(columns):
        if column not in _COLUMNS or column in columns[:index]:
            raise _wrong(name, 1, column, f"cannot be; there are {', '.join(_COLUMNS)}, each once")


def _row(columns: list[str], cells: list[str], name: str, line: int) -> dict[str, str]:
    if len(cells) > len(columns):
        raise GpuPeaksError(
            f"{name}, line {line}: {len(cells)} cells and only {len(columns)} columns; "
            "a name with a comma in it stands in double quotes"
        )
    row = dict.fromkeys(columns, "")
    row.update(zip(columns, cells, strict=False))
    return row


def _peak(text: str, name: str, line: int) -> float:
    try:
        peak = float(text)
    except ValueError:
        raise _wrong(name, line, _PEAK, f"{text!r} is not a number; write TFLOPS, like 312") from None
    if not math.isfinite(peak) or not 0 < peak <= _MOST_TFLOPS:
        raise _wrong(name, line, _PEAK, f"{text!r} cannot be; write TFLOPS above 0, like 312")
    return peak


def _wrong(name: str, line: int, column: str, problem: str) -> GpuPeaksError:
    return GpuPeaksError(f"{name}, line {line}, column {column!r}: {problem}")
