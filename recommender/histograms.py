"""All decaying histograms of one resource in one array.

The algorithm is the Vertical Pod Autoscaler's decaying histogram (kubernetes/autoscaler,
`pkg/recommender/util`): a sample's weight is multiplied by 2^((time - reference) / half_life), so that newer
samples outweigh older ones without touching what is there already. Instead of an object for each workload,
each with a reference time of its own, a bank holds a float32 row for each and one reference for all of them,
and takes samples for all of them at once.
"""

from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from recommender.buckets import Buckets, FloatArray, IndexArray
from recommender.percentiles import BLOCK, WeightArray, percentile_buckets
from recommender.vpa_checkpoint import Checkpoint, checkpoint_of, weights_of

_Scalar = TypeVar("_Scalar", bound=np.generic)

_CHUNK_ROWS: Final = 512
"""Rows worked on at a time, so that their copies stay in the processor's cache."""

_HEAVIEST: Final = 2.0**100
"""The largest decayed weight of a sample: 2^27 of them still fit into a float32."""

_NEGLIGIBLE: Final = 2.0**-64
"""Weights below this many epsilons are dropped when the reference moves. No float64 sum of a row that is not
empty feels them, and as denormal numbers they would slow down every sum."""


class HistogramBank:
    """The histograms of one resource, a row for each workload.

    Rows are given and taken by number. Using a row that was not handed out, a NaN, or a negative weight is a
    programming error and raises. Samples may come in any order. Percentiles are those of the Vertical Pod
    Autoscaler, but for ties between two buckets, which rounding may decide either way.

    Attributes:
        buckets: The division into buckets that all rows share.
        half_life: Seconds in which a sample loses half of its say.
        epsilon: Weight from which on a bucket counts for the smallest and largest bucket of a histogram.
    """

    def __init__(
        self,
        buckets: Buckets,
        *,
        half_life: float,
        reference: float,
        epsilon: float = 1e-4,
        capacity: int = 64,
    ) -> None:
        if not (half_life > 0 and np.isfinite(reference) and epsilon > 0 and capacity > 0):
            raise ValueError(
                f"{half_life=}, {epsilon=} and {capacity=} must be positive, {reference=} finite"
            )
        self.buckets = buckets
        self.half_life = half_life
        self.epsilon = epsilon
        self._reference = reference
        self._width = -(-buckets.count // BLOCK) * BLOCK
        self._weights: WeightArray = np.zeros((capacity, self._width), dtype=np.float32)
        self._live = np.zeros(capacity, dtype=np.bool_)
        self._ends = np.pad(buckets.ends, (0, self._width - buckets.count), mode="edge")
        self._free: list[int] = []
        self._used = 0

    @property
    def reference(self) -> float:
        """Time at which a sample has a decay factor of 1, epoch seconds."""
        return self._reference

    def __len__(self) -> int:
        """How many rows are handed out."""
        return self._used - len(self._free)

    def add_row(self) -> int:
        """Hands out an empty row."""
        row = self._free.pop() if self._free else self._next_row()
        self._live[row] = True
        return row

    def remove_row(self, row: int) -> None:
        """Empties a row and takes it back; its number will be handed out again."""
        self._require(row)
        self._weights[row] = 0
        self._live[row] = False
        self._free.append(row)

    def add(
        self, rows: npt.ArrayLike, values: npt.ArrayLike, weights: npt.ArrayLike, times: npt.ArrayLike
    ) -> None:
        """Adds samples; a row may occur many times.

        Args:
            rows: Row of each sample, shape (n,).
            values: Usage in the resource's unit, shape (n,).
            weights: Weight before decay, not negative, shape (n,) or a number for all.
            times: When, epoch seconds, shape (n,) or a number for all.

        Raises:
            ValueError: A value, weight or time that is NaN, a negative or far too large weight, or a
                time that is infinite.
            IndexError: A row that is not handed out.
        """
        cells, amounts = self._cells(rows, values, weights, times)
        np.add.at(self._flat(), cells, amounts)

    def subtract(
        self, rows: npt.ArrayLike, values: npt.ArrayLike, weights: npt.ArrayLike, times: npt.ArrayLike
    ) -> None:
        """Takes samples back that were added with the same arguments, which are those of `add`.

        What is left of a bucket below epsilon becomes 0. Far from the reference a rest may remain, within
        float32 precision of the row's total.
        """
        cells, amounts = self._cells(rows, values, weights, times)
        flat = self._flat()
        np.subtract.at(flat, cells, amounts)
        flat[cells[flat[cells] < self.epsilon]] = 0

    def percentiles(self, rows: npt.ArrayLike, p: npt.ArrayLike) -> FloatArray:
        """The ends of the buckets in which percentiles fall, without interpolation; 0 for an empty row.

        Args:
            rows: Rows, shape (n,).
            p: Percentiles as fractions, shape (k,) for all rows alike or (n, k). Below 0 acts as the smallest
                bucket that counts, above 1 as the largest.

        Returns:
            Values in the resource's unit, shape (n, k).
        """
        rows = self._require(rows)
        fractions = np.asarray(p, dtype=np.float64)
        fractions = np.broadcast_to(fractions, (len(rows), fractions.shape[-1]))
        answers = np.empty(fractions.shape, dtype=np.float64)
        for start in range(0, len(rows), _CHUNK_ROWS):
            part = slice(start, start + _CHUNK_ROWS)
            found, empty = percentile_buckets(self._weights[rows[part]], fractions[part], self.epsilon)
            answers[part] = np.where(empty[:, np.newaxis], 0.0, self._ends[found])
        return answers

    def is_empty(self, rows: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Whether no bucket of a row reaches epsilon, shape (n,)."""
        counted = self._weights[self._require(rows)] >= self.epsilon
        return np.asarray(np.logical_not(np.any(counted, axis=1)))

    def totals(self, rows: npt.ArrayLike) -> FloatArray:
        """Sum of the weights of each row at the reference time, shape (n,)."""
        return np.asarray(self._weights[self._require(rows)].sum(axis=1, dtype=np.float64))

    def move_reference(self, now: float) -> None:
        """Moves the reference by whole half-lives so that it lies at most one before `now`.

        To be called on every pass: it does nothing until a half-life is over. Rows are then scaled by an
        exact power of two, which changes no percentile of a row whose buckets stay above epsilon.
        """
        steps = np.floor((now - self._reference) / self.half_life)
        if not steps >= 1:
            return
        self._reference += float(steps) * self.half_life
        factor = np.float32(np.exp2(-steps))
        for start in range(0, self._used, _CHUNK_ROWS):
            chunk = self._weights[start : min(start + _CHUNK_ROWS, self._used)]
            chunk *= factor
            chunk[chunk < _NEGLIGIBLE * self.epsilon] = 0

    def merge(self, into: int, other: "HistogramBank", row: int) -> None:
        """Adds the histogram in `row` of another bank (or of this one) to the row `into`.

        Raises:
            ValueError: The banks differ in buckets or half-life.
        """
        if (other.buckets, other.half_life) != (self.buckets, self.half_life):
            raise ValueError("histograms of different buckets or half-lives cannot be merged")
        self._weights[into] += self._aligned(other.weights(row), other.reference)

    def weights(self, row: int) -> FloatArray:
        """A copy of the bucket weights of a row, at the reference time, shape (buckets.count,)."""
        self._require(row)
        return self._weights[row, : self.buckets.count].astype(np.float64)

    def export_row(self, row: int) -> Checkpoint:
        """One row in the Vertical Pod Autoscaler's form."""
        return checkpoint_of(self.weights(row), self._reference)

    def import_row(self, row: int, checkpoint: Checkpoint) -> None:
        """Replaces a row by what a checkpoint holds.

        Raises:
            ValueError: The checkpoint cannot be one of these buckets. The row is unchanged then.
        """
        self._require(row)
        weights = weights_of(checkpoint, self.buckets.count)
        self._weights[row] = self._aligned(weights, checkpoint.reference)

    def _aligned(self, weights: FloatArray, reference: float) -> WeightArray:
        """A row of this bank, shape (width,), from bucket weights that are relative to another reference."""
        self.move_reference(reference)
        amounts = self._decayed(weights, np.float64(reference))
        return np.pad(amounts, (0, self._width - len(amounts)))

    def _cells(
        self, rows: npt.ArrayLike, values: npt.ArrayLike, weights: npt.ArrayLike, times: npt.ArrayLike
    ) -> tuple[IndexArray, WeightArray]:
        rows = self._require(rows)
        cells = rows * self._width + self.buckets.find(np.asarray(values, dtype=np.float64))
        amounts = self._decayed(np.asarray(weights, dtype=np.float64), np.asarray(times, dtype=np.float64))
        return cells, np.broadcast_to(amounts, cells.shape)

    def _decayed(self, weights: FloatArray, times: FloatArray | np.float64) -> WeightArray:
        """Weights at the reference time, which moves when a sample so far ahead comes that they overflow."""
        amounts = self._at_reference(weights, times)
        if not _fits(amounts):
            if not (np.all(weights >= 0) and np.isfinite(weights).all() and np.isfinite(times).all()):
                raise ValueError("a sample's weight must be finite and not negative, and its time finite")
            self.move_reference(float(np.max(times)))
            amounts = self._at_reference(weights, times)
            if not _fits(amounts):
                raise ValueError(f"a sample's weight must be below {_HEAVIEST}")
        return amounts.astype(np.float32)

    def _at_reference(self, weights: FloatArray, times: FloatArray | np.float64) -> FloatArray:
        # Overflow, and 0 * infinity, are what _fits looks for.
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(weights * np.exp2((times - self._reference) / self.half_life))

    def _require(self, rows: npt.ArrayLike) -> IndexArray:
        rows = np.asarray(rows, dtype=np.intp)
        if not self._live[rows].all():
            raise IndexError("a row that is not handed out, or was taken back, holds no histogram")
        return rows

    def _flat(self) -> WeightArray:
        return self._weights.reshape(-1)

    def _next_row(self) -> int:
        capacity = len(self._weights)
        if self._used == capacity:
            # Pages of zeros take no memory until they are written to, so doubling costs only the copy.
            self._weights = _enlarged(self._weights, 2 * capacity)
            self._live = _enlarged(self._live, 2 * capacity)
        self._used += 1
        return self._used - 1


def _enlarged(array: npt.NDArray[_Scalar], capacity: int) -> npt.NDArray[_Scalar]:
    larger = np.zeros((capacity, *array.shape[1:]), dtype=array.dtype)
    larger[: len(array)] = array
    return larger


def _fits(amounts: FloatArray) -> bool:
    return amounts.size == 0 or bool(amounts.min() >= 0 and amounts.max() <= _HEAVIEST)
