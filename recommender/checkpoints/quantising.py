"""Histograms in fewer bits, without moving a percentile. Pure.

A float32 row of 176 buckets is mostly zeros, and its weights differ by orders of magnitude while a percentile
depends on nothing but their running sum. So it is the running sum that is rounded, to whole units of the
row's total, and a bucket gets what its two ends differ by: errors do not add up along a row.

The unit is the power of two for which the total takes 24 bits, so one unit is between 2^-24 and 2^-23 of the
total: float32's own precision of it. What is guaranteed of each row:

- Each running sum, the total included, is off by at most half a unit (and a thousandth); where buckets lie
  within a unit of epsilon, by at most one unit more for each of those.
- So a percentile is another one only if the fraction asked for lies that close to the end of a bucket: a tie,
  as far as float32 can tell.
- A bucket counts (its weight is at least epsilon) afterwards if and only if it did before. So empty rows stay
  empty, and the first and last bucket that count stay the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from recommender.bank.buckets import FloatArray, IndexArray
from recommender.bank.percentiles import WeightArray

BITS: Final = 24
"""A row's total is between 2^(BITS - 1) and 2^BITS units."""

_EPSILON: Final = np.float32(1e-4)
"""Weight from which on a bucket counts, in the precision in which it is compared (see `HistogramBank`)."""

_HEAVIEST: Final = np.finfo(np.float32).max
_LARGEST_EXPONENT: Final = 200
"""Beyond that of any sum of float32 numbers."""

_BLOCK_ROWS: Final = 8192
"""Rows worked on at a time: bounds the memory, and keeps the running sum over all of them exact enough."""


_Amounts = TypeVar("_Amounts", FloatArray, IndexArray)


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """Histograms of n rows, k buckets of which have weight.

    Attributes:
        exponents: A row's unit is 2^(exponent - BITS), shape (n,).
        counts: How many buckets of a row have weight, shape (n,).
        gaps: Distance of each such bucket from the one before it in its row; of the first its number, (k,).
        units: Its weight in units, shape (k,).
    """

    exponents: npt.NDArray[np.int16]
    counts: npt.NDArray[np.uint16]
    gaps: npt.NDArray[np.uint16]
    units: npt.NDArray[np.uint32]


def quantised(weights: WeightArray) -> Units:
    """Rounds histograms of finite weights that are not negative, shape (n, count)."""
    blocks = [_quantised(weights[rows]) for rows in _blocks(len(weights))] or [_quantised(weights)]
    return Units(
        exponents=np.concatenate([block.exponents for block in blocks]),
        counts=np.concatenate([block.counts for block in blocks]),
        gaps=np.concatenate([block.gaps for block in blocks]),
        units=np.concatenate([block.units for block in blocks]),
    )


def restored(units: Units, count: int) -> WeightArray:
    """The histograms, shape (n, count), exactly as rounded.

    Raises:
        ValueError: They cannot be ones of `count` buckets.
    """
    _require_valid(units)
    weights = np.zeros((len(units.counts), count), dtype=np.float32)
    ends = np.cumsum(units.counts, dtype=np.intp)
    for rows in _blocks(len(weights)):
        cells = slice(int(ends[rows.start] - units.counts[rows.start]), int(ends[rows.stop - 1]))
        _restore(
            weights[rows], units.exponents[rows], units.counts[rows], units.gaps[cells], units.units[cells]
        )
    return weights


def _blocks(rows: int) -> Iterator[slice]:
    return (slice(start, min(start + _BLOCK_ROWS, rows)) for start in range(0, rows, _BLOCK_ROWS))


def _quantised(weights: WeightArray) -> Units:
    cells = np.flatnonzero(weights)
    rows, buckets = np.divmod(cells, weights.shape[1])
    amounts = weights.reshape(-1)[cells].astype(np.float64)
    exponents = np.frexp(np.bincount(rows, amounts, minlength=len(weights)))[1]
    shifts = BITS - exponents
    units = _within_rows(np.rint(_running(np.ldexp(amounts, shifts[rows]), rows)), rows)
    # The fewest units with which a bucket counts; exact, for a unit is a power of two.
    fewest = np.ceil(np.ldexp(np.float64(_EPSILON), shifts))[rows]
    units = np.where(amounts >= _EPSILON, np.maximum(units, fewest), np.minimum(units, fewest - 1))
    kept = units > 0
    return Units(
        exponents=exponents.astype(np.int16),
        counts=np.bincount(rows[kept], minlength=len(weights)).astype(np.uint16),
        gaps=_within_rows(buckets[kept], rows[kept]).astype(np.uint16),
        units=units[kept].astype(np.uint32),
    )


def _restore(
    weights: WeightArray,
    exponents: npt.NDArray[np.int16],
    counts: npt.NDArray[np.uint16],
    gaps: npt.NDArray[np.uint16],
    units: npt.NDArray[np.uint32],
) -> None:
    rows = np.repeat(np.arange(len(weights)), counts)
    buckets = _running(gaps.astype(np.intp), rows)
    if len(buckets) and buckets.max() >= weights.shape[1]:
        raise ValueError(f"bucket {buckets.max()} is beyond the last one")
    shifts = exponents.astype(np.int32) - BITS
    # Of a row near float32's end, the rounded weight of a bucket may be just beyond it.
    weights[rows, buckets] = np.minimum(np.ldexp(units.astype(np.float64), shifts[rows]), _HEAVIEST)


def _running(amounts: _Amounts, rows: IndexArray) -> _Amounts:
    """Running sums, from 0 on in each row; `rows` rises."""
    reached = np.concatenate([np.zeros(1, amounts.dtype), np.cumsum(amounts)])
    first = _first_of_rows(rows)
    before = np.repeat(reached[first], np.diff(first, append=len(rows)))
    return np.asarray(reached[1:] - before, amounts.dtype)


def _within_rows(values: _Amounts, rows: IndexArray) -> _Amounts:
    """What each value adds to the one before it in its row: undoes `_running`."""
    first = _first_of_rows(rows)
    differences = np.diff(values, prepend=0)
    differences[first] = values[first]
    return differences.astype(values.dtype)


def _first_of_rows(rows: IndexArray) -> IndexArray:
    return np.flatnonzero(np.diff(rows, prepend=-1))


def _require_valid(units: Units) -> None:
    occupied = int(units.counts.sum(dtype=np.intp))
    if not occupied == len(units.gaps) == len(units.units) or len(units.exponents) != len(units.counts):
        raise ValueError(f"{occupied} buckets have {len(units.gaps)} places and {len(units.units)} weights")
    if len(units.exponents) and np.abs(units.exponents).max() > _LARGEST_EXPONENT:
        raise ValueError("a row's total is out of all bounds")
