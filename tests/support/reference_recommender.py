"""What a recommender has to make of samples, worked out the slow and obvious way, one workload at a time.

Histograms are the reference's; margin, confidence and bounds are written down here once more.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from recommender.bank import buckets
from tests.support.raw_usage import PodUsage
from tests.support.reference_histogram import ReferenceHistogram

TFLOPS_WEIGHT = 0.1
VRAM_WEIGHT = 1.0
MOST = 1e14
TIE = 1e-5
"""As a fraction of a row's total: percentiles that lie so close to a bucket's end may answer either side."""

UNIT = {"tflops": 1000, "vram": 1}
"""Of each resource: what an amount is a whole number of, milli-TFLOPS or bytes."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How a workload is to be estimated; as in an AutoSetResources, durations in seconds."""

    half_life: float
    peak_window: float
    confidence_interval: float = 86_400.0
    margin: float = 0.15
    target: float = 0.9
    lower: float = 0.5
    upper: float = 0.95


@dataclass(frozen=True, slots=True)
class Between:
    """An amount; at a tie there are two right ones."""

    least: int
    most: int

    def holds(self, amount: float) -> bool:
        """Whether this is it, but for the last unit, which rounding decides."""
        return self.least - 1 <= amount <= self.most + 1


class ReferenceRecommender:
    """Everything that usage says of one workload.

    Args:
        tflops: the use of compute.
        vram: the use of memory.
        rules: how to estimate.
        until: samples up to here count, epoch seconds.
        opened: when the VRAM windows of a pod begin, where that is not at its first sample.
    """

    def __init__(
        self,
        *,
        tflops: PodUsage,
        vram: PodUsage,
        rules: Rules,
        until: float,
        opened: Mapping[str, float] | None = None,
    ) -> None:
        self._rules = rules
        times = [time for _, time, _ in _samples(tflops, until)]
        self.samples = len(times)
        self.first, self.last = min(times, default=math.nan), max(times, default=math.nan)
        self.histograms = {
            "tflops": ReferenceHistogram(buckets.TFLOPS, rules.half_life, until),
            "vram": ReferenceHistogram(buckets.VRAM, rules.half_life, until),
        }
        for _, time, value in _samples(tflops, until):
            self.histograms["tflops"].add(value, TFLOPS_WEIGHT, time)
        for end, peak in _peaks(vram, until, rules.peak_window, opened or {}):
            self.histograms["vram"].add(peak, VRAM_WEIGHT, end)

    @property
    def confidence(self) -> float:
        """How far the bounds can be trusted."""
        interval = self._rules.confidence_interval
        if not self.samples:
            return 0.0
        return min((self.last - self.first) / interval, self.samples / (interval / 60))

    def target(self, resource: str) -> Between:
        """What a pod should request."""
        return self._with_margin(resource, self._rules.target)

    def lower_bound(self, resource: str) -> Between:
        """What is certainly too little."""
        confidence = self.confidence
        factor = (1 + 0.001 / confidence) ** -2 if confidence else 0.0
        return _scaled(self._with_margin(resource, self._rules.lower), factor, resource)

    def upper_bound(self, resource: str) -> Between:
        """What is certainly too much."""
        confidence = self.confidence
        factor = 1 + 1 / confidence if confidence else math.inf
        return _scaled(self._with_margin(resource, self._rules.upper), factor, resource)

    def _with_margin(self, resource: str, percentile: float) -> Between:
        histogram = self.histograms[resource]
        bases = [
            math.trunc(histogram.percentile(percentile, shift=shift) * UNIT[resource])
            for shift in (-TIE, TIE)
        ]
        least, most = (base + math.trunc(base * self._rules.margin) for base in bases)
        return Between(least, most)


def _samples(usage: PodUsage, until: float) -> Iterator[tuple[str, float, float]]:
    """Pod, time and value of each sample, the oldest first."""
    for time, pod in sorted((time, pod) for pod, values in usage.items() for time in values):
        if time <= until:
            yield pod, time, usage[pod][time]


def _peaks(
    usage: PodUsage, until: float, window: float, opened: Mapping[str, float]
) -> Iterator[tuple[float, float]]:
    """The end of each window of each pod, and the peak in it."""
    begins = dict(opened)
    peaks: dict[tuple[str, int], float] = {}
    for pod, time, value in _samples(usage, until):
        begin = begins.setdefault(pod, time)
        number = math.floor((time - begin) / window)
        peaks[pod, number] = max(peaks.get((pod, number), 0.0), value)
    for (pod, number), peak in peaks.items():
        yield begins[pod] + (number + 1) * window, peak


def _scaled(amount: Between, factor: float, resource: str) -> Between:
    most = MOST * UNIT[resource]
    least, greatest = (min(value * factor, most) if value else 0 for value in (amount.least, amount.most))
    return Between(math.trunc(least), math.trunc(greatest))
