"""From histograms to estimates: percentiles, safety margin, and bounds as wide as the samples are few.

Follows the Vertical Pod Autoscaler (kubernetes/autoscaler, `pkg/recommender/logic/estimator.go`), truncations
included. Arrays have shape (n,), one element for each workload; amounts are whole milli-TFLOPS or bytes, in
float64. Whatever goes in, what comes out is finite.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from recommender.bank.buckets import FloatArray
from recommender.bank.histograms import HistogramBank
from vgpu.slices import Resource

BoolArray = npt.NDArray[np.bool_]

_PER_UNIT: Final = {Resource.TFLOPS: 1000, Resource.VRAM: 1}
"""Internal units to one of the histogram's: milli-TFLOPS to a TFLOPS, bytes to a byte."""

LARGEST: Final = 1e14
"""No estimate is above this, in TFLOPS or bytes (VPA's MaxResourceAmount)."""

_MOST_CONFIDENT: Final = 1e9
"""Beyond this the bounds equal the percentiles: a limit only so that no infinity gets out."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the samples of one resource say, in milli-TFLOPS or bytes.

    Attributes:
        target: What a pod should request.
        lower_bound: A request below this is certainly too small.
        upper_bound: A request above this is certainly too large.
        confidence: How far the bounds can be trusted: 1 after a confidence interval with a sample a minute.
    """

    target: int
    lower_bound: int
    upper_bound: int
    confidence: float


def confidence(
    first: npt.ArrayLike, last: npt.ArrayLike, count: npt.ArrayLike, interval: npt.ArrayLike
) -> FloatArray:
    """How far the bounds can be trusted.

    The smaller of lifespan / interval and samples / minutes in the interval: many samples that are young, or
    a few that are old, do not make one confident.

    Args:
        first: Time of the first TFLOPS sample, epoch seconds, NaN where there is none.
        last: Time of the latest TFLOPS sample, likewise.
        count: TFLOPS samples ever taken.
        interval: The workload's confidence interval, seconds.

    Returns:
        Confidences from 0 up; 0 without samples.
    """
    first, last, count, interval = (np.asarray(item, np.float64) for item in (first, last, count, interval))
    with np.errstate(all="ignore"):
        lowest = np.minimum((last - first) / interval, count / (interval / 60))
    return _within(lowest, _MOST_CONFIDENT)


def in_units(values: npt.ArrayLike, resource: Resource) -> FloatArray:
    """A histogram's values, in TFLOPS or bytes, as whole milli-TFLOPS or bytes."""
    return _scaled(np.asarray(values, np.float64), _PER_UNIT[resource], resource)


def with_margin(base: npt.ArrayLike, fraction: npt.ArrayLike, resource: Resource) -> FloatArray:
    """Adds the safety margin: base + trunc(base * fraction)."""
    base = np.asarray(base, np.float64)
    margin = _scaled(base, np.asarray(fraction, np.float64), resource)
    return np.minimum(base + margin, _largest(resource))


def upper_bound(
    amount: npt.ArrayLike,
    confidences: npt.ArrayLike,
    resource: Resource,
    *,
    multiplier: float = 1.0,
    exponent: float = 1.0,
) -> FloatArray:
    """Widens an upper bound by (1 + multiplier / confidence)^exponent; the largest amount at confidence 0."""
    return _widened(amount, confidences, resource, multiplier, exponent)


def lower_bound(
    amount: npt.ArrayLike,
    confidences: npt.ArrayLike,
    resource: Resource,
    *,
    multiplier: float = 0.001,
    exponent: float = -2.0,
) -> FloatArray:
    """Widens a lower bound by (1 + multiplier / confidence)^exponent; 0 at confidence 0."""
    return _widened(amount, confidences, resource, multiplier, exponent)


@dataclass(frozen=True, slots=True)
class EstimateColumns:
    """What the samples of one resource say of n workloads, in whole milli-TFLOPS or bytes.

    Attributes:
        target: What a pod should request, shape (n,).
        lower: A request below this is certainly too small, shape (n,).
        upper: A request above this is certainly too large, shape (n,).
        empty: Where there are no samples, shape (n,); there all amounts are 0 and mean nothing.
    """

    target: FloatArray
    lower: FloatArray
    upper: FloatArray
    empty: BoolArray


def estimate_rows(
    bank: HistogramBank,
    rows: npt.ArrayLike,
    percentiles: npt.ArrayLike,
    margins: npt.ArrayLike,
    confidences: npt.ArrayLike,
    resource: Resource,
) -> EstimateColumns:
    """Estimates one resource for many workloads.

    Args:
        bank: The histograms of the resource.
        rows: Row of each workload, shape (n,).
        percentiles: Target, lower and upper percentile of each, shape (n, 3).
        margins: Safety margin of each as a fraction, shape (n,).
        confidences: What `confidence` says of each, shape (n,).
        resource: Which resource it is.
    """
    bases = in_units(bank.percentiles(rows, percentiles), resource)
    target, lower, upper = (with_margin(base, margins, resource) for base in bases.T)
    empty = bank.is_empty(rows)
    return EstimateColumns(
        target=np.where(empty, 0.0, target),
        lower=np.where(empty, 0.0, lower_bound(lower, confidences, resource)),
        upper=np.where(empty, 0.0, upper_bound(upper, confidences, resource)),
        empty=empty,
    )


def _widened(
    amount: npt.ArrayLike, confidences: npt.ArrayLike, resource: Resource, multiplier: float, exponent: float
) -> FloatArray:
    amount = np.asarray(amount, np.float64)
    confidences = np.abs(_within(np.asarray(confidences, np.float64), _MOST_CONFIDENT))
    with np.errstate(all="ignore"):
        factor = np.power(1 + multiplier / confidences, exponent)
    # At confidence 0 the factor is infinite or 0. Also of nothing infinity is the most: nothing is known.
    widened = _scaled(amount, factor, resource)
    return np.where(np.isinf(factor), _largest(resource), widened)


def _scaled(amount: FloatArray, factor: FloatArray | float, resource: Resource) -> FloatArray:
    with np.errstate(all="ignore"):
        return _within(np.trunc(amount * factor), _largest(resource))


def _within(values: FloatArray, largest: float) -> FloatArray:
    """Values from 0 to the largest allowed; what is not a number counts as 0."""
    return np.clip(np.nan_to_num(values, nan=0.0, posinf=largest, neginf=0.0), 0.0, largest)


def _largest(resource: Resource) -> float:
    return LARGEST * _PER_UNIT[resource]
