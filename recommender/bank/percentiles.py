"""Where percentiles fall in many histograms at once, with numpy alone.

Summing up 176 buckets one after the other is what costs time, so it is done in two levels: sums of blocks of
buckets first, then the buckets of the one block that a percentile falls into. Running sums are products with
a triangle of ones, which is several times as fast as `cumsum` over short rows, and float64 as well.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from recommender.bank.buckets import FloatArray, IndexArray

WeightArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

BLOCK: Final = 16
"""Buckets to a block; rows are padded to whole blocks."""

_EARLIER: Final = np.tril(np.ones((BLOCK, BLOCK)), -1)
"""Row b picks the buckets of a block that come before its bucket b."""


def percentile_buckets(
    weights: WeightArray, fractions: FloatArray, epsilon: float
) -> tuple[IndexArray, BoolArray]:
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
    reached = _running(_block_sums(weights))
    thresholds = np.clip(fractions, 0, 1) * reached[:, -1:] + _faded(weights, reached, first)[:, np.newaxis]
    found = np.maximum(_find(weights, reached, thresholds), first[:, np.newaxis])
    empty = np.logical_not(counted[np.arange(len(counted)), first])
    return _not_past_the_last(found, counted), empty


def _not_past_the_last(found: IndexArray, counted: BoolArray) -> IndexArray:
    """Moves answers behind the last bucket that counts to that one.

    Only a row with an answer in a bucket too light to count can need it, and looking for the last bucket of
    every row would cost as much as a percentile.
    """
    light = np.flatnonzero(np.logical_not(np.take_along_axis(counted, found, axis=1)).any(axis=1))
    last = counted.shape[1] - 1 - counted[light, ::-1].argmax(axis=1)
    found[light] = np.minimum(found[light], last[:, np.newaxis])
    return found


def _block_sums(weights: WeightArray) -> FloatArray:
    sums = weights.astype(np.float64).reshape(-1, BLOCK) @ np.ones(BLOCK)
    return np.asarray(sums.reshape(len(weights), -1))


def _running(amounts: FloatArray) -> FloatArray:
    """Cumulative sums along the last axis, same shape."""
    length = amounts.shape[-1]
    # Of two dimensions: of three it would be a product for each row.
    sums = amounts.reshape(-1, length) @ np.triu(np.ones((length, length)))
    return np.asarray(sums.reshape(amounts.shape))


def _find(weights: WeightArray, reached: FloatArray, thresholds: FloatArray) -> IndexArray:
    """The first buckets of each row whose cumulative weight reaches the row's thresholds, shape (n, k)."""
    block = _first_reaching(reached[:, np.newaxis], thresholds)
    running = _running(_blocks(weights, block).astype(np.float64)) + _before(reached, block)[..., np.newaxis]
    return np.asarray(block * BLOCK + _first_reaching(running, thresholds))


def _first_reaching(rising: FloatArray, thresholds: FloatArray) -> IndexArray:
    # Rounding may leave the last sum just below a threshold that it should equal.
    attainable = np.minimum(thresholds, rising[..., -1])
    return np.asarray((rising >= attainable[..., np.newaxis]).argmax(axis=-1))


def _faded(weights: WeightArray, reached: FloatArray, first: IndexArray) -> FloatArray:
    """Sum of the weights before the first bucket that counts, shape (n,).

    They are in the total, but the cumulative weight starts after them.
    """
    block, bucket = np.divmod(first[:, np.newaxis], BLOCK)
    inside = (_blocks(weights, block) * _EARLIER[bucket]).sum(axis=-1)
    return np.asarray((_before(reached, block) + inside)[:, 0])


def _blocks(weights: WeightArray, block: IndexArray) -> WeightArray:
    """The buckets of blocks of each row, shape (n, k, BLOCK) for blocks of shape (n, k)."""
    to_a_row = weights.shape[1] // BLOCK
    starts = np.arange(len(weights))[:, np.newaxis] * to_a_row
    return np.asarray(weights.reshape(-1, BLOCK).take(starts + block, axis=0))


def _before(reached: FloatArray, block: IndexArray) -> FloatArray:
    """Sum of each row's blocks before the given ones, shape (n, k)."""
    earlier = np.take_along_axis(reached, np.maximum(block - 1, 0), axis=1)
    return np.where(block > 0, earlier, 0.0)
