"""How a histogram divides the range of a resource's usage into buckets."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.intp]


class Buckets(Protocol):
    """A division of the non-negative numbers into `count` buckets; the last one has no upper end."""

    @property
    def count(self) -> int:
        """How many buckets there are."""

    @property
    def starts(self) -> FloatArray:
        """The smallest value of each bucket, shape (count,), rising, the first one 0."""

    @property
    def ends(self) -> FloatArray:
        """What a percentile that falls into a bucket answers, shape (count,).

        That is the start of the next bucket; of the last, which has no end, its own start.
        """

    def find(self, values: FloatArray) -> IndexArray:
        """The bucket of each value; what lies below the first or above the last one counts there.

        Raises:
            ValueError: A value is NaN.
        """


@dataclass(frozen=True)
class ExponentialBuckets:
    """Buckets of which each is `ratio` times as wide as the one before it.

    The relative error of an answer is then at most ratio - 1, however large the value. The formulas are those
    of the Vertical Pod Autoscaler (`exponentialHistogramOptions`), so that its checkpoints can be exchanged.

    Attributes:
        first: Width of the first bucket, in the resource's unit.
        ratio: Width of each further bucket over the one before it, above 1.
        maximum: The largest value that need not fall into the open last bucket.
    """

    first: float
    ratio: float
    maximum: float

    def __post_init__(self) -> None:
        if not (
            self.first > 0 and self.ratio > 1 and math.isfinite(self.maximum) and self.maximum > self.first
        ):
            raise ValueError(f"{self} needs first > 0, ratio > 1 and a finite maximum above first")

    @cached_property
    def count(self) -> int:
        """How many buckets there are."""
        return (
            math.ceil(math.log(self.maximum * (self.ratio - 1) / self.first + 1) / math.log(self.ratio)) + 1
        )

    @cached_property
    def starts(self) -> FloatArray:
        """The smallest value of each bucket: first * (ratio^b - 1) / (ratio - 1)."""
        powers = np.power(self.ratio, np.arange(self.count, dtype=np.float64))
        return np.asarray(self.first * (powers - 1) / (self.ratio - 1))

    @cached_property
    def ends(self) -> FloatArray:
        """What a percentile that falls into a bucket answers, shape (count,)."""
        return np.append(self.starts[1:], self.starts[-1])

    @cached_property
    def bounds(self) -> FloatArray:
        """The smallest value that `find` puts into each bucket, to the last bit, shape (count,).

        That is the start or a neighbour of it, as rounding decides; of the first bucket minus infinity.
        """
        below, there = self.starts[1:] * (1 - 1e-6), self.starts[1:] * (1 + 1e-6)
        wanted = np.arange(1, self.count)
        while True:
            middle = (below + there) / 2
            if not ((below < middle) & (middle < there)).any():
                return np.concatenate(([-np.inf], there))
            reached = self.find(middle) >= wanted
            below, there = np.where(reached, below, middle), np.where(reached, middle, there)

    def find(self, values: FloatArray) -> IndexArray:
        """The bucket of each value, by the logarithm.

        A value that is itself the start of a bucket may be put into the bucket below: rounding decides.
        """
        # Clipped first: the product must not overflow, and below `first` rounding must not reach bucket 1.
        powers = np.clip(values, 0, 2 * self.starts[-1])
        powers *= values >= self.first
        # In place: with a copy at each step this would take twice as long.
        powers *= self.ratio - 1
        powers /= self.first
        powers += 1
        np.log(powers, out=powers)
        powers /= math.log(self.ratio)
        refuse_nan(powers)
        return np.minimum(powers.astype(np.intp), self.count - 1)


def refuse_nan(values: FloatArray) -> None:
    """Raises ValueError where a value is NaN."""
    # The minimum of numbers of which one is NaN is NaN.
    if values.size and np.isnan(values.min()):
        raise ValueError("a sample's value is NaN: such samples are to be dropped before the histogram")


# 5 % wider each, as the Vertical Pod Autoscaler has it: 176 buckets for either resource.
TFLOPS = ExponentialBuckets(first=0.1, ratio=1.05, maximum=1e4)
"""Buckets of TFLOPS, in TFLOPS."""

VRAM = ExponentialBuckets(first=1e7, ratio=1.05, maximum=1e12)
"""Buckets of VRAM, in bytes."""
