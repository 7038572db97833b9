"""The peak of a worker's VRAM in each window of time: what the VRAM histogram counts instead of every sample.

VRAM that is too small kills a process, so that not the usual use counts but the peak. As in the Vertical Pod
Autoscaler (`pkg/recommender/model/container.go`) a worker's first sample opens its window, whole windows
follow one another from there, and a higher sample takes the place of the peak that its window had. Unlike
there, a peak of zero is one too, and a late sample counts in the window in which it was taken.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from recommender.buckets import FloatArray, IndexArray
from recommender.histograms import HistogramBank

_WEIGHT: Final = 1.0
_DAY: Final = 24 * 3600.0


class PeakWindows:
    """Feeds the peaks of workers into a bank, each at the end of its window.

    A worker is a pod, known by its UID. The latest windows of each are kept, so that samples may come late,
    and in any order; peaks of older windows stay in the bank as they are.

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
        self._slots: dict[str, int] = {}
        self._workers: defaultdict[int, set[str]] = defaultdict(set)
        self._free: list[int] = []
        self._rows: IndexArray = np.zeros(0, dtype=np.intp)
        self._opened: FloatArray = np.zeros(0, dtype=np.float64)
        self._newest: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._peaks: FloatArray = np.zeros((0, depth), dtype=np.float64)

    def __len__(self) -> int:
        """How many workers have windows."""
        return len(self._slots)

    def observe(self, worker: str, row: int, time: float, value: float) -> None:
        """Takes one sample; see `observe_many`."""
        self.observe_many([worker], [row], [time], [value])

    def observe_many(
        self, workers: Sequence[str], rows: npt.ArrayLike, times: npt.ArrayLike, values: npt.ArrayLike
    ) -> int:
        """Takes samples of any workers, in any order.

        Args:
            workers: Pod UID of each sample, n of them.
            rows: The bank's row of each sample's workload, shape (n,). A worker that comes with another row
                than before starts anew there.
            times: When, epoch seconds, shape (n,).
            values: VRAM in bytes, shape (n,).

        Returns:
            How many samples were left out because they are older than all windows kept.

        Raises:
            ValueError: A time that is not finite or a value that is NaN. Nothing was counted then.
        """
        times, values = np.asarray(times, np.float64), np.asarray(values, np.float64)
        if not np.isfinite(times).all() or np.isnan(values).any():
            raise ValueError("a peak's time must be finite and its value a number")
        slots = self._slots_of(workers, np.asarray(rows, np.intp), times)
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
            self._leave_row(worker, slot)

    def forget_row(self, row: int) -> None:
        """Drops the windows of all workers of a workload; to be called when its row is removed."""
        for worker in tuple(self._workers.get(row, ())):
            self.forget(worker)

    def _leave_row(self, worker: str, slot: int) -> None:
        row = int(self._rows[slot])
        self._workers[row].discard(worker)
        if not self._workers[row]:
            del self._workers[row]

    def _slots_of(self, workers: Sequence[str], rows: IndexArray, times: FloatArray) -> IndexArray:
        slots = np.empty(len(workers), dtype=np.intp)
        # From the earliest on, for the first sample of a worker opens its window.
        for sample in np.argsort(times, kind="stable"):
            worker, row = workers[sample], rows[sample]
            slot = self._slots.get(worker)
            if slot is None or self._rows[slot] != row:
                slot = self._open(worker, row, times[sample])
            slots[sample] = slot
        return slots

    def _open(self, worker: str, row: int, time: float) -> int:
        slot = self._slots.get(worker)
        if slot is None:
            slot = self._slots[worker] = self._free.pop() if self._free else len(self._slots)
        else:
            self._leave_row(worker, slot)
        if slot >= len(self._rows):
            self._grow()
        self._rows[slot] = row
        self._workers[int(row)].add(worker)
        self._opened[slot] = time
        self._newest[slot] = 0
        self._peaks[slot] = np.nan
        return slot

    def _grow(self) -> None:
        more = max(64, len(self._rows))
        self._rows = np.pad(self._rows, (0, more))
        self._opened = np.pad(self._opened, (0, more))
        self._newest = np.pad(self._newest, (0, more))
        self._peaks = np.pad(self._peaks, ((0, more), (0, 0)))

    def _advance(self, slots: IndexArray, windows: npt.NDArray[np.int64]) -> None:
        """Makes room for windows that are newer than those kept."""
        before = self._newest.copy()
        np.maximum.at(self._newest, slots, windows)
        moved = np.flatnonzero(self._newest > before)
        steps = np.minimum(self._newest[moved] - before[moved], self._depth)
        for step in range(1, self._depth + 1):
            ahead = moved[steps >= step]
            self._peaks[ahead, (self._newest[ahead] - step + 1) % self._depth] = np.nan

    def _raise_peaks(self, slots: IndexArray, windows: npt.NDArray[np.int64], values: FloatArray) -> None:
        cells, first, which = np.unique(
            slots * self._depth + windows % self._depth, return_index=True, return_inverse=True
        )
        highest = np.full(len(cells), -np.inf)
        np.maximum.at(highest, which, values)
        peaks = self._peaks.reshape(-1)
        old = peaks[cells]
        higher = np.isnan(old) | (highest > old)
        replaced = highest > old
        rows = self._rows[slots[first]]
        # A peak enters and leaves at the same time, whenever it was seen: else it would not leave as a whole.
        ends = self._opened[slots[first]] + (windows[first] + 1) * self._window
        self._bank.subtract(rows[replaced], old[replaced], _WEIGHT, ends[replaced])
        self._bank.add(rows[higher], highest[higher], _WEIGHT, ends[higher])
        peaks[cells[higher]] = highest[higher]
