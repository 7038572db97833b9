"""The bank's loops in plain Python, compiled by numba when they are set up.

Importing this module needs numba. Nothing is cached on disk, so that a read-only file system does. The loops
release the interpreter's lock: an event loop in another thread goes on meanwhile.
"""

import math
from collections.abc import Callable
from typing import Final, Literal

import numba
import numpy as np
from numba import types
from numba.extending import register_jitable

from recommender.bank.buckets import Buckets, ExponentialBuckets, FloatArray, IndexArray
from recommender.bank.kernels import Decay, NumpyKernels, Placed, Samples
from recommender.bank.percentiles import BLOCK, WeightArray


def _input(scalar: types.Type, dimensions: int, layout: Literal["A", "C"] = "A") -> types.Type:
    """The type of an array that is only read; with layout A of any strides."""
    return types.Array(scalar, dimensions, layout, readonly=True)


_PLACE: Final = types.void(
    *[_input(types.intp, 1), *[_input(types.float64, 1)] * 3],
    *[types.float64, types.float64, types.float64, types.float64],
    _input(types.float64, 1, "C"),
    types.intp,
    types.intp[::1],
    types.float32[::1],
)
_ADD: Final = types.void(types.float32[::1], _input(types.intp, 1), _input(types.float32, 1))
_PERCENTILES: Final = types.void(
    _input(types.float32, 2, "C"),
    _input(types.intp, 1),
    _input(types.float64, 2),
    _input(types.float64, 1, "C"),
    types.float32,
    types.float64[:, ::1],
)


class CompiledKernels(NumpyKernels):
    """Compiled loops; making one takes about a second. Buckets that are not exponential are numpy's."""

    def __init__(self) -> None:
        compiled = numba.njit(_PLACE, nogil=True, cache=False)
        self._place: Callable[..., None] = compiled(place_loop)
        compiled = numba.njit(_ADD, nogil=True, cache=False)
        self._add: Callable[..., None] = compiled(add_loop)
        compiled = numba.njit(_PERCENTILES, nogil=True, cache=False)
        self._percentiles: Callable[..., None] = compiled(percentiles_loop)

    @property
    def name(self) -> str:
        """See Kernels."""
        return f"numba {numba.__version__}"

    def place(self, samples: Samples, decay: Decay, buckets: Buckets, width: int) -> Placed:
        """See Kernels."""
        if not isinstance(buckets, ExponentialBuckets):
            return super().place(samples, decay, buckets, width)
        count = len(samples.rows)
        cells, amounts = np.empty(count, dtype=np.intp), np.empty(count, dtype=np.float32)
        self._place(
            samples.rows,
            samples.values,
            samples.weights,
            samples.times,
            decay.reference,
            decay.half_life,
            (buckets.ratio - 1) / buckets.first,
            1 / math.log2(buckets.ratio),
            buckets.bounds,
            width,
            cells,
            amounts,
        )
        return cells, amounts

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


def place_loop(  # noqa: PLR0913, PLR0917 - compiled code takes plain numbers and arrays
    rows: IndexArray,
    values: FloatArray,
    weights: FloatArray,
    times: FloatArray,
    reference: float,
    half_life: float,
    scale: float,
    buckets_per_doubling: float,
    bounds: FloatArray,
    width: int,
    cells: IndexArray,
    amounts: WeightArray,
) -> None:
    """See Kernels.place. Buckets are those of ExponentialBuckets.find, to the last bit.

    Args:
        rows: As in Samples, like the next three.
        values: As above.
        weights: As above.
        times: As above.
        reference: As in Decay, like the next one.
        half_life: As above.
        scale: (ratio - 1) / first of the buckets.
        buckets_per_doubling: How many buckets further twice the value is, far from zero.
        bounds: The buckets' bounds.
        width: Cells in a row.
        cells: Takes the cell of each sample.
        amounts: Takes the weight of each sample.
    """
    last = len(bounds) - 1
    for sample in range(len(rows)):
        value = values[sample]
        bucket = 0
        if value >= bounds[1]:
            # The fastest logarithm may round otherwise than that of `find`: a step up or down puts it right.
            bucket = last
            if value < bounds[last]:
                bucket = min(int(np.log2(value * scale + 1.0) * buckets_per_doubling), last - 1)
                while value >= bounds[bucket + 1]:
                    bucket += 1
                while value < bounds[bucket]:
                    bucket -= 1
        cells[sample] = rows[sample] * width + bucket
        amounts[sample] = weights[sample] * np.exp2((times[sample] - reference) / half_life)


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
    """See Kernels.percentiles, and percentiles.percentile_buckets, whose answers these are.

    Most of the time goes into guesses of the processor that turn out wrong, so that sums are taken of all
    blocks, and comparisons counted, instead of leaving a loop early.
    """
    reached = np.empty(weights.shape[1] // BLOCK, dtype=np.float64)
    for asked in range(len(rows)):
        row = weights[rows[asked]]
        sum_blocks(row, reached)
        first, faded = first_counting(row, reached, epsilon)
        if first == len(row):
            answers[asked] = 0.0
            continue
        for column in range(fractions.shape[1]):
            fraction = min(max(fractions[asked, column], 0.0), 1.0)
            found = max(first_reaching(row, reached, fraction * reached[-1] + faded), first)
            if row[found] < epsilon:
                found = min(found, last_counting(row, epsilon))
            answers[asked, column] = ends[found]


@register_jitable
def sum_blocks(row: WeightArray, reached: FloatArray) -> None:
    """Writes the running sum at the end of each block into `reached`."""
    total = 0.0
    for block in range(len(reached)):
        buckets = row[block * BLOCK : block * BLOCK + BLOCK]
        weight = 0.0
        for bucket in range(BLOCK):
            weight += buckets[bucket]
        total += weight
        reached[block] = total


@register_jitable
def first_counting(row: WeightArray, reached: FloatArray, epsilon: np.float32) -> tuple[int, float]:
    """The first bucket of at least epsilon, the row's length without one, and the sum of those before it."""
    block = 0
    while block < len(reached) and reached[block] == 0.0:
        block += 1
    first, faded = block * BLOCK, 0.0
    while first < len(row) and row[first] < epsilon:
        faded += row[first]
        first += 1
    return first, faded


@register_jitable
def last_counting(row: WeightArray, epsilon: np.float32) -> int:
    """The last bucket of at least epsilon, in a row that has one."""
    last = len(row) - 1
    while row[last] < epsilon:
        last -= 1
    return last


@register_jitable
def first_reaching(row: WeightArray, reached: FloatArray, threshold: float) -> int:
    """The first bucket whose cumulative weight reaches the threshold, or the row's total if that is less."""
    attainable = min(threshold, reached[-1])
    block = 0
    for earlier in range(len(reached)):
        block += reached[earlier] < attainable
    running = reached[block - 1] if block > 0 else 0.0
    buckets = row[block * BLOCK : block * BLOCK + BLOCK]
    bucket = 0
    # Not the last one: it is what remains when no other reaches it, whatever rounding says.
    for earlier in range(BLOCK - 1):
        running += buckets[earlier]
        bucket += running < attainable
    return block * BLOCK + bucket
