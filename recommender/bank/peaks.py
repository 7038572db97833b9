"""The peak of a worker's VRAM in each window of time: what the VRAM histogram counts instead of every sample.

VRAM that is too small kills a process, so that not the usual use counts but the peak. As in the Vertical Pod
Autoscaler (`pkg/recommender/model/container.go`) a worker's first sample opens its window, whole windows
follow one another from there, and a higher sample takes the place of the peak that its window had. Unlike
there, a peak of zero is one too, and a late sample counts in the window in which it was taken.
"""

from collections.abc import Sequence
from itertools import repeat
from typing import Final

import numpy as np
import numpy.typing as npt

from recommender.bank.buckets import Buckets, FloatArray, IndexArray
from recommender.bank.histograms import HistogramBank

CountArray = npt.NDArray[np.int64]
PeakTable = tuple[tuple[str, ...], IndexArray, FloatArray, CountArray, FloatArray]

_WEIGHT: Final = 1.0
_DAY: Final = 24 * 3600.0
_NONE: Final = -1
"""In place of a bucket: the window has no peak. In place of a slot or row: there is none."""


class PeakWindows:
    """Feeds the peaks of workers into a bank, each at the end of its window.

    A worker is a pod, known by its UID. The latest windows of each are kept, so that samples may come late,
    and in any order; peaks of older windows stay in the bank as they are. Of a peak only the bucket is kept,
    which is all that the bank knows of it.

    Args:
        bank: The VRAM histograms.
        window: Length of a window, seconds.
        depth: How many windows of a worker are kept; samples from before them are left out. Eight days, by
            default: what is older has hardly any weight left.
    """

    def __init__(self, bank: HistogramBank, *, window: float = _DAY, depth: int = 8) -> None:
        if not (0 < window < np.inf and depth >= 1):
            raise ValueError(f"{window=} and {depth=} must be positive")
        self._bank = bank
        self._window = window
        self._depth = depth
        self._middles = _middles(bank.buckets)
        self._slots: dict[str, int] = {}
        self._uids: list[str] = []
        self._free: list[int] = []
        # Of each slot. A peak stands in the column that its window's number gives modulo depth.
        self._rows: IndexArray = np.full(64, _NONE, dtype=np.intp)
        self._opened: FloatArray = np.zeros(64, dtype=np.float64)
        self._newest: CountArray = np.zeros(64, dtype=np.int64)
        self._peaks: npt.NDArray[np.int16] = np.full((64, depth), _NONE, dtype=np.int16)

    def __len__(self) -> int:
        """How many workers have windows."""
        return len(self._slots)

    def observe(self, worker: str, row: int, time: float, value: float) -> None:
        """Takes one sample; see `observe_many`."""
        self.observe_many([worker], [row], [time], [value])

    def observe_many(
        self,
        workers: Sequence[str],
        rows: npt.ArrayLike,
        times: npt.ArrayLike,
        values: npt.ArrayLike,
        *,
        of: npt.ArrayLike | None = None,
    ) -> int:
        """Takes samples of any workers, in any order.

        Args:
            workers: Pod UIDs, m of them: one for each sample, or, with `of`, each pod once.
            rows: The bank's row of each one's workload, shape (m,); the same for the same worker. One that
                comes with another row than in the call before starts anew there.
            times: When, epoch seconds, shape (n,).
            values: VRAM in bytes, shape (n,).
            of: Which of the workers each sample is of, shape (n,).

        Returns:
            How many samples were left out because they are older than all windows kept.

        Raises:
            ValueError: A time that is not finite or a value that is NaN.
            IndexError: A row that is not handed out. In either case nothing was counted.
        """
        times, values = np.asarray(times, np.float64), np.asarray(values, np.float64)
        if not np.isfinite(times).all() or np.isnan(values).any():
            raise ValueError("a peak's time must be finite and its value a number")
        owners = np.arange(len(workers)) if of is None else np.asarray(of, np.intp)
        slots = self._slots_of(workers, self._bank.require_rows(rows), owners, times)
        windows = np.floor((times - self._opened[slots]) / self._window).astype(np.int64)
        self._advance(slots, windows)
        kept = windows > self._newest[slots] - self._depth
        self._raise_peaks(slots[kept], windows[kept], values[kept])
        return int(np.count_nonzero(~kept))

    def forget(self, worker: str) -> None:
        """Drops the windows of a worker that is gone; its peaks stay in the bank."""
        slot = self._slots.pop(worker, None)
        if slot is not None:
            self._free.append(slot)
            self._rows[slot] = _NONE
            self._uids[slot] = ""

    def forget_row(self, row: int) -> None:
        """Drops the windows of all workers of a workload; to be called when its row is removed."""
        self.forget_rows([row])

    def forget_rows(self, rows: npt.ArrayLike) -> None:
        """Drops the windows of all workers of workloads. It looks through all workers, once for all rows."""
        gone = np.setdiff1d(np.asarray(rows, np.intp), [_NONE])
        for slot in np.flatnonzero(np.isin(self._rows, gone)).tolist():
            self.forget(self._uids[slot])

    def snapshot(self) -> PeakTable:
        """A copy of all windows of the m workers, to be stored.

        Returns:
            The pod UIDs; the bank's row of each, shape (m,); when the first window of each began, epoch
            seconds, shape (m,); the number of the newest one, counted from that, shape (m,); and peaks in
            bytes, NaN where there is none, shape (m, depth), column j that of the window newest - j. A peak
            is any value of its bucket.
        """
        slots = np.flatnonzero(self._rows != _NONE)
        buckets = np.take_along_axis(self._peaks[slots], self._columns(self._newest[slots]), axis=1)
        peaks = np.where(buckets == _NONE, np.nan, self._middles[buckets])
        uids = tuple(self._uids[slot] for slot in slots.tolist())
        return uids, self._rows[slots], self._opened[slots], self._newest[slots], peaks

    def restore(
        self,
        uids: Sequence[str],
        rows: npt.ArrayLike,
        opened: npt.ArrayLike,
        newest: npt.ArrayLike,
        peaks: npt.ArrayLike,
    ) -> None:
        """Goes on with windows that `snapshot` gave, whose peaks the bank holds already.

        They must be as long as these. Of windows more than `depth` the newest are taken.

        Raises:
            ValueError: A worker that has windows already or comes twice, arrays of other shapes, a beginning
                that is not finite. Nothing has changed then.
            IndexError: A row that is not handed out.
        """
        rows = self._bank.require_rows(rows)
        opened, newest = np.asarray(opened, np.float64), np.asarray(newest, np.int64)
        peaks = np.asarray(peaks, np.float64)
        if not (rows.shape == opened.shape == newest.shape == (len(uids),) == peaks.shape[:1]):
            raise ValueError("windows to go on with must have a row, a beginning and peaks for each worker")
        if not np.isfinite(opened).all():
            raise ValueError("windows to go on with must have a finite beginning")
        if len(set(uids)) < len(uids) or not self._slots.keys().isdisjoint(uids):
            raise ValueError("windows to go on with are of a worker that has windows already, or come twice")
        slots = np.array([self._slot(uid) for uid in uids], dtype=np.intp)
        self._begin(slots, rows)
        self._opened[slots], self._newest[slots] = opened, newest
        columns = self._columns(newest)[:, : peaks.shape[1]]
        kept = peaks[:, : self._depth]
        buckets = self._bank.buckets.find(np.nan_to_num(kept))
        self._peaks[slots[:, np.newaxis], columns] = np.where(np.isnan(kept), _NONE, buckets)

    def _columns(self, newest: CountArray) -> CountArray:
        """Where the windows of workers stand, from the newest back, shape (m, depth)."""
        return np.asarray((newest[:, np.newaxis] - np.arange(self._depth)) % self._depth)

    def _slots_of(
        self, workers: Sequence[str], rows: IndexArray, of: IndexArray, times: FloatArray
    ) -> IndexArray:
        """The slot of each sample; the first sample of a worker opens its window."""
        known = map(self._slots.get, workers, repeat(_NONE))
        slots = np.fromiter(known, dtype=np.intp, count=len(workers))
        begins = np.zeros(len(workers), dtype=np.bool_)
        begins[of] = True
        begins &= (slots == _NONE) | (self._rows[slots] != rows)
        places = np.flatnonzero(begins)
        if places.size:
            slots[places] = [self._slot(workers[place]) for place in places.tolist()]
            self._begin(slots[places], rows[places])
            first = begins[of]
            np.minimum.at(self._opened, slots[of[first]], times[first])
        return np.asarray(slots[of])

    def _slot(self, worker: str) -> int:
        slot = self._slots.get(worker)
        if slot is None:
            slot = self._slots[worker] = self._free.pop() if self._free else self._next_slot()
            self._uids[slot] = worker
        return slot

    def _next_slot(self) -> int:
        slot = len(self._uids)
        self._uids.append("")
        if slot == len(self._rows):
            self._rows = np.pad(self._rows, (0, slot), constant_values=_NONE)
            self._opened = np.pad(self._opened, (0, slot))
            self._newest = np.pad(self._newest, (0, slot))
            self._peaks = np.pad(self._peaks, ((0, slot), (0, 0)), constant_values=_NONE)
        return slot

    def _begin(self, slots: IndexArray, rows: IndexArray) -> None:
        self._rows[slots] = rows
        self._opened[slots] = np.inf
        self._newest[slots] = 0
        self._peaks[slots] = _NONE

    def _advance(self, slots: IndexArray, windows: CountArray) -> None:
        """Makes room for windows that are newer than those kept."""
        before = self._newest.copy()
        np.maximum.at(self._newest, slots, windows)
        moved = np.flatnonzero(self._newest > before)
        steps = np.minimum(self._newest[moved] - before[moved], self._depth)
        for step in range(1, int(steps.max(initial=0)) + 1):
            ahead = moved[steps >= step]
            self._peaks[ahead, (self._newest[ahead] - step + 1) % self._depth] = _NONE

    def _raise_peaks(self, slots: IndexArray, windows: CountArray, values: FloatArray) -> None:
        cells = slots * self._depth + windows % self._depth
        peaks = self._peaks.reshape(-1)
        old = peaks[cells]
        np.maximum.at(peaks, cells, self._bank.buckets.find(values).astype(peaks.dtype))
        raised = np.flatnonzero(peaks[cells] > old)
        # One sample of each raised peak: the others tell the same.
        raised = raised[np.unique(cells[raised], return_index=True)[1]]
        replaced = raised[old[raised] != _NONE]
        rows = self._rows[slots]
        # A peak enters and leaves at the same time, whenever it was seen: else it would not leave as a whole.
        ends = self._opened[slots] + (windows + 1) * self._window
        self._bank.subtract(rows[replaced], self._middles[old[replaced]], _WEIGHT, ends[replaced])
        self._bank.add(rows[raised], self._middles[peaks[cells[raised]]], _WEIGHT, ends[raised])


def _middles(buckets: Buckets) -> FloatArray:
    """A value of each bucket that is surely found there, shape (count,)."""
    middles = np.asarray((buckets.starts + buckets.ends) / 2)
    # The last one has no end.
    middles[-1] = buckets.starts[-1] * 1.5
    return middles
