"""The loops of a bank that cost time, and who runs them: numpy, or compiled code.

Both give the same answers, but that they add up in another order: where the weights of a row span more than
2^60, the smallest are lost in a float64 sum, and a percentile of 1 (or beyond) may be another of the buckets
that nearly nothing is in. Compiled code is several times as fast at percentiles, and takes numba (the extra
`compiled`), about a second to compile at start, and the memory of a compiler.
"""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from recommender.bank.buckets import Buckets, FloatArray, IndexArray
from recommender.bank.percentiles import WeightArray, percentile_buckets

CHUNK_ROWS: Final = 512
"""Rows that numpy works on at a time, so that their copies stay in the processor's cache."""


CHUNK_SAMPLES: Final = 8192
"""Samples that numpy works on at a time, for the same reason."""


Placed = tuple[IndexArray, WeightArray]


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples of n times, checked.

    Attributes:
        rows: Row of each, shape (n,).
        values: Usage, no NaN, shape (n,).
        weights: Weight before decay, shape (n,).
        times: When, epoch seconds, shape (n,).
    """

    rows: IndexArray
    values: FloatArray
    weights: FloatArray
    times: FloatArray


@dataclass(frozen=True, slots=True)
class Decay:
    """How much a weight counts: the more the later, doubled with each half-life.

    Attributes:
        reference: Time at which it counts as it is, epoch seconds.
        half_life: Seconds.
    """

    reference: float
    half_life: float

    def weights(self, weights: FloatArray, times: FloatArray | np.float64) -> WeightArray:
        """Weights at the reference, in the shape of the two."""
        return np.asarray(weights * np.exp2((times - self.reference) / self.half_life), dtype=np.float32)


class Kernels(Protocol):
    """Runs the loops. What it gets is valid: rows exist, and weights are finite and not negative."""

    @property
    def name(self) -> str:
        """What runs them, for the log."""

    def place(self, samples: Samples, decay: Decay, buckets: Buckets, width: int) -> Placed:
        """Where samples belong and how much they weigh there.

        Args:
            samples: The samples.
            decay: How weights depend on time.
            buckets: The division of a row.
            width: Cells in a row.

        Returns:
            The cell of each sample in the flat array of all rows, and its weight, both of shape (n,).
        """

    def add(self, weights: WeightArray, cells: IndexArray, amounts: WeightArray) -> None:
        """Adds amounts to weights in place; a cell may occur many times.

        Args:
            weights: Bucket weights of all rows, shape (cells,).
            cells: Where to, shape (n,).
            amounts: How much, shape (n,).
        """

    def percentiles(
        self, weights: WeightArray, rows: IndexArray, fractions: FloatArray, ends: FloatArray, epsilon: float
    ) -> FloatArray:
        """The ends of the buckets in which percentiles fall, 0 for an empty row.

        Args:
            weights: All histograms, shape (rows, width), width a multiple of percentiles.BLOCK.
            rows: Which of them, shape (n,).
            fractions: Percentiles as fractions, shape (n, k).
            ends: What each bucket answers, shape (width,).
            epsilon: Weight from which on a bucket counts.

        Returns:
            Values, shape (n, k).
        """


class NumpyKernels:
    """Numpy alone: nothing to install and nothing to compile."""

    @property
    def name(self) -> str:
        """See Kernels."""
        return "numpy"

    def place(self, samples: Samples, decay: Decay, buckets: Buckets, width: int) -> Placed:
        """See Kernels."""
        count = len(samples.rows)
        cells, amounts = np.empty(count, dtype=np.intp), np.empty(count, dtype=np.float32)
        for start in range(0, count, CHUNK_SAMPLES):
            part = slice(start, start + CHUNK_SAMPLES)
            cells[part] = samples.rows[part] * width + buckets.find(samples.values[part])
            amounts[part] = decay.weights(samples.weights[part], samples.times[part])
        return cells, amounts

    def add(self, weights: WeightArray, cells: IndexArray, amounts: WeightArray) -> None:
        """See Kernels."""
        np.add.at(weights, cells, amounts)

    def percentiles(
        self, weights: WeightArray, rows: IndexArray, fractions: FloatArray, ends: FloatArray, epsilon: float
    ) -> FloatArray:
        """See Kernels."""
        answers = np.empty(fractions.shape, dtype=np.float64)
        for start in range(0, len(rows), CHUNK_ROWS):
            part = slice(start, start + CHUNK_ROWS)
            found, empty = percentile_buckets(weights[rows[part]], fractions[part], epsilon)
            answers[part] = np.where(empty[:, np.newaxis], 0.0, ends[found])
        return answers


def best_kernels() -> Kernels:
    """The fastest kernels that this installation has, compiled; about a second of work with numba."""
    try:
        from recommender.bank.kernels_compiled import CompiledKernels  # noqa: PLC0415 - numba is optional
    except ImportError:
        return NumpyKernels()
    return CompiledKernels()
