"""Everything that a recommender has learned, at one time: what a checkpoint holds. Pure.

Arrays of a snapshot belong to it: whoever makes one copies what he goes on changing.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from recommender.bank.buckets import ExponentialBuckets, FloatArray, IndexArray
from recommender.bank.percentiles import WeightArray
from recommender.keys import WorkloadKey

CountArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """The histograms of one resource.

    Attributes:
        reference: Time at which a sample has a decay factor of 1, epoch seconds.
        half_life: Seconds in which a sample loses half of its weight.
        buckets: The division into buckets; histograms of another one cannot be taken over.
        weights: Bucket weights at the reference, shape (n, buckets.count).
    """

    reference: float
    half_life: float
    buckets: ExponentialBuckets
    weights: WeightArray

    def __post_init__(self) -> None:
        if not (math.isfinite(self.reference) and 0 < self.half_life < math.inf):
            raise ValueError(
                f"a reference of {self.reference} and a half-life of {self.half_life} s are no times"
            )
        _require("weights", self.weights, np.float32, (len(self.weights), self.buckets.count))
        # NaN fails both comparisons.
        if self.weights.size and not (self.weights.min() >= 0 and self.weights.max() < math.inf):
            raise ValueError("a bucket's weight is negative, infinite or NaN")

    def select(self, rows: IndexArray) -> "Weights":
        """The histograms of some rows, in their order."""
        return replace(self, weights=self.weights[rows])

    def moved(self, reference: float) -> WeightArray:
        """The bucket weights at another reference time, shape (n, buckets.count)."""
        steps = (self.reference - reference) / self.half_life
        if not steps:
            return self.weights
        return np.multiply(self.weights, np.exp2(steps), dtype=np.float64).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class OpenPeaks:
    """The VRAM windows of pods, of m pods.

    Attributes:
        uids: The pods' UIDs, m of them, each once.
        row: Which workload's each is, as an index into the snapshot's keys, shape (m,).
        opened: When a pod's first window began, epoch seconds, shape (m,).
        newest: Number of its newest window, from 0, shape (m,).
        peaks: Peaks of its latest windows in bytes, NaN where there is none; the window w stands in column
            w % depth, shape (m, depth). Only a peak's bucket is kept in a checkpoint.
        window: Length of a window, seconds.
    """

    uids: tuple[str, ...]
    row: IndexArray
    opened: FloatArray
    newest: CountArray
    peaks: FloatArray
    window: float

    def __post_init__(self) -> None:
        pods = len(self.uids)
        if not 0 < self.window < math.inf:
            raise ValueError(f"a window of {self.window} s is none")
        _require("row", self.row, np.intp, (pods,))
        _require("opened", self.opened, np.float64, (pods,))
        _require("newest", self.newest, np.int64, (pods,))
        _require("peaks", self.peaks, np.float64, (pods, self.depth))
        if len(set(self.uids)) < pods:
            raise ValueError("a pod has its windows twice")

    @property
    def depth(self) -> int:
        """How many windows of a pod are kept."""
        return self.peaks.shape[1] if self.peaks.ndim == 2 else 0

    def select(self, rows: IndexArray, of: int) -> "OpenPeaks":
        """The windows of the pods of some of `of` workloads, whose numbers become their places in `rows`."""
        renumbered = np.full(of, -1, dtype=np.intp)
        renumbered[rows] = np.arange(len(rows))
        kept = np.flatnonzero(renumbered[self.row] >= 0)
        return OpenPeaks(
            uids=tuple(self.uids[pod] for pod in kept.tolist()),
            row=renumbered[self.row[kept]],
            opened=self.opened[kept],
            newest=self.newest[kept],
            peaks=self.peaks[kept],
            window=self.window,
        )


@dataclass(frozen=True, slots=True)
class PendingBackfill:
    """A stretch of the past that is still to be read for some workloads: (begin, end], epoch seconds."""

    keys: tuple[WorkloadKey, ...]
    begin: float
    end: float


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The histories of n workloads, and how far the metric source has been read.

    Attributes:
        keys: The workloads, each once, n of them.
        first: Time of the first TFLOPS sample, NaN without one, epoch seconds, shape (n,).
        last: Time of the latest TFLOPS sample, NaN without one, shape (n,).
        touched: Time of the latest sample of either resource, shape (n,).
        until: Up to when a workload's histograms hold every sample of it, shape (n,).
        samples: TFLOPS samples of all its pods, never decayed, shape (n,).
        tflops: Histograms of TFLOPS.
        vram: Histograms of VRAM peaks.
        peaks: The open windows of VRAM.
        preallocation: For the guard against frameworks that preallocate VRAM: [limit, smallest peak, largest
            peak] twice, in bytes, NaN where there is none, shape (n, 6).
        cursor: Up to when the metric source has been read; None before the first time.
        written: When this was taken, epoch seconds.
        backfill: What is still to be read of the past. Its workloads need not be among `keys`.
    """

    keys: tuple[WorkloadKey, ...]
    first: FloatArray
    last: FloatArray
    touched: FloatArray
    until: FloatArray
    samples: CountArray
    tflops: Weights
    vram: Weights
    peaks: OpenPeaks
    preallocation: FloatArray
    cursor: float | None
    written: float
    backfill: tuple[PendingBackfill, ...] = field(default=())

    def __post_init__(self) -> None:
        count = len(self.keys)
        for name in ("first", "last", "touched", "until"):
            _require(name, getattr(self, name), np.float64, (count,))
        _require("samples", self.samples, np.int64, (count,))
        _require("preallocation", self.preallocation, np.float64, (count, 6))
        for weights in (self.tflops, self.vram):
            _require("weights", weights.weights, np.float32, (count, weights.buckets.count))
        rows = self.peaks.row
        if len(rows) and not (rows.min() >= 0 and rows.max() < count):
            raise ValueError(f"a pod's row is none of the {count} workloads'")
        if len(set(self.keys)) < count:
            raise ValueError("a workload is there twice")
        if not math.isfinite(self.written) or not math.isfinite(self.cursor or 0):
            raise ValueError(f"{self.written=} and {self.cursor=} are no times")

    def __len__(self) -> int:
        """How many workloads there are."""
        return len(self.keys)

    def select(self, keep: Callable[[WorkloadKey], bool]) -> "Snapshot":
        """The part of the workloads for which `keep` says yes."""
        rows = np.array([row for row, key in enumerate(self.keys) if keep(key)], dtype=np.intp)
        return replace(
            self,
            keys=tuple(self.keys[row] for row in rows.tolist()),
            tflops=self.tflops.select(rows),
            vram=self.vram.select(rows),
            peaks=self.peaks.select(rows, len(self)),
            backfill=tuple(_selected(self.backfill, keep)),
            **{name: getattr(self, name)[rows] for name in _COLUMNS},
        )


