"""From the metric source's series to one trustworthy sample for each GPU of each pod."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from vgpu.prometheus import Series
from vgpu.quantities import INT64_MAX
from vgpu.usage_sources import PodGpu


class Drop(StrEnum):
    """Why a series, or the values of a pod, did not come into the table."""

    UNIDENTIFIED = "unidentified"
    """The series' labels name no pod."""
    DUPLICATE = "duplicate"
    """Another series of the same GPU of the same pod has a newer sample."""
    BAD_VALUE = "bad_value"
    """The newest sample is NaN, infinite, negative or beyond all quantities."""
    NO_POD = "no_pod"
    """There is no such pod, or it is not one of ours."""
    OLDER_THAN_POD = "older_than_pod"
    """The sample is of an earlier pod of the same name."""
    NOT_RUNNING = "not_running"
    """The pod is not running, or it is being deleted."""
    NO_REQUEST = "no_request"
    """The pod has no request that a utilization could be of."""


@dataclass(frozen=True, slots=True)
class GpuSample:
    """What one GPU of a pod used: `time` in epoch seconds, `value` in the source's unit."""

    time: float
    value: float


GpuSamples = Mapping[PodGpu, GpuSample]


def newest_samples(
    series: Iterable[Series], *, identify: Callable[[Mapping[str, str]], PodGpu | None], drops: Counter[Drop]
) -> dict[PodGpu, GpuSample]:
    """The newest sample of each GPU of each pod.

    Several series of one GPU (two scrapers, an exporter that restarted) become the newest sample of them all,
    and at the same time the largest, so that the order of an answer decides nothing.
    A newest sample that is no usable number drops the GPU: what was before it is not the state of now.

    Args:
        series: Raw samples with their own timestamps, as a range selector gives them.
        identify: Which GPU of which pod a series is of, by its labels.
        drops: Is counted up, once for each series that is left out.
    """
    newest: dict[PodGpu, GpuSample] = {}
    for one in series:
        if not one.times:
            continue
        gpu = identify(one.labels)
        if gpu is None:
            drops[Drop.UNIDENTIFIED] += 1
            continue
        sample = GpuSample(one.times[-1], one.values[-1])
        if gpu in newest:
            drops[Drop.DUPLICATE] += 1
            sample = max(sample, newest[gpu], key=_order)
        newest[gpu] = sample
    usable = {gpu: sample for gpu, sample in newest.items() if _is_usable(sample.value)}
    drops[Drop.BAD_VALUE] += len(newest) - len(usable)
    return usable


def _order(sample: GpuSample) -> tuple[float, bool, float]:
    usable = _is_usable(sample.value)
    return sample.time, usable, sample.value if usable else 0.0


def _is_usable(value: float) -> bool:
    # Above INT64_MAX no quantity could say it; nothing real is within sight of that.
    return math.isfinite(value) and 0 <= value <= INT64_MAX
