"""The form in which the Vertical Pod Autoscaler stores a histogram, to exchange single rows with it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from recommender.bank.buckets import FloatArray

_HEAVIEST_BUCKET: Final = 10_000
"""Weight of the heaviest bucket of a checkpoint (VPA's MaxCheckpointWeight)."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One histogram, its weights rounded.

    Attributes:
        bucket_weights: Relative weight of each bucket that has one, the heaviest 10,000.
        total: Sum of the weights that these stand for, at the reference time.
        reference: Time at which a sample has a decay factor of 1, epoch seconds.
    """

    bucket_weights: Mapping[int, int]
    total: float
    reference: float


def checkpoint_of(weights: FloatArray, reference: float) -> Checkpoint:
    """Rounds bucket weights, shape (count,), half up to ten thousandths of the heaviest."""
    heaviest = weights.max()
    relative = np.floor(weights / heaviest * _HEAVIEST_BUCKET + 0.5) if heaviest > 0 else weights
    return Checkpoint(
        bucket_weights={int(bucket): int(relative[bucket]) for bucket in np.flatnonzero(relative)},
        total=float(weights.sum()),
        reference=reference,
    )


def weights_of(checkpoint: Checkpoint, count: int) -> FloatArray:
    """The bucket weights, shape (count,), that a checkpoint stands for.

    Raises:
        ValueError: A bucket beyond `count`, a negative weight, a total that is negative or not finite, a
            reference that is not finite.
    """
    if not (0 <= checkpoint.total < math.inf and math.isfinite(checkpoint.reference)):
        raise ValueError(
            "a checkpoint's total must be finite and not negative and its reference finite, "
            f"not {checkpoint.total} and {checkpoint.reference}"
        )
    weights = np.zeros(count, dtype=np.float64)
    for bucket, weight in checkpoint.bucket_weights.items():
        if not (0 <= bucket < count and 0 <= weight <= _HEAVIEST_BUCKET):
            raise ValueError(f"a checkpoint of {count} buckets cannot hold bucket {bucket}: {weight}")
        weights[bucket] = weight
    stored = weights.sum()
    return weights / stored * checkpoint.total if stored > 0 else weights