_COLUMNS: Final = ("first", "last", "touched", "until", "samples", "preallocation")


def merged(snapshots: Sequence[Snapshot]) -> Snapshot:
    """Puts snapshots of different workloads together.

    The cursor and the time are those of the one that is furthest behind: what the others have read already
    stands in each workload's `until`. Histograms are aligned to the newest reference. Of a pod that is in two
    of them, because it changed its workload, the later windows count.

    Raises:
        ValueError: There is none, a workload is in two of them, or they differ in buckets, half-life or
            windows.
    """
    if not snapshots:
        raise ValueError("nothing to put together")
    snapshots = sorted(snapshots, key=lambda each: each.written)
    columns = {name: np.concatenate([getattr(each, name) for each in snapshots]) for name in _COLUMNS}
    cursors = [each.cursor for each in snapshots if each.cursor is not None]
    return Snapshot(
        keys=tuple(key for each in snapshots for key in each.keys),
        tflops=_merged_weights([each.tflops for each in snapshots]),
        vram=_merged_weights([each.vram for each in snapshots]),
        peaks=_merged_peaks(snapshots),
        cursor=min(cursors, default=None),
        written=min(each.written for each in snapshots),
        backfill=tuple(pending for each in snapshots for pending in each.backfill),
        **columns,
    )


def _merged_weights(parts: Sequence[Weights]) -> Weights:
    newest = max(parts, key=lambda part: part.reference)
    if any((part.buckets, part.half_life) != (newest.buckets, newest.half_life) for part in parts):
        raise ValueError("histograms of different buckets or half-lives cannot be put together")
    return replace(newest, weights=np.concatenate([part.moved(newest.reference) for part in parts]))


def _merged_peaks(snapshots: Sequence[Snapshot]) -> OpenPeaks:
    parts = [each.peaks for each in snapshots]
    if len({(part.window, part.depth) for part in parts}) > 1:
        raise ValueError("peaks of windows of different lengths or depths cannot be put together")
    offsets = np.cumsum([0, *(len(each) for each in snapshots[:-1])])
    uids = [uid for part in parts for uid in part.uids]
    kept = np.fromiter({uid: pod for pod, uid in enumerate(uids)}.values(), dtype=np.intp)
    rows = np.concatenate([part.row + offset for part, offset in zip(parts, offsets, strict=True)])
    return OpenPeaks(
        uids=tuple(uids[pod] for pod in kept.tolist()),
        row=rows[kept],
        opened=np.concatenate([part.opened for part in parts])[kept],
        newest=np.concatenate([part.newest for part in parts])[kept],
        peaks=np.concatenate([part.peaks for part in parts])[kept],
        window=parts[0].window,
    )


def _selected(
    pendings: Sequence[PendingBackfill], keep: Callable[[WorkloadKey], bool]
) -> Sequence[PendingBackfill]:
    kept = [replace(each, keys=tuple(filter(keep, each.keys))) for each in pendings]
    return [each for each in kept if each.keys]


def _require(name: str, array: npt.NDArray[np.generic], dtype: type, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(
            f"{name} must be {np.dtype(dtype)} of shape {shape}, not {array.dtype} of shape {array.shape}"
        )
