"""What is remembered of every workload's usage, and how the workload is configured to be estimated."""

from collections import defaultdict
from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Final

import numpy as np

from recommender.bank.buckets import FloatArray, IndexArray
from recommender.bank.kernels import Kernels
from recommender.checkpoints.snapshot import PendingBackfill, Snapshot
from recommender.histories.estimation import Estimation, empty_estimation
from recommender.histories.limit_peaks import LimitPeaks
from recommender.histories.placing import Counts, Placed, Seen
from recommender.histories.rows import HistoryRows
from recommender.keys import WorkloadKey
from recommender.usage.reading import Usage
from recommender.usage.samples import Samples
from vgpu.api import AutoSetResources
from vgpu.slices import Resource

# VPA drops a histogram that has had no sample for eight days.
IDLE_SECONDS: Final = 8 * 86_400.0


@dataclass(frozen=True, slots=True)
class Fed:
    """What became of usage.

    Attributes:
        new: workloads that had no history before.
        late: samples that a restored history holds already, left out.
        too_old: samples of VRAM from before all windows that are kept, left out.
        gone: samples of pods or workloads that are no more, left out.
    """

    new: tuple[WorkloadKey, ...] = ()
    late: int = 0
    too_old: int = 0
    gone: int = 0


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

    def feed(self, usage: Usage, *, known: Counts | None = None) -> Fed:
        """Take in what one poll brought, but for samples that a row holds already.

        Args:
            usage: what it brought.
            known: whether a pod is still there. While usage was on its way pods may have been forgotten, and
                nobody would forget them once more. None: all are, which costs nothing.
        """
        self._usage.move_reference(usage.until)
        fed, tflops, vram = self._place(usage, known)
        until = self._usage.columns.until
        fresh = [placed.select(placed.times > until[placed.rows]) for placed in (tflops, vram)]
        late = len(tflops) + len(vram) - sum(map(len, fresh))
        return replace(fed, late=late, too_old=self._usage.take(*fresh))

    def feed_earlier(self, usage: Usage, keys: Container[WorkloadKey], *, known: Counts | None = None) -> Fed:
        """Take in usage from before a workload's first poll.

        Args:
            usage: of any workloads.
            keys: whose samples count; those of others are left out.
            known: whether a pod is still there, as in `feed`.
        """
        fed, tflops, vram = self._place(
            usage, lambda pod: pod.workload in keys and (known is None or known(pod))
        )
        return replace(fed, too_old=self._usage.take(tflops, vram))

    def put_right(self) -> None:
        """Prepare for usage that is read again, from wherever on, since the clock was wrong.

        A sample counts from now on if it is newer than all that its workload has: so none counts twice.
        """
        self._usage.columns.hold_what_came()

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
        """Drop histories without a sample for so long that nothing in them counts; returns whose.

        That is reckoned from the newest sample of all, if that is older than `now`: neither a clock that is
        ahead nor a source without samples makes everybody idle.
        """
        newest = self._touched().max(initial=-np.inf)
        return self.forget_resting(min(now, float(newest)))

    def forget_resting(self, now: float) -> tuple[WorkloadKey, ...]:
        """Drop idle histories, where `now` is beyond doubt, and so is that there were no samples."""
        idle = now - self._touched() > IDLE_SECONDS
        keys = tuple(compress(self._rows, idle.tolist()))
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

    def _place(self, usage: Usage, counts: Counts | None) -> tuple[Fed, Placed, Placed]:
        """Find the rows of all samples that count; workloads without one get it."""
        new: list[WorkloadKey] = []
        tflops, vram = (self._place_one(samples, new, counts) for samples in (usage.tflops, usage.vram))
        gone = len(usage.tflops.of) + len(usage.vram.of) - len(tflops) - len(vram)
        return Fed(new=tuple(new), gone=gone), tflops, vram

    def _place_one(self, samples: Samples, new: list[WorkloadKey], counts: Counts | None) -> Placed:
        seen = Seen(samples, counts)
        unknown = dict.fromkeys(key for key in seen.keys if key not in self._rows)
        self._begin(unknown)
        new.extend(unknown)
        return seen.placed([self._rows[key] for key in seen.keys])

    def _touched(self) -> FloatArray:
        return self._usage.columns.touched[self._rows_of(self._rows)]

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
