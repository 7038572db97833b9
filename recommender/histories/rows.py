"""What is remembered of usage by rows: in the banks, VRAM windows, peaks under limits, counts of samples."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from recommender.bank import buckets
from recommender.bank.buckets import ExponentialBuckets, FloatArray, IndexArray
from recommender.bank.histograms import HistogramBank
from recommender.bank.kernels import Kernels
from recommender.bank.peaks import PeakWindows
from recommender.checkpoints.snapshot import OpenPeaks, Snapshot, Weights
from recommender.histories.columns import HistoryColumns
from recommender.histories.estimation import Estimation
from recommender.histories.estimators import estimate_rows
from recommender.histories.limit_peaks import LimitPeaks
from recommender.histories.placing import Placed
from recommender.histories.preallocation import holds
from vgpu.slices import Resource

# The least weight that a CPU sample has in the Vertical Pod Autoscaler, there for small requests.
_TFLOPS_WEIGHT: Final = 0.1


class HistoryRows:
    """Rows of usage, one for each workload; both banks know a workload by the same row.

    Args:
        half_life: seconds in which a sample loses half of its weight.
        peak_window: seconds in which a pod's VRAM counts by its peak only.
        now: when this begins, in seconds since the epoch.
        limit_peaks: remembers what pods took under different VRAM limits.
        kernels: runs the banks' loops; numpy's where none are given.

    Attributes:
        columns: counts of samples, and how the rows are estimated.
    """

    def __init__(
        self,
        *,
        half_life: float,
        peak_window: float,
        now: float,
        limit_peaks: LimitPeaks,
        kernels: Kernels | None,
    ) -> None:
        self._banks = {
            resource: HistogramBank(division, half_life=half_life, reference=now, kernels=kernels)
            for resource, division in _DIVISIONS.items()
        }
        self._peaks = PeakWindows(self._banks[Resource.VRAM], window=peak_window)
        self._peak_window = peak_window
        self._limit_peaks = limit_peaks
        self.columns = HistoryColumns()

    def begin(self, count: int) -> IndexArray:
        """Hand out new rows, shape (count,)."""
        tflops, vram = ([bank.add_row() for _ in range(count)] for bank in self._banks.values())
        if tflops != vram:
            raise AssertionError("the banks disagree about the rows of workloads")
        rows = np.array(tflops, dtype=np.intp)
        self.columns.begin(rows)
        return rows

    def drop(self, rows: IndexArray) -> None:
        """Take rows back, with the windows of their pods."""
        self._limit_peaks.forget_rows(rows)
        self._peaks.forget_rows(rows)
        for bank in self._banks.values():
            for row in rows.tolist():
                bank.remove_row(row)

    def forget_pod(self, uid: str) -> None:
        """Close the VRAM window of a pod that is gone."""
        self._peaks.forget(uid)
        self._limit_peaks.forget_pod(uid)

    def forget_pods(self, is_gone: Callable[[str], bool]) -> None:
        """Close the VRAM windows of all pods that are gone."""
        uids, *_ = self._peaks.snapshot()
        for uid in filter(is_gone, uids):
            self.forget_pod(uid)

    def move_reference(self, now: float) -> None:
        """Let weights be relative to a time about now."""
        for bank in self._banks.values():
            bank.move_reference(now)

    def take(self, tflops: Placed, vram: Placed) -> int:
        """Take in samples; returns how many of VRAM were older than all windows that are kept."""
        for placed in (tflops, vram):
            self.columns.touch(placed.rows, placed.times)
        self.columns.count(tflops.rows, tflops.times)
        self._banks[Resource.TFLOPS].add(tflops.rows, tflops.values, _TFLOPS_WEIGHT, tflops.times)
        self._limit_peaks.observe(vram.pods, vram.pod_rows, vram.of, vram.times, vram.values)
        seen = np.flatnonzero(np.bincount(vram.of, minlength=len(vram.pods)))
        places = np.full(len(vram.pods), -1, dtype=np.intp)
        places[seen] = np.arange(len(seen))
        uids = [vram.pods[index].uid for index in seen.tolist()]
        rows, of = vram.pod_rows[seen], places[vram.of]
        return self._peaks.observe_many(uids, rows, vram.times, vram.values, of=of)

    def estimate(self, rows: IndexArray, found: Estimation) -> Estimation:
        """Fill an empty estimation with what rows say; where a row is -1 it stays empty."""
        there = np.flatnonzero(rows >= 0)
        rows, columns = rows[there], self.columns
        found.confidence[there] = columns.confidence(rows)
        found.samples[there] = columns.samples[rows]
        found.first[there] = columns.first[rows]
        found.touched[there] = columns.touched[rows]
        found.shares[there] = self._limit_peaks.shares(rows)
        for resource, bank in self._banks.items():
            percentiles, margins = columns.percentiles[resource][rows], columns.margin[rows]
            sure = found.confidence[there]
            estimates = estimate_rows(bank, rows, percentiles, margins, sure, resource)
            for name in ("target", "lower", "upper", "empty"):
                getattr(found, name)[resource][there] = getattr(estimates, name)
        return replace(found, preallocated=holds(found.shares))

    def weights(self, resource: Resource, rows: IndexArray) -> Weights:
        """A copy of the histograms of rows."""
        bank = self._banks[resource]
        return Weights(
            reference=bank.reference,
            half_life=bank.half_life,
            buckets=_DIVISIONS[resource],
            weights=bank.rows_weights(rows),
        )

    def open_peaks(self, rows: IndexArray) -> OpenPeaks:
        """A copy of all VRAM windows; `rows` are all that are handed out, in the order to number them."""
        uids, peak_rows, opened, newest, peaks = self._peaks.snapshot()
        places = np.full(int(rows.max(initial=-1)) + 1, -1, dtype=np.intp)
        places[rows] = np.arange(len(rows))
        return OpenPeaks(uids, places[peak_rows], opened, newest, peaks, window=self._peak_window)

    def preallocation(self, rows: IndexArray) -> FloatArray:
        """A copy of the peaks under two limits of rows, shape (n, 6)."""
        return self._limit_peaks.table(rows)

    def require_fitting(self, snapshot: Snapshot) -> None:
        """Refuse histograms that cannot be gone on with.

        Raises:
            ValueError: they are of other buckets or another half-life.
        """
        for resource, saved in ((Resource.TFLOPS, snapshot.tflops), (Resource.VRAM, snapshot.vram)):
            bank, division = self._banks[resource], _DIVISIONS[resource]
            if (saved.buckets, saved.half_life) != (division, bank.half_life):
                raise ValueError(
                    f"saved histograms have {saved.buckets} and a half-life of {saved.half_life:g} s, "
                    f"these {division} and {bank.half_life:g} s; they cannot be gone on with"
                )

    def load(self, rows: IndexArray, snapshot: Snapshot) -> None:
        """Fill new rows with what was saved of the workloads of a snapshot, in their order.

        Raises:
            ValueError: a pod has open windows already, or weights are far too large.
        """
        columns, peaks = self.columns, snapshot.peaks
        for name in ("first", "last", "touched", "until", "samples"):
            getattr(columns, name)[rows] = getattr(snapshot, name)
        # A clock may have been behind the samples that it let in.
        columns.until[rows] = np.fmax(snapshot.until, snapshot.touched)
        for resource, saved in ((Resource.TFLOPS, snapshot.tflops), (Resource.VRAM, snapshot.vram)):
            self._banks[resource].load_rows(rows, saved.weights, saved.reference)
        self._limit_peaks.load(rows, snapshot.preallocation)
        if peaks.window == self._peak_window:
            self._peaks.restore(peaks.uids, rows[peaks.row], peaks.opened, peaks.newest, peaks.peaks)


_DIVISIONS: Final[dict[Resource, ExponentialBuckets]] = {
    Resource.TFLOPS: buckets.TFLOPS,
    Resource.VRAM: buckets.VRAM,
}
