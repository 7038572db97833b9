"""What is remembered of every workload's usage: rows in the banks, open VRAM peaks, counts of samples."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from recommender import buckets
from recommender.buckets import ExponentialBuckets, FloatArray, IndexArray
from recommender.checkpoints.snapshot import OpenPeaks, PendingBackfill, Snapshot, Weights
from recommender.estimation import Estimation, empty_estimation
from recommender.estimators import BoolArray, estimate_rows
from recommender.histograms import HistogramBank
from recommender.history_columns import HistoryColumns
from recommender.keys import WorkloadKey
from recommender.limit_peaks import LimitPeaks
from recommender.peaks import PeakWindows
from recommender.pods import TrackedPod
from recommender.preallocation import holds
from recommender.samples import Samples
from recommender.usage import Usage
from vgpu.api import AutoSetResources
from vgpu.slices import Resource

# The least weight that a CPU sample has in the Vertical Pod Autoscaler, there for small requests.
_TFLOPS_WEIGHT: Final = 0.1
# VPA drops a histogram that has had no sample for eight days.
_IDLE_SECONDS: Final = 8 * 86_400.0


@dataclass(frozen=True, slots=True)
class Fed:
    """What became of usage.

    Attributes:
        new: workloads that had no history before.
        late: samples that a restored history holds already, left out.
        too_old: samples of VRAM from before all windows that are kept, left out.
    """

    new: tuple[WorkloadKey, ...] = ()
    late: int = 0
    too_old: int = 0


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The workloads that estimates are made of: their keys, where each stands, and their rows, shape (n,)."""

    keys: tuple[WorkloadKey, ...]
    positions: dict[WorkloadKey, int]
    rows: IndexArray


@dataclass(frozen=True, slots=True)
class _Placed:
    """n samples of p pods, each with its row; a pod whose samples are not wanted has row -1."""

    pods: tuple[TrackedPod, ...]
    pod_rows: IndexArray
    of: IndexArray
    rows: IndexArray
    times: FloatArray
    values: FloatArray


