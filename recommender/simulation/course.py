"""What was in force when, and how usage stood to it."""

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from recommender.bank.buckets import FloatArray
from recommender.simulation.measurements import Measured
from vgpu.slices import Resource, VgpuSlice

PER_UNIT: Mapping[Resource, int] = {Resource.TFLOPS: 1000, Resource.VRAM: 1}
"""How much of a slice's amounts is one TFLOPS, or one byte."""


def _columns() -> dict[Resource, "array[float]"]:
    return {resource: array("d") for resource in Resource}


@dataclass(slots=True)
class Course:
    """What was recommended from each pass on.

    Attributes:
        times: of the passes, rising.
        requests: the recommended request, NaN while there is none; milli-TFLOPS or bytes.
        limits: the same of the limit.
        changes: how often the recommendation became another.
        problems: what the recommender would have complained about.
    """

    times: "array[float]" = field(default_factory=lambda: array("d"))
    requests: Mapping[Resource, "array[float]"] = field(default_factory=_columns)
    limits: Mapping[Resource, "array[float]"] = field(default_factory=_columns)
    changes: int = 0
    problems: dict[str, None] = field(default_factory=dict)

    def note(self, time: float, recommendation: VgpuSlice | None) -> None:
        """Take note of what is recommended from a time on."""
        self.times.append(time)
        slice_ = recommendation or VgpuSlice()
        for resource in Resource:
            self.requests[resource].append(_or_nan(slice_.requests.get(resource)))
            self.limits[resource].append(_or_nan(slice_.limits.get(resource)))


@dataclass(frozen=True, slots=True)
class Fit:
    """How usage stood to a slice: a figure for each sample, and the mean over all of them.

    A sample is a pod's at one time, of its GPUs the fullest, so that samples at equal distances make these
    shares of time. All are None without samples, or where the slice has no such amount.

    Attributes:
        samples: how many are compared.
        above_request: the share of them that is above the request.
        above_limit: the share that is above the limit.
        use_over_request: the average of use divided by request.
    """

    samples: int
    above_request: float | None
    above_limit: float | None
    use_over_request: float | None


def fits(course: Course, measured: Measured, resource: Resource, own: VgpuSlice) -> tuple[Fit, Fit]:
    """How usage stood to what was recommended, and to the user's own slice, over the same samples.

    Those are the samples for which something had been recommended by then. Each is compared with what the
    pass before it had come to: a recommendation can help only what comes after it.

    Args:
        course: what was recommended.
        measured: the usage.
        resource: whose usage it is.
        own: the user's own slice.
    """
    before = np.searchsorted(np.array(course.times), measured.times, side="left") - 1
    requests, limits = (
        np.where(before >= 0, np.array(amounts[resource])[before], np.nan) / PER_UNIT[resource]
        for amounts in (course.requests, course.limits)
    )
    compared = np.isfinite(requests)
    values = measured.values[compared]
    of_own = (
        np.full(len(values), _or_nan(amounts.get(resource)) / PER_UNIT[resource])
        for amounts in (own.requests, own.limits)
    )
    return _fit(values, requests[compared], limits[compared]), _fit(values, *of_own)


def _fit(values: FloatArray, requests: FloatArray, limits: FloatArray) -> Fit:
    # Nobody can have a share of nothing; what is above zero is infinitely far above it.
    positive = requests > 0
    return Fit(
        samples=len(values),
        above_request=_share(values, requests),
        above_limit=_share(values, limits),
        use_over_request=float(np.mean(values[positive] / requests[positive])) if positive.any() else None,
    )


def _share(values: FloatArray, bounds: FloatArray) -> float | None:
    known = np.isfinite(bounds)
    return float(np.mean(values[known] > bounds[known])) if known.any() else None


def _or_nan(amount: int | None) -> float:
    return math.nan if amount is None else float(amount)
