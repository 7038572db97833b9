"""What is remembered of every workload's usage: rows in the banks, open VRAM peaks, counts of samples."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recommender import buckets
from recommender.estimators import Estimate, confidence, estimate_rows
from recommender.histograms import HistogramBank
from recommender.keys import WorkloadKey
from recommender.peaks import PeakWindows
from recommender.samples import PodUsage
from recommender.usage import Usage
from vgpu.api import AutoSetResources
from vgpu.slices import Resource

# The least weight that a CPU sample has in the Vertical Pod Autoscaler, there for small requests.
_TFLOPS_WEIGHT: Final = 0.1
# VPA drops a histogram that has had no sample for eight days.
_IDLE_SECONDS: Final = 8 * 86_400.0

Estimates = Mapping[Resource, Estimate]


@dataclass(slots=True)
class History:
    """One workload's part.

    Attributes:
        tflops: its row in the bank of TFLOPS histograms.
        vram: its row in the bank of VRAM histograms.
        first: time of the first TFLOPS sample, NaN before it.
        last: time of the latest TFLOPS sample, NaN before it.
        samples: TFLOPS samples of all pods, never decayed.
        touched: time of the latest sample of either resource.
    """

    tflops: int
    vram: int
    first: float = float("nan")
    last: float = float("nan")
    samples: int = 0
    touched: float = float("-inf")

    def count(self, times: Sequence[float]) -> None:
        """Take note of TFLOPS samples."""
        self.first = float(np.fmin(self.first, min(times)))
        self.last = float(np.fmax(self.last, max(times)))
        self.samples += len(times)


class Histories:
    """The usage of all workloads.

    Args:
        half_life: seconds in which a sample loses half of its weight.
        peak_window: seconds in which a pod's VRAM counts by its peak only.
        now: when this begins, in seconds since the epoch.
    """

    def __init__(self, *, half_life: float, peak_window: float, now: float) -> None:
        self._tflops = HistogramBank(buckets.TFLOPS, half_life=half_life, reference=now)
        self._vram = HistogramBank(buckets.VRAM, half_life=half_life, reference=now)
        self._peaks = PeakWindows(self._vram, window=peak_window)
        self._histories: dict[WorkloadKey, History] = {}

    def feed(self, usage: Usage) -> None:
        """Take in what one poll brought."""
        self._tflops.move_reference(usage.until)
        self._vram.move_reference(usage.until)
        self._feed_tflops(usage.tflops)
        self._feed_vram(usage.vram)

    def of(self, key: WorkloadKey) -> History | None:
        """One workload's part, or None when it never had a sample."""
        return self._histories.get(key)

    def estimate(self, wanted: Sequence[tuple[WorkloadKey, AutoSetResources]]) -> Sequence[Estimates]:
        """What the samples of workloads say, by their configuration; nothing for one without samples."""
        known = [
            (index, history, config)
            for index, (key, config) in enumerate(wanted)
            if (history := self._histories.get(key)) is not None
        ]
        found: list[dict[Resource, Estimate]] = [{} for _ in wanted]
        if not known:
            return found
        histories, configs = [item[1] for item in known], [item[2] for item in known]
        for resource in Resource:
            estimates = self._estimate(resource, histories, configs)
            for (index, _, _), estimate in zip(known, estimates, strict=True):
                if estimate is not None:
                    found[index][resource] = estimate
        return found

    def forget_pod(self, uid: str) -> None:
        """Close the VRAM window of a pod that is gone."""
        self._peaks.forget(uid)

    def forget(self, key: WorkloadKey) -> None:
        """Drop a workload that is no more."""
        history = self._histories.pop(key, None)
        if history is not None:
            self._peaks.forget_row(history.vram)
            self._tflops.remove_row(history.tflops)
            self._vram.remove_row(history.vram)

    def forget_idle(self, now: float) -> None:
        """Drop the workloads that have been without a sample for so long that nothing of theirs counts."""
        idle = [key for key, history in self._histories.items() if now - history.touched > _IDLE_SECONDS]
        for key in idle:
            self.forget(key)

    def _feed_tflops(self, usages: Iterable[PodUsage]) -> None:
        rows, times, values = list[int](), list[float](), list[float]()
        for usage in usages:
            history = self._history(usage)
            history.count(usage.times)
            rows += [history.tflops] * len(usage.times)
            times += usage.times
            values += usage.values
        self._tflops.add(rows, values, _TFLOPS_WEIGHT, times)

    def _feed_vram(self, usages: Iterable[PodUsage]) -> None:
        workers, rows, times, values = list[str](), list[int](), list[float](), list[float]()
        for usage in usages:
            history = self._history(usage)
            workers += [usage.pod.uid] * len(usage.times)
            rows += [history.vram] * len(usage.times)
            times += usage.times
            values += usage.values
        self._peaks.observe_many(workers, rows, times, values)

    def _history(self, usage: PodUsage) -> History:
        key = usage.pod.workload
        if key not in self._histories:
            self._histories[key] = History(tflops=self._tflops.add_row(), vram=self._vram.add_row())
        history = self._histories[key]
        history.touched = max(history.touched, *usage.times)
        return history

    def _estimate(
        self, resource: Resource, histories: Sequence[History], configs: Sequence[AutoSetResources]
    ) -> list[Estimate | None]:
        tflops = resource is Resource.TFLOPS
        return estimate_rows(
            self._tflops if tflops else self._vram,
            [history.tflops if tflops else history.vram for history in histories],
            [config.percentiles(resource) for config in configs],
            [config.request_margin_fraction for config in configs],
            confidence(
                [history.first for history in histories],
                [history.last for history in histories],
                [history.samples for history in histories],
                [config.confidence_interval for config in configs],
            ),
            resource,
        )
