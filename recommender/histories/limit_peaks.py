"""Peaks of VRAM under the limits that the pods of a workload have run with, for all workloads in arrays."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from recommender.bank.buckets import FloatArray, IndexArray
from recommender.cluster.pods import TrackedPod
from recommender.histories.estimators import BoolArray
from recommender.histories.preallocation import SAME_LIMIT, all_hold, elsewhere, expected, vram_limit

_MATURE: Final = 600.0
"""A pod's peak counts once its samples span so many seconds: most models are loaded by then."""

_LASTING: Final = 3600.0
"""A low peak counts as one only then, as it would lift the guard; a large model may take so long to load."""

_LOWER: Final = 0.98
"""A peak that is below this part of what was expected is lower."""


class LimitPeaks:
    """Keeps the last two distinct limits of each workload, each with the smallest and the largest peak.

    Only a pod that has been watched long enough adds to it, when its peak is new or has risen: to the largest
    at once, to the smallest when it has lasted. A limit close to one that is kept counts as that one, with
    the peak that pods would have there; a third one takes the older's place.
    A workload is known by its row, a pod by its UID; its limit is read once, when it is first seen.

    Args:
        limit_of: the VRAM limit that a pod runs with, in bytes, NaN where it has none.
        mature: seconds that a pod's samples have to span.
        lasting: seconds that they have to span for its peak to count as a low one.
    """

    def __init__(
        self,
        *,
        limit_of: Callable[[TrackedPod], float] = lambda pod: vram_limit(pod.pod),
        mature: float = _MATURE,
        lasting: float = _LASTING,
    ) -> None:
        self._limit_of = limit_of
        self._mature = mature
        self._lasting = lasting
        self._table: FloatArray = np.full((0, 6), np.nan)
        self._slots: dict[str, int] = {}
        self._free: list[int] = []
        self._uids = [""] * 64
        # Of each slot: its row, -1 where it is free.
        self._row: IndexArray = np.full(64, -1, dtype=np.intp)
        # Of each pod: limit, created, first, last, peak.
        self._pods: FloatArray = np.zeros((5, 64))

    def __len__(self) -> int:
        """How many pods are watched."""
        return len(self._slots)

    def observe(
        self,
        pods: Sequence[TrackedPod],
        rows: IndexArray,
        of: IndexArray,
        times: FloatArray,
        values: FloatArray,
    ) -> None:
        """Takes samples of VRAM, in any order.

        Args:
            pods: p pods.
            rows: the row of each pod's workload, shape (p,).
            of: which pod each sample is of, shape (n,).
            times: when, in seconds since the epoch, shape (n,).
            values: in bytes, shape (n,).
        """
        seen = np.flatnonzero(np.bincount(of, minlength=len(pods)))
        touched = self._slots_of([pods[index] for index in seen.tolist()], rows[seen])
        slots = np.full(len(pods), -1, dtype=np.intp)
        slots[seen] = touched
        _, _, first, last, peak = self._pods
        span, before = (last - first)[touched], peak[touched]
        np.minimum.at(first, slots[of], times)
        np.maximum.at(last, slots[of], times)
        np.maximum.at(peak, slots[of], values)
        longer = (last - first)[touched]
        crossed = [(span < least) & (longer >= least) for least in (self._mature, self._lasting)]
        news = (longer >= self._mature) & ((peak[touched] > before) | crossed[0] | crossed[1])
        self._enter(touched[news])

    def forget_pod(self, uid: str) -> None:
        """Drop a pod that is gone; the peak that it has added stays."""
        slot = self._slots.pop(uid, None)
        if slot is not None:
            self._free.append(slot)
            self._row[slot] = -1

    def forget_rows(self, rows: IndexArray) -> None:
        """Drop workloads, whose rows may go to others, with their pods."""
        for slot in np.flatnonzero(np.isin(self._row, rows)).tolist():
            self.forget_pod(self._uids[slot])
        self._make_room(rows)
        self._table[rows] = np.nan

    def table(self, rows: IndexArray) -> FloatArray:
        """What is known of rows, in bytes, NaN for what is not, shape (n, 6).

        Older limit, the smallest peak that has lasted and the largest peak under it; the same of the newer.
        """
        self._make_room(rows)
        return self._table[rows]

    def shares(self, rows: IndexArray) -> FloatArray:
        """Older limit, its largest peak, newer limit and its, of rows whose peaks all hold; NaN elsewhere.

        Returns:
            Bytes, shape (n, 4).
        """
        table = self.table(rows)
        return np.where(all_hold(table)[:, np.newaxis], table[:, [0, 2, 3, 5]], np.nan)

    def load(self, rows: IndexArray, table: FloatArray) -> None:
        """Take up what `table` has given of rows that are new."""
        self._make_room(rows)
        self._table[rows] = table

    def _make_room(self, rows: IndexArray) -> None:
        more = int(rows.max(initial=-1)) + 1 - len(self._table)
        if more > 0:
            more = max(more, len(self._table), 64)
            self._table = np.pad(self._table, ((0, more), (0, 0)), constant_values=np.nan)

    def _slots_of(self, pods: Sequence[TrackedPod], rows: IndexArray) -> IndexArray:
        known = self._slots
        slots = np.array([known.get(pod.uid, -1) for pod in pods], dtype=np.intp)
        there = (slots >= 0) & (self._row[slots] == rows)
        for index in np.flatnonzero(~there).tolist():
            slots[index] = self._open(pods[index], int(rows[index]))
        return slots

    def _open(self, pod: TrackedPod, row: int) -> int:
        self.forget_pod(pod.uid)
        slot = self._slots[pod.uid] = self._free_slot()
        self._uids[slot] = pod.uid
        self._row[slot] = row
        self._pods[:, slot] = (self._limit_of(pod), pod.created, np.inf, -np.inf, 0.0)
        return slot

    def _free_slot(self) -> int:
        if self._free:
            return self._free.pop()
        slot = len(self._slots)
        if slot >= len(self._row):
            more = len(self._row)
            self._row = np.pad(self._row, (0, more), constant_values=-1)
            self._pods = np.pad(self._pods, ((0, 0), (0, more)))
            self._uids += [""] * more
        return slot

    def _enter(self, slots: IndexArray) -> None:
        """Add the peaks of pods, those of one workload in the order in which the pods were made."""
        limit, _, _, _, peak = self._pods[:, slots]
        slots = slots[(limit > 0) & (peak > 0)]
        slots = slots[np.lexsort((self._pods[1, slots], self._row[slots]))]
        rows, counts = np.unique(self._row[slots], return_counts=True)
        self._make_room(rows)
        turn = np.arange(len(slots)) - np.repeat(np.cumsum(counts) - counts, counts)
        in_turns = slots[np.argsort(turn, kind="stable")]
        for part in np.split(in_turns, np.cumsum(np.bincount(turn))[:-1]):
            self._enter_one_each(part)

    def _enter_one_each(self, slots: IndexArray) -> None:
        limit, _, first, last, peak = self._pods[:, slots]
        kept = self._table[self._row[slots]]
        lasts = last - first >= self._lasting
        lower = peak < _LOWER * expected(kept, limit)
        counts = lasts | ~lower
        self._write(slots[counts], limit[counts], peak[counts], lasts[counts])

    def _write(self, slots: IndexArray, limit: FloatArray, peak: FloatArray, lasts: BoolArray) -> None:
        rows = self._row[slots]
        kept = self._table[rows]
        limits = kept[:, 0::3]
        apart = np.abs(limits - limit[:, np.newaxis])
        near = (apart <= SAME_LIMIT * np.maximum(limits, limit[:, np.newaxis])).any(axis=1)
        new = np.flatnonzero(~near)
        kept[new, :3] = kept[new, 3:]
        kept[new, 3:] = np.stack([limit[new], np.full(len(new), np.nan), peak[new]], axis=1)
        column = np.where(near, np.where(np.isnan(apart), np.inf, apart).argmin(axis=1), 1) * 3
        every = np.arange(len(rows))
        least, most = elsewhere(peak, limit, kept[every, column])
        kept[every, column + 2] = np.maximum(kept[every, column + 2], least)
        kept[every, column + 1] = np.fmin(kept[every, column + 1], np.where(lasts, most, np.nan))
        self._table[rows] = kept
