"""A slow, obvious decaying histogram, one object each, to compare the bank with.

What the Vertical Pod Autoscaler's histogram does, with a dictionary of float64 weights, a sample at a time.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from recommender.bank.buckets import Buckets, FloatArray, IndexArray

EPSILON = 1e-4


@dataclass(frozen=True)
class LinearBuckets:
    """Buckets of one width up to a maximum, and an open one after them."""

    width: float
    maximum: float

    @property
    def count(self) -> int:
        return math.ceil(self.maximum / self.width) + 1

    @property
    def starts(self) -> FloatArray:
        return np.arange(self.count, dtype=np.float64) * self.width

    @property
    def ends(self) -> FloatArray:
        return np.append(self.starts[1:], self.starts[-1])

    def find(self, values: FloatArray) -> IndexArray:
        return np.clip(np.floor(values / self.width), 0, self.count - 1).astype(np.intp)


def inside(buckets: Buckets, bucket: int, fraction: float) -> float:
    """A value in a bucket, off its boundaries, where languages and libraries round differently."""
    start = float(buckets.starts[bucket])
    end = float(buckets.starts[bucket + 1]) if bucket + 1 < buckets.count else 2 * start
    return start + (end - start) * fraction


@dataclass
class ReferenceHistogram:
    """One histogram."""

    buckets: Buckets
    half_life: float
    reference: float
    weights: dict[int, float] = field(default_factory=dict)

    def add(self, value: float, weight: float, time: float) -> None:
        bucket = self._find(value)
        self.weights[bucket] = self.weights.get(bucket, 0.0) + self._decayed(weight, time)

    def subtract(self, value: float, weight: float, time: float) -> None:
        bucket = self._find(value)
        rest = self.weights.get(bucket, 0.0) - self._decayed(weight, time)
        self.weights[bucket] = rest if rest >= EPSILON else 0.0

    def move_reference(self, reference: float) -> None:
        factor = 2 ** ((self.reference - reference) / self.half_life)
        self.weights = {bucket: weight * factor for bucket, weight in self.weights.items()}
        self.reference = reference

    @property
    def total(self) -> float:
        return math.fsum(self.weights.values())

    def percentile(self, p: float, *, shift: float = 0.0) -> float:
        """The percentile, its threshold moved by a fraction of the total."""
        counting = [bucket for bucket, weight in self.weights.items() if weight >= EPSILON]
        if not counting:
            return 0.0
        threshold = (p + shift) * self.total
        partial = 0.0
        for bucket in range(min(counting), max(counting) + 1):
            partial += self.weights.get(bucket, 0.0)
            if partial >= threshold:
                return float(self.buckets.ends[bucket])
        return float(self.buckets.ends[max(counting)])

    def agrees(self, p: float, answer: float) -> bool:
        """Whether an answer is this histogram's, or at a tie that of the other side of it."""
        tie = 1e-5
        return self.percentile(p, shift=-tie) <= answer <= self.percentile(p, shift=tie)

    def is_ambiguous(self) -> bool:
        """Whether a bucket lies so close to epsilon that rounding decides whether it counts."""
        return any(math.isclose(weight, EPSILON, rel_tol=1e-3) for weight in self.weights.values())

    def _find(self, value: float) -> int:
        bucket = 0
        while bucket + 1 < self.buckets.count and value >= self.buckets.starts[bucket + 1]:
            bucket += 1
        return bucket

    def _decayed(self, weight: float, time: float) -> float:
        return float(weight * 2 ** ((time - self.reference) / self.half_life))
