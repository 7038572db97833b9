"""Where percentiles fall in many histograms at once.

Summing up 176 buckets one after the other is what costs time, so it is done in two levels: sums of blocks of
buckets first, then the buckets of the one block that a percentile falls into. Running sums are products with
a triangle of ones, which is several times as fast as `cumsum` over short rows, and float64 as well.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from recommender.buckets import FloatArray, IndexArray

WeightArray = npt.NDArray[np.float32]

BLOCK: Final = 16
"""Buckets to a block; rows are padded to whole blocks."""


def percentile_buckets(
    weights: WeightArray, fractions: FloatArray, epsilon: float
) -> tuple[IndexArray, npt.NDArray[np.bool_]]:
    """Finds the first bucket whose cumulative weight reaches each fraction of its row's total.

    As in the Vertical Pod Autoscaler only buckets from the first to the last one of at least `epsilon` are
    looked at, while lighter ones before and after them still count in the total.

    Args:
        weights: Histograms, shape (n, width), width a multiple of BLOCK.
        fractions: Percentiles as fractions, shape (n, k).
        epsilon: Weight from which on a bucket counts.

    Returns:
        The buckets, shape (n, k), and whether a row has no bucket that counts, shape (n,).
    """
    counted = weights >= epsilon
    first = counted.argmax(axis=1)
    last = weights.shape[1] - 1 - counted[:, ::-1].argmax(axis=1)
    reached = _running(_block_sums(weights))
    thresholds = np.clip(fractions, 0, 1) * reached[:, -1:] + _faded(weights, first)[:, np.newaxis]
    found = np.empty(fractions.shape, dtype=np.intp)
    for column in range(fractions.shape[1]):
        found[:, column] = _find(weights, reached, thresholds[:, column])
    empty = np.logical_not(counted[np.arange(len(counted)), first])
    return np.clip(found, first[:, np.newaxis], last[:, np.newaxis]), empty


def _block_sums(weights: WeightArray) -> FloatArray:
    sums = weights.astype(np.float64).reshape(-1, BLOCK) @ np.ones(BLOCK)
    return np.asarray(sums.reshape(len(weights), -1))


def _running(amounts: FloatArray) -> FloatArray:
    """Cumulative sums along each row, same shape."""
    return np.asarray(amounts @ np.triu(np.ones((amounts.shape[1], amounts.shape[1]))))


def _find(weights: WeightArray, reached: FloatArray, threshold: FloatArray) -> IndexArray:
    """The first bucket of each row whose cumulative weight reaches the row's threshold, shape (n,)."""
    block = _first_reaching(reached, threshold)
    rows = np.arange(len(weights))
    before = np.where(block > 0, reached[rows, block - 1], 0.0)
    inside = weights.reshape(-1, BLOCK).take(rows * reached.shape[1] + block, axis=0)
    running = _running(inside.astype(np.float64)) + before[:, np.newaxis]
    return np.asarray(block * BLOCK + _first_reaching(running, threshold))


def _first_reaching(rising: FloatArray, threshold: FloatArray) -> IndexArray:
    # Rounding may leave the last sum just below a threshold that it should equal.
    attainable = np.minimum(threshold, rising[:, -1])
    return np.asarray((rising >= attainable[:, np.newaxis]).argmax(axis=1))


def _faded(weights: WeightArray, first: IndexArray) -> FloatArray:
    """Sum of the weights before the first bucket that counts, shape (n,).

    They are in the total, but the cumulative weight starts after them.
    """
    faded = np.zeros(len(weights), dtype=np.float64)
    rows = np.flatnonzero((weights > 0).argmax(axis=1) < first)
    before = np.arange(weights.shape[1]) < first[rows, np.newaxis]
    faded[rows] = np.where(before, weights[rows], 0).sum(axis=1, dtype=np.float64)
    return faded
