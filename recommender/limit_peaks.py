"""Peaks of VRAM under the limits that the pods of a workload have run with, for all workloads in arrays."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from recommender.buckets import FloatArray, IndexArray
from recommender.pods import TrackedPod
from recommender.preallocation import SAME_LIMIT, contradicted_from_below, vram_limit

_MATURE: Final = 600.0
"""A pod's peak counts once its samples span so many seconds: most models are loaded by then."""

_LASTING: Final = 3600.0
"""A peak that is lower than all before would lift the guard; a large model may take so long to load."""


class LimitPeaks:
    """Keeps the last two distinct limits of each workload, each with the peak seen under it.

    Only a pod that has been watched long enough adds to it, when its peak is new or has risen. A limit close
    to one that is kept counts as that one, with a peak in proportion; a third one takes the older's place.
    A workload is known by its row, a pod by its UID; its limit is read once, when it is first seen.

    Args:
        limit_of: the VRAM limit that a pod runs with, in bytes, NaN where it has none.
        mature: seconds that a pod's samples have to span.
        lasting: seconds that they have to span where its peak contradicts by being lower.
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
        self._table: FloatArray = np.full((0, 4), np.nan)
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
        """Older limit, its peak, newer limit, its peak of each row in bytes, NaN for none, shape (n, 4)."""
        self._make_room(rows)
        return self._table[rows]

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
        share = peak / limit
        early = contradicted_from_below(kept, share) & (last - first < self._lasting)
        self._write(slots[~early], limit[~early], share[~early])

    def _write(self, slots: IndexArray, limit: FloatArray, share: FloatArray) -> None:
        rows = self._row[slots]
        kept = self._table[rows]
        limits = kept[:, 0::2]
        apart = np.abs(limits - limit[:, np.newaxis])
        near = apart <= SAME_LIMIT * np.maximum(limits, limit[:, np.newaxis])
        nearest = np.where(np.isnan(apart), np.inf, apart).argmin(axis=1)
        known = np.flatnonzero(near.any(axis=1))
        columns = nearest[known]
        kept[known, 2 * columns + 1] = share[known] * limits[known, columns]
        new = np.flatnonzero(~near.any(axis=1))
        kept[new, :2] = kept[new, 2:]
        kept[new, 2] = limit[new]
        kept[new, 3] = (share * limit)[new]
        self._table[rows] = kept
