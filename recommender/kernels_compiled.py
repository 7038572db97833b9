"""The bank's loops in plain Python, compiled by numba when they are set up.

Importing this module needs numba. Nothing is cached on disk, so that a read-only file system does. The loops
release the interpreter's lock: an event loop in another thread goes on meanwhile.
"""

from collections.abc import Callable
from typing import Final, Literal

import numba
import numpy as np
from numba import types
from numba.extending import register_jitable

from recommender.buckets import FloatArray, IndexArray
from recommender.percentiles import BLOCK, WeightArray


def _input(scalar: types.Type, dimensions: int, layout: Literal["A", "C"] = "A") -> types.Type:
    """The type of an array that is only read; with layout A of any strides."""
    return types.Array(scalar, dimensions, layout, readonly=True)


_ADD: Final = types.void(types.float32[::1], _input(types.intp, 1), _input(types.float32, 1))
_PERCENTILES: Final = types.void(
    _input(types.float32, 2, "C"),
    _input(types.intp, 1),
    _input(types.float64, 2),
    _input(types.float64, 1, "C"),
    types.float32,
    types.float64[:, ::1],
)


class CompiledKernels:
    """Compiled loops; making one takes about a second."""

    name: Final = f"numba {numba.__version__}"

    def __init__(self) -> None:
        compiled = numba.njit(_ADD, nogil=True, cache=False)
        self._add: Callable[..., None] = compiled(add_loop)
        compiled = numba.njit(_PERCENTILES, nogil=True, cache=False)
        self._percentiles: Callable[..., None] = compiled(percentiles_loop)

    def add(self, weights: WeightArray, cells: IndexArray, amounts: WeightArray) -> None:
        """See Kernels."""
        self._add(weights, cells, amounts)

    def percentiles(
        self, weights: WeightArray, rows: IndexArray, fractions: FloatArray, ends: FloatArray, epsilon: float
    ) -> FloatArray:
        """See Kernels."""
        answers = np.empty(fractions.shape, dtype=np.float64)
        # As numpy does: a weight is compared with the float32 that is nearest to epsilon.
        self._percentiles(weights, rows, fractions, ends, np.float32(epsilon), answers)
        return answers


def add_loop(weights: WeightArray, cells: IndexArray, amounts: WeightArray) -> None:
    """See Kernels.add."""
    for sample in range(len(cells)):
        weights[cells[sample]] += amounts[sample]


def percentiles_loop(
    weights: WeightArray,
    rows: IndexArray,
    fractions: FloatArray,
    ends: FloatArray,
    epsilon: np.float32,
    answers: FloatArray,
) -> None:
    """See Kernels.percentiles, and percentiles.percentile_buckets, whose answers these are."""
    reached = np.empty(weights.shape[1] // BLOCK, dtype=np.float64)
    for asked in range(len(rows)):
        row = weights[rows[asked]]
        first_block, last_block = sum_blocks(row, epsilon, reached)
        if first_block < 0:
            answers[asked] = 0.0
            continue
        first = first_block * BLOCK
        faded = reached[first_block - 1] if first_block > 0 else 0.0
        while row[first] < epsilon:
            faded += row[first]
            first += 1
        last = last_block * BLOCK + BLOCK - 1
        while row[last] < epsilon:
            last -= 1
        for column in range(fractions.shape[1]):
            fraction = min(max(fractions[asked, column], 0.0), 1.0)
            found = first_reaching(row, reached, fraction * reached[-1] + faded)
            answers[asked, column] = ends[min(max(found, first), last)]


@register_jitable
def sum_blocks(row: WeightArray, epsilon: np.float32, reached: FloatArray) -> tuple[int, int]:
    """Writes the running sum at the end of each block into `reached`.

    Returns:
        The first and the last block with a bucket of at least epsilon, -1 where there is none.
    """
    total = 0.0
    first, last = -1, -1
    for block in range(len(reached)):
        buckets = row[block * BLOCK : block * BLOCK + BLOCK]
        # Two loops, for the compiler makes vector instructions of the second one.
        for bucket in range(BLOCK):
            total += buckets[bucket]
        counts = False
        for bucket in range(BLOCK):
            counts |= buckets[bucket] >= epsilon
        reached[block] = total
        if counts:
            first = block if first < 0 else first
            last = block
    return first, last


@register_jitable
def first_reaching(row: WeightArray, reached: FloatArray, threshold: float) -> int:
    """The first bucket whose cumulative weight reaches the threshold, or the row's total if that is less."""
    attainable = min(threshold, reached[-1])
    block = 0
    while reached[block] < attainable:
        block += 1
    bucket = block * BLOCK
    running = (reached[block - 1] if block > 0 else 0.0) + row[bucket]
    while running < attainable and bucket < block * BLOCK + BLOCK - 1:
        bucket += 1
        running += row[bucket]
    return bucket
