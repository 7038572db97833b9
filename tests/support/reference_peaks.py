"""Slow, obvious peaks of VRAM, a dictionary for each worker, to compare PeakWindows with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.support.reference_histogram import ReferenceHistogram


class PeakSample(NamedTuple):
    worker: str
    row: int
    time: float
    value: float


@dataclass
class Worker:
    """One pod: which peak each of its windows has, by the window's number from the first one."""

    row: int
    opened: float
    newest: int = 0
    peaks: dict[int, float] = field(default_factory=dict)


@dataclass
class ReferencePeaks:
    """The peaks of workers in the histograms of their rows."""

    histograms: Mapping[int, ReferenceHistogram]
    window: float
    depth: int
    workers: dict[str, Worker] = field(default_factory=dict)

    def observe_many(self, samples: Sequence[PeakSample]) -> int:
        """Takes samples and tells how many were too old."""
        for sample in sorted(samples, key=lambda sample: sample.time):
            worker = self.workers.get(sample.worker)
            if worker is None or worker.row != sample.row:
                self.workers[sample.worker] = Worker(sample.row, opened=sample.time)
        for sample in samples:
            worker = self.workers[sample.worker]
            worker.newest = max(worker.newest, self._number(sample))
        return sum(not self._take(sample) for sample in samples)

    def forget(self, worker: str) -> None:
        self.workers.pop(worker, None)

    def _take(self, sample: PeakSample) -> bool:
        worker, number = self.workers[sample.worker], self._number(sample)
        if number <= worker.newest - self.depth:
            return False
        end = worker.opened + (number + 1) * self.window
        old = worker.peaks.get(number)
        if old is None or sample.value > old:
            histogram = self.histograms[worker.row]
            if old is not None:
                histogram.subtract(old, 1.0, end)
            histogram.add(sample.value, 1.0, end)
            worker.peaks[number] = sample.value
        return True

    def _number(self, sample: PeakSample) -> int:
        return int((sample.time - self.workers[sample.worker].opened) // self.window)