class Histories:
    """The usage of all workloads, a row for each; both banks know a workload by the same row.

    Args:
        half_life: seconds in which a sample loses half of its weight.
        peak_window: seconds in which a pod's VRAM counts by its peak only.
        now: when this begins, in seconds since the epoch.
        limit_peaks: remembers what pods took under different VRAM limits.
    """

    def __init__(
        self, *, half_life: float, peak_window: float, now: float, limit_peaks: LimitPeaks | None = None
    ) -> None:
        self._tflops = HistogramBank(buckets.TFLOPS, half_life=half_life, reference=now)
        self._vram = HistogramBank(buckets.VRAM, half_life=half_life, reference=now)
        self._peaks = PeakWindows(self._vram, window=peak_window)
        self._peak_window = peak_window
        self._limit_peaks = LimitPeaks() if limit_peaks is None else limit_peaks
        self._columns = HistoryColumns()
        self._rows: dict[WorkloadKey, int] = {}
        self._configs: dict[WorkloadKey, AutoSetResources] = {}
        self._wanted: _Wanted | None = None

    def __len__(self) -> int:
        """How many workloads have a history."""
        return len(self._rows)

    def __contains__(self, key: object) -> bool:
        """Whether a workload has a history."""
        return key in self._rows

    def configure(self, key: WorkloadKey, config: AutoSetResources) -> None:
        """Have a workload estimated, by this configuration; it may be one without samples yet."""
        if self._configs.get(key) is config:
            return
        if key not in self._configs:
            self._wanted = None
        self._configs[key] = config
        if key in self._rows:
            self._columns.configure(np.array([self._rows[key]]), config)

    def neglect(self, key: WorkloadKey) -> None:
        """Make no more estimates of a workload, whose history stays."""
        if self._configs.pop(key, None) is not None:
            self._wanted = None

    def feed(self, usage: Usage) -> Fed:
        """Take in what one poll brought, but for samples that a restored row holds already."""
        self._tflops.move_reference(usage.until)
        self._vram.move_reference(usage.until)
        new: list[WorkloadKey] = []
        placed = [self._place(samples, new) for samples in (usage.tflops, usage.vram)]
        fresh = [_select(one, one.times > self._columns.until[one.rows]) for one in placed]
        late = sum(len(one.of) for one in placed) - sum(len(one.of) for one in fresh)
        return Fed(new=tuple(new), late=late, too_old=self._take(*fresh))

    def feed_earlier(self, usage: Usage, keys: Collection[WorkloadKey]) -> Fed:
        """Take in usage from before a workload's first poll.

        Args:
            usage: of any workloads.
            keys: whose samples count; those of others are left out.
        """
        new: list[WorkloadKey] = []
        tflops, vram = (self._place(samples, new, keys) for samples in (usage.tflops, usage.vram))
        return Fed(new=tuple(new), too_old=self._take(tflops, vram))

    def estimate(self, keys: Sequence[WorkloadKey] | None = None) -> Estimation:
        """What samples say.

        Args:
            keys: of which workloads; one without samples is empty, one that was never configured is
                estimated by the defaults. None: all that have samples and are configured.
        """
        if keys is not None:
            return self._estimate(_Wanted(tuple(keys), _positions(keys), self._rows_of(keys)))
        if self._wanted is None:
            known = [key for key in self._rows if key in self._configs]
            self._wanted = _Wanted(tuple(known), _positions(known), self._rows_of(known))
        return self._estimate(self._wanted)

    def forget_pod(self, uid: str) -> None:
        """Close the VRAM window of a pod that is gone."""
        self._peaks.forget(uid)
        self._limit_peaks.forget_pod(uid)

    def forget(self, key: WorkloadKey) -> None:
        """Drop a workload that is no more."""
        self.neglect(key)
        self._drop([key])

    def forget_idle(self, now: float) -> tuple[WorkloadKey, ...]:
        """Drop histories without a sample for so long that nothing in them counts; returns whose."""
        idle = now - self._columns.touched[self._rows_of(self._rows)] > _IDLE_SECONDS
        keys = tuple(key for key, is_idle in zip(tuple(self._rows), idle.tolist(), strict=True) if is_idle)
        self._drop(keys)
        return keys

    def snapshot(
        self, *, written: float, cursor: float | None, backfill: tuple[PendingBackfill, ...] = ()
    ) -> Snapshot:
        """A copy of everything, to be saved.

        Args:
            written: the time, in seconds since the epoch.
            cursor: up to when usage has been fed.
            backfill: what is still to be fed of the time before.
        """
        keys, rows, columns = tuple(self._rows), self._rows_of(self._rows), self._columns
        uids, peak_rows, opened, newest, peaks = self._peaks.snapshot()
        return Snapshot(
            keys=keys,
            first=columns.first[rows],
            last=columns.last[rows],
            touched=columns.touched[rows],
            until=np.maximum(columns.until[rows], -np.inf if cursor is None else cursor),
            samples=columns.samples[rows],
            tflops=_weights(self._tflops, buckets.TFLOPS, rows),
            vram=_weights(self._vram, buckets.VRAM, rows),
            peaks=OpenPeaks(uids, _places(rows)[peak_rows], opened, newest, peaks, window=self._peak_window),
            preallocation=self._limit_peaks.table(rows),
            cursor=cursor,
            written=written,
            backfill=backfill,
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Take up saved histories beside those that are there.

        VRAM windows of another length than today's are not gone on with: the pods open new ones.

        Raises:
            ValueError: a workload has a history already, or the histograms are of other buckets or another
                half-life; nothing is changed then.
        """
        self._require_fitting(snapshot)
        keys = snapshot.keys
        self._begin(keys)
        rows, columns = self._rows_of(keys), self._columns
        for name in ("first", "last", "touched", "until", "samples"):
            getattr(columns, name)[rows] = getattr(snapshot, name)
        columns.until[rows] = np.fmax(snapshot.until, -np.inf)
        self._tflops.load_rows(rows, snapshot.tflops.weights, snapshot.tflops.reference)
        self._vram.load_rows(rows, snapshot.vram.weights, snapshot.vram.reference)
        self._limit_peaks.load(rows, snapshot.preallocation)
        peaks = snapshot.peaks
        if peaks.window == self._peak_window:
            self._peaks.restore(peaks.uids, rows[peaks.row], peaks.opened, peaks.newest, peaks.peaks)

    def _require_fitting(self, snapshot: Snapshot) -> None:
        there = next((key for key in snapshot.keys if key in self._rows), None)
        if there is not None:
            raise ValueError(f"workload {there} has a history already; a saved one cannot be added to it")
        for bank, saved in ((self._tflops, snapshot.tflops), (self._vram, snapshot.vram)):
            if (saved.buckets, saved.half_life) != (bank.buckets, bank.half_life):
                raise ValueError(
                    f"saved histograms have {saved.buckets} and a half-life of {saved.half_life:g} s, "
                    f"these {bank.buckets} and {bank.half_life:g} s; they cannot be gone on with"
                )

    def _place(
        self, samples: Samples, new: list[WorkloadKey], wanted: Collection[WorkloadKey] | None = None
    ) -> _Placed:
        """Find each sample's row; workloads without one get it, and are added to `new`."""
        seen = np.unique(samples.of)
        keys = [samples.pods[index].workload for index in seen.tolist()]
        asked = keys if wanted is None else [key for key in keys if key in wanted]
        unknown = dict.fromkeys(key for key in asked if key not in self._rows)
        self._begin(unknown)
        new.extend(unknown)
        pod_rows = np.full(len(samples.pods), -1, dtype=np.intp)
        pod_rows[seen] = [self._rows[key] if wanted is None or key in wanted else -1 for key in keys]
        rows = pod_rows[samples.of]
        placed = _Placed(samples.pods, pod_rows, samples.of, rows, samples.times, samples.values)
        return placed if wanted is None else _select(placed, rows >= 0)

    def _take(self, tflops: _Placed, vram: _Placed) -> int:
        for placed in (tflops, vram):
            self._columns.touch(placed.rows, placed.times)
        self._columns.count(tflops.rows, tflops.times)
        self._tflops.add(tflops.rows, tflops.values, _TFLOPS_WEIGHT, tflops.times)
        self._limit_peaks.observe(vram.pods, vram.pod_rows, vram.of, vram.times, vram.values)
        seen, of = np.unique(vram.of, return_inverse=True)
        uids = [vram.pods[index].uid for index in seen.tolist()]
        return self._peaks.observe_many(uids, vram.pod_rows[seen], vram.times, vram.values, of=of)

    def _estimate(self, wanted: _Wanted) -> Estimation:
        found = empty_estimation(wanted.keys, wanted.positions)
        there = np.flatnonzero(wanted.rows >= 0)
        rows, columns = wanted.rows[there], self._columns
        found.confidence[there] = columns.confidence(rows)
        found.samples[there] = columns.samples[rows]
        found.first[there] = columns.first[rows]
        found.shares[there] = self._limit_peaks.table(rows)
        for resource, bank in ((Resource.TFLOPS, self._tflops), (Resource.VRAM, self._vram)):
            estimates = estimate_rows(
                bank,
                rows,
                columns.percentiles[resource][rows],
                columns.margin[rows],
                found.confidence[there],
                resource,
            )
            for name in ("target", "lower", "upper", "empty"):
                getattr(found, name)[resource][there] = getattr(estimates, name)
        return replace(found, preallocated=holds(found.shares))

    def _begin(self, keys: Collection[WorkloadKey]) -> None:
        """Give workloads that have none a row."""
        if not keys:
            return
        rows = np.array([self._tflops.add_row() for _ in keys], dtype=np.intp)
        if [self._vram.add_row() for _ in keys] != rows.tolist():
            raise AssertionError("the banks disagree about the rows of workloads")
        self._rows.update(zip(keys, rows.tolist(), strict=True))
        self._wanted = None
        self._columns.begin(rows)
        alike: defaultdict[int, list[WorkloadKey]] = defaultdict(list)
        for key in keys:
            if key in self._configs:
                alike[id(self._configs[key])].append(key)
        for group in alike.values():
            self._columns.configure(self._rows_of(group), self._configs[group[0]])

    def _drop(self, keys: Collection[WorkloadKey]) -> None:
        """Take the rows of those that have one."""
        rows = [self._rows.pop(key) for key in keys if key in self._rows]
        if not rows:
            return
        self._wanted = None
        self._limit_peaks.forget_rows(np.array(rows, dtype=np.intp))
        self._peaks.forget_rows(rows)
        for row in rows:
            self._tflops.remove_row(row)
            self._vram.remove_row(row)

    def _rows_of(self, keys: Collection[WorkloadKey]) -> IndexArray:
        return np.fromiter((self._rows.get(key, -1) for key in keys), dtype=np.intp, count=len(keys))


def _select(placed: _Placed, kept: BoolArray) -> _Placed:
    return replace(
        placed,
        of=placed.of[kept],
        rows=placed.rows[kept],
        times=placed.times[kept],
        values=placed.values[kept],
    )


def _positions(keys: Collection[WorkloadKey]) -> dict[WorkloadKey, int]:
    return {key: index for index, key in enumerate(keys)}


def _places(rows: IndexArray) -> IndexArray:
    """Where each row stands in `rows`."""
    places = np.full(int(rows.max(initial=-1)) + 1, -1, dtype=np.intp)
    places[rows] = np.arange(len(rows))
    return places


def _weights(bank: HistogramBank, division: ExponentialBuckets, rows: IndexArray) -> Weights:
    return Weights(
        reference=bank.reference, half_life=bank.half_life, buckets=division, weights=bank.rows_weights(rows)
    )
