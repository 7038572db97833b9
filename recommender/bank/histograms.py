"""All decaying histograms of one resource in one array.

The algorithm is the Vertical Pod Autoscaler's decaying histogram (kubernetes/autoscaler,
`pkg/recommender/util`): a sample's weight is multiplied by 2^((time - reference) / half_life), so that newer
samples outweigh older ones without touching what is there already. Instead of an object for each workload,
each with a reference time of its own, a bank holds a float32 row for each and one reference for all of them,
and takes samples for all of them at once.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from recommender.bank.buckets import Buckets, FloatArray, IndexArray, refuse_nan
from recommender.bank.kernels import CHUNK_ROWS, Decay, Kernels, NumpyKernels, Placed, Samples
from recommender.bank.percentiles import BLOCK, BoolArray, WeightArray
from recommender.bank.rows import Rows
from recommender.bank.vpa_checkpoint import Checkpoint, checkpoint_of, weights_of

_HEAVIEST: Final = 2.0**50
"""The largest weight of a sample before decay."""

_FARTHEST: Final = 50.0
"""Half-lives that a sample may lie ahead of the reference. The heaviest then weighs 2^100."""

_FULLEST: Final = 2.0**126
"""The largest weight of a bucket that is taken over: a float32 also holds it twice."""

_NEGLIGIBLE: Final = 2.0**-64
"""Weights below this many epsilons are dropped when the reference moves. No float64 sum of a row that is not
empty feels them, and as denormal numbers they would slow down every sum."""


class HistogramBank:
    """The histograms of one resource, a row for each workload.

    Rows are given and taken by number. Using a row that was not handed out, a NaN, or a negative weight is a
    programming error and raises. Samples may come in any order. Percentiles are those of the Vertical Pod
    Autoscaler, but for ties between two buckets, which rounding may decide either way.

    Args:
        buckets: The division into buckets that all rows share.
        half_life: Seconds in which a sample loses half of its say.
        reference: Time at which a sample counts by its weight at first, epoch seconds.
        epsilon: Weight from which on a bucket counts for the smallest and largest bucket of a histogram.
        capacity: For how many rows there is room at first; it grows without a pause.
        kernels: Runs the loops; `kernels.best_kernels` gives the fastest ones.

    Attributes:
        buckets: As above.
        half_life: As above.
        epsilon: As above.
    """

    def __init__(
        self,
        buckets: Buckets,
        *,
        half_life: float,
        reference: float,
        epsilon: float = 1e-4,
        capacity: int = 64,
        kernels: Kernels | None = None,
    ) -> None:
        if not (half_life > 0 and np.isfinite(reference) and epsilon > 0 and capacity > 0):
            raise ValueError(
                f"{half_life=}, {epsilon=} and {capacity=} must be positive, {reference=} finite"
            )
        self.buckets = buckets
        self.half_life = half_life
        self.epsilon = epsilon
        self._kernels = kernels or NumpyKernels()
        self._decay = Decay(reference, half_life)
        self._width = -(-buckets.count // BLOCK) * BLOCK
        self._rows = Rows(capacity, self._width)
        self._ends = np.pad(buckets.ends, (0, self._width - buckets.count), mode="edge")

    @property
    def reference(self) -> float:
        """Time at which a sample has a decay factor of 1, epoch seconds."""
        return self._decay.reference

    def __len__(self) -> int:
        """How many rows are handed out."""
        return len(self._rows)

    def add_row(self) -> int:
        """Hands out an empty row; the one that was taken back last, if any, else the next number."""
        return self._rows.take()

    def remove_row(self, row: int) -> None:
        """Empties a row and takes it back; its number will be handed out again."""
        self._rows.give_back(row)

    def require_rows(self, rows: npt.ArrayLike) -> IndexArray:
        """The row numbers as an array, shape (n,).

        Raises:
            IndexError: One of them is not handed out.
        """
        return self._rows.require(rows)

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
        self._kernels.add(self._flat(), cells, amounts)

    def subtract(
        self, rows: npt.ArrayLike, values: npt.ArrayLike, weights: npt.ArrayLike, times: npt.ArrayLike
    ) -> None:
        """Takes samples back that were added with the same arguments, which are those of `add`.

        What is left of a bucket below epsilon becomes 0. Far from the reference a rest may remain, within
        float32 precision of the row's total.
        """
        cells, amounts = self._cells(rows, values, weights, times)
        flat = self._flat()
        self._kernels.add(flat, cells, -amounts)
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
        rows = self._rows.require(rows)
        fractions = np.asarray(p, dtype=np.float64)
        fractions = np.broadcast_to(fractions, (len(rows), fractions.shape[-1]))
        return self._kernels.percentiles(self._rows.array, rows, fractions, self._ends, self.epsilon)

    def is_empty(self, rows: npt.ArrayLike) -> BoolArray:
        """Whether no bucket of a row reaches epsilon, shape (n,)."""
        rows = self._rows.require(rows)
        counts = np.empty(rows.shape, dtype=np.bool_)
        for part in _parts(len(rows)):
            (self._rows.array[rows[part]] >= self.epsilon).any(axis=1, out=counts[part])
        return np.logical_not(counts)

    def totals(self, rows: npt.ArrayLike) -> FloatArray:
        """Sum of the weights of each row at the reference time, shape (n,)."""
        return np.asarray(self._rows.array[self._rows.require(rows)].sum(axis=1, dtype=np.float64))

    def move_reference(self, now: float) -> None:
        """Moves the reference by whole half-lives so that it lies at most one before `now`.

        To be called on every pass: it does nothing until a half-life is over. Rows are then scaled by an
        exact power of two, which changes no percentile of a row whose buckets stay above epsilon.
        """
        steps = np.floor((now - self.reference) / self.half_life)
        if not steps >= 1:
            return
        self._decay = Decay(self.reference + float(steps) * self.half_life, self.half_life)
        factor = np.float32(np.exp2(-steps))
        used = self._rows.used
        for part in _parts(len(used)):
            chunk = used[part]
            chunk *= factor
            chunk *= chunk >= _NEGLIGIBLE * self.epsilon

    def merge(self, into: int, other: "HistogramBank", row: int) -> None:
        """Adds the histogram in `row` of another bank (or of this one) to the row `into`.

        Raises:
            ValueError: The banks differ in buckets or half-life.
        """
        if (other.buckets, other.half_life) != (self.buckets, self.half_life):
            raise ValueError("histograms of different buckets or half-lives cannot be merged")
        (into,) = self._rows.require([into])
        aligned = self._aligned(other.weights(row), other.reference)
        self._rows.array[into, : self.buckets.count] += aligned

    def weights(self, row: int) -> FloatArray:
        """A copy of the bucket weights of a row, at the reference time, shape (buckets.count,)."""
        return np.asarray(self.rows_weights([row])[0], dtype=np.float64)

    def rows_weights(self, rows: npt.ArrayLike) -> WeightArray:
        """A copy of the bucket weights of rows, at the reference time, shape (n, buckets.count)."""
        return np.asarray(self._rows.array[self._rows.require(rows), : self.buckets.count])

    def load_rows(self, rows: npt.ArrayLike, weights: npt.ArrayLike, reference: float) -> None:
        """Replaces rows by what `rows_weights` gave.

        A reference that is newer than the bank's moves the bank's, one that is older scales the weights.

        Args:
            rows: Which, shape (n,).
            weights: Bucket weights, shape (n, buckets.count).
            reference: Time to which these are relative, epoch seconds.

        Raises:
            ValueError: Weights of another shape; one that is NaN, negative or far too large; a reference that
                is not finite. Nothing has changed then.
            IndexError: A row that is not handed out.
        """
        rows, weights = self._rows.require(rows), np.asarray(weights)
        if weights.shape != (len(rows), self.buckets.count):
            raise ValueError(
                f"weights of {len(rows)} rows must have the shape {(len(rows), self.buckets.count)}, "
                f"not {weights.shape}"
            )
        _refuse_unfit(weights, reference)
        for part in _parts(len(rows)):
            self._rows.array[rows[part], : self.buckets.count] = self._aligned(weights[part], reference)

    def export_row(self, row: int) -> Checkpoint:
        """One row in the Vertical Pod Autoscaler's form."""
        return checkpoint_of(self.weights(row), self.reference)

    def import_row(self, row: int, checkpoint: Checkpoint) -> None:
        """Replaces a row by what a checkpoint holds.

        Raises:
            ValueError: The checkpoint cannot be one of these buckets. The row is unchanged then.
        """
        (row,) = self._rows.require([row])
        weights = weights_of(checkpoint, self.buckets.count)
        self._rows.array[row, : self.buckets.count] = self._aligned(weights, checkpoint.reference)

    def _aligned(self, weights: npt.NDArray[np.floating], reference: float) -> WeightArray:
        """Bucket weights of one row or of many at the bank's reference, which may move; same shape."""
        _refuse_unfit(weights, reference)
        self.move_reference(reference)
        amounts = self._decay.weights(weights.astype(np.float64), np.float64(reference))
        amounts[amounts < _NEGLIGIBLE * self.epsilon] = 0
        return amounts

    def _cells(
        self, rows: npt.ArrayLike, values: npt.ArrayLike, weights: npt.ArrayLike, times: npt.ArrayLike
    ) -> Placed:
        """Where in the bank samples belong and how much they weigh there, both of shape (n,)."""
        rows, values = self._rows.require(rows), np.asarray(values, dtype=np.float64)
        weights = np.broadcast_to(np.asarray(weights, dtype=np.float64), rows.shape)
        times = np.broadcast_to(np.asarray(times, dtype=np.float64), rows.shape)
        if values.shape != rows.shape:
            raise ValueError(f"{len(rows)} rows need as many values, not {values.size}")
        if rows.size:
            refuse_nan(values)
            self._move_for(weights, times)
        samples = Samples(rows, values, weights, times)
        return self._kernels.place(samples, self._decay, self.buckets, self._width)

    def _move_for(self, weights: FloatArray, times: FloatArray) -> None:
        """Moves the reference where a sample lies so far ahead of it that its weight would overflow."""
        heaviest, latest = weights.max(), times.max()
        if not (weights.min() >= 0 and heaviest <= _HEAVIEST and np.isfinite([times.min(), latest]).all()):
            raise ValueError(f"a sample's weight must be from 0 to {_HEAVIEST}, and its time finite")
        if (latest - self.reference) / self.half_life > _FARTHEST:
            self.move_reference(float(latest))

    def _flat(self) -> WeightArray:
        return self._rows.array.reshape(-1)


def _parts(count: int) -> Iterator[slice]:
    """So many rows in chunks."""
    return (slice(start, start + CHUNK_ROWS) for start in range(0, count, CHUNK_ROWS))


def _refuse_unfit(weights: npt.NDArray[np.floating], reference: float) -> None:
    fits = weights.size == 0 or (weights.min() >= 0 and weights.max() <= _FULLEST)
    if not (fits and np.isfinite(reference)):
        raise ValueError(
            f"weights to load must be from 0 to {_FULLEST} and their reference finite, not {reference}"
        )
