"""What is remembered of every workload's usage, and how the workload is configured to be estimated."""

from collections import defaultdict
from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recommender.buckets import IndexArray
from recommender.checkpoints.snapshot import PendingBackfill, Snapshot
from recommender.estimation import Estimation, empty_estimation
from recommender.history_rows import HistoryRows, Placed
from recommender.kernels import Kernels
from recommender.keys import WorkloadKey
from recommender.limit_peaks import LimitPeaks
from recommender.samples import Samples
from recommender.usage import Usage
from vgpu.api import AutoSetResources
from vgpu.slices import Resource

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


class Histories:
    """The usage of all workloads, a row for each that has samples.

    Args:
        half_life: seconds in which a sample loses half of its weight.
        peak_window: seconds in which a pod's VRAM counts by its peak only.
        now: when this begins, in seconds since the epoch.
        limit_peaks: remembers what pods took under different VRAM limits.
        kernels: runs the loops over histograms; numpy's where none are given.
    """

    def __init__(
        self,
        *,
        half_life: float,
        peak_window: float,
        now: float,
        limit_peaks: LimitPeaks | None = None,
        kernels: Kernels | None = None,
    ) -> None:
        self._usage = HistoryRows(
            half_life=half_life,
            peak_window=peak_window,
            now=now,
            limit_peaks=LimitPeaks() if limit_peaks is None else limit_peaks,
            kernels=kernels,
        )
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
            self._usage.columns.configure(np.array([self._rows[key]]), config)

    def neglect(self, key: WorkloadKey) -> None:
        """Make no more estimates of a workload, whose history stays."""
        if self._configs.pop(key, None) is not None:
            self._wanted = None

    def feed(self, usage: Usage) -> Fed:
        """Take in what one poll brought, but for samples that a restored row holds already."""
        self._usage.move_reference(usage.until)
        new: list[WorkloadKey] = []
        tflops, vram = (self._place(samples, new) for samples in (usage.tflops, usage.vram))
        until = self._usage.columns.until
        fresh = [placed.select(placed.times > until[placed.rows]) for placed in (tflops, vram)]
        late = len(tflops) + len(vram) - sum(map(len, fresh))
        return Fed(new=tuple(new), late=late, too_old=self._usage.take(*fresh))

    def feed_earlier(self, usage: Usage, keys: Container[WorkloadKey]) -> Fed:
        """Take in usage from before a workload's first poll.

        Args:
            usage: of any workloads.
            keys: whose samples count; those of others are left out.
        """
        new: list[WorkloadKey] = []
        tflops, vram = (self._place(samples, new, keys) for samples in (usage.tflops, usage.vram))
        return Fed(new=tuple(new), too_old=self._usage.take(tflops, vram))

    def estimate(self, keys: Sequence[WorkloadKey] | None = None) -> Estimation:
        """What samples say.

        Args:
            keys: of which workloads; one without samples is empty, one that was never configured is
                estimated by the defaults. None: all that have samples and are configured.
        """
        if keys is not None:
            return self._estimate(self._wanting(keys))
        if self._wanted is None:
            self._wanted = self._wanting([key for key in self._rows if key in self._configs])
        return self._estimate(self._wanted)

    def forget_pod(self, uid: str) -> None:
        """Close the VRAM window of a pod that is gone."""
        self._usage.forget_pod(uid)

    def forget_other_pods(self, there: Container[str]) -> None:
        """Close the VRAM windows of all pods but some, as after a restart, in which pods have gone unseen."""
        self._usage.forget_pods(lambda uid: uid not in there)

    def forget(self, key: WorkloadKey) -> None:
        """Drop a workload that is no more."""
        self.neglect(key)
        self._drop([key])

    def forget_idle(self, now: float) -> tuple[WorkloadKey, ...]:
        """Drop histories without a sample for so long that nothing in them counts; returns whose."""
        idle = now - self._usage.columns.touched[self._rows_of(self._rows)] > _IDLE_SECONDS
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
        rows, usage = self._rows_of(self._rows), self._usage
        columns = usage.columns
        return Snapshot(
            keys=tuple(self._rows),
            first=columns.first[rows],
            last=columns.last[rows],
            touched=columns.touched[rows],
            until=np.maximum(columns.until[rows], -np.inf if cursor is None else cursor),
            samples=columns.samples[rows],
            tflops=usage.weights(Resource.TFLOPS, rows),
            vram=usage.weights(Resource.VRAM, rows),
            peaks=usage.open_peaks(rows),
            preallocation=usage.preallocation(rows),
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
        there = next((key for key in snapshot.keys if key in self._rows), None)
        if there is not None:
            raise ValueError(f"workload {there} has a history already; a saved one cannot be added to it")
        self._usage.require_fitting(snapshot)
        self._begin(snapshot.keys)
        try:
            self._usage.load(self._rows_of(snapshot.keys), snapshot)
        except ValueError:
            self._drop(snapshot.keys)
            raise

    def _place(
        self, samples: Samples, new: list[WorkloadKey], wanted: Container[WorkloadKey] | None = None
    ) -> Placed:
        """Find each sample's row; workloads without one get it, and are added to `new`."""
        seen = np.flatnonzero(np.bincount(samples.of, minlength=len(samples.pods)))
        keys = [samples.pods[index].workload for index in seen.tolist()]
        asked = keys if wanted is None else [key for key in keys if key in wanted]
        unknown = dict.fromkeys(key for key in asked if key not in self._rows)
        self._begin(unknown)
        new.extend(unknown)
        pod_rows = np.full(len(samples.pods), -1, dtype=np.intp)
        pod_rows[seen] = [self._rows[key] if wanted is None or key in wanted else -1 for key in keys]
        return Placed.of_wanted(samples, pod_rows)

    def _wanting(self, keys: Sequence[WorkloadKey]) -> _Wanted:
        positions = {key: index for index, key in enumerate(keys)}
        return _Wanted(tuple(keys), positions, self._rows_of(keys))

    def _estimate(self, wanted: _Wanted) -> Estimation:
        return self._usage.estimate(wanted.rows, empty_estimation(wanted.keys, wanted.positions))

    def _begin(self, keys: Collection[WorkloadKey]) -> None:
        """Give workloads that have none a row."""
        if not keys:
            return
        self._rows.update(zip(keys, self._usage.begin(len(keys)).tolist(), strict=True))
        self._wanted = None
        alike: defaultdict[int, list[WorkloadKey]] = defaultdict(list)
        for key in keys:
            if key in self._configs:
                alike[id(self._configs[key])].append(key)
        for group in alike.values():
            self._usage.columns.configure(self._rows_of(group), self._configs[group[0]])

    def _drop(self, keys: Collection[WorkloadKey]) -> None:
        """Take back the rows of those that have one."""
        rows = [self._rows.pop(key) for key in keys if key in self._rows]
        if rows:
            self._wanted = None
            self._usage.drop(np.array(rows, dtype=np.intp))

    def _rows_of(self, keys: Collection[WorkloadKey]) -> IndexArray:
        return np.fromiter((self._rows.get(key, -1) for key in keys), dtype=np.intp, count=len(keys))
