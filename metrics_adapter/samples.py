"""From the metric source's series to the newest sample of each GPU of each pod, if that can be true."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from vgpu.capacity import plausible
from vgpu.prometheus import Series
from vgpu.slices import Amounts, Resource
from vgpu.usage_sources import PodGpu


class Drop(StrEnum):
    """Why a series, or the values of a pod, did not come into the table."""

    UNIDENTIFIED = "unidentified"
    """The series' labels name no pod."""
    DUPLICATE = "duplicate"
    """Another series of the same GPU of the same pod has a newer sample."""
    BAD_VALUE = "bad_value"
    """The newest sample of one of the pod's GPUs is NaN, negative or more than any card can give."""
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
    """What one GPU of a pod used.

    Attributes:
        time: Epoch seconds.
        value: In TFLOPS or bytes; None where what the source says cannot be true.
    """

    time: float
    value: float | None


_ANY_CARD: Final = Amounts()
"""The adapter does not know the cluster's cards: the largest that there is counts."""

GpuSamples = Mapping[PodGpu, GpuSample]


def newest_samples(
    series: Iterable[Series],
    *,
    resource: Resource,
    identify: Callable[[Mapping[str, str]], PodGpu | None],
    drops: Counter[Drop],
) -> dict[PodGpu, GpuSample]:
    """The newest sample of each GPU of each pod.

    Several series of one GPU (two scrapers, an exporter that restarted) become the newest sample of them all,
    and at the same time the largest, so that the order of an answer decides nothing.

    Args:
        series: Raw samples with their own timestamps, as a range selector gives them.
        resource: What they measure.
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
        value = one.values[-1]
        sample = GpuSample(one.times[-1], value if plausible(resource, value, _ANY_CARD) else None)
        if gpu in newest:
            drops[Drop.DUPLICATE] += 1
            sample = max(sample, newest[gpu], key=_order)
        newest[gpu] = sample
    return newest


def _order(sample: GpuSample) -> tuple[float, float]:
    return sample.time, -1.0 if sample.value is None else sample.value
