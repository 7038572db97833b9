"""Which workloads usage has news of: all others need no look, and cost nothing but arithmetic on arrays.

A look reads a workload's status, decides, and composes the status anew: Python code for each workload. That
it would change nothing can be told beforehand, from what the last look rested on:

- what is recommended moves only when a request comes to lie on another side of its bounds, when the target
  moves while it lies outside (or while a cron rule is active, whose word is compared with the target), when
  there are samples enough, or when VRAM begins or ceases to be left alone;
- the estimation in the status is written when a value is more than a tenth off, or differs after an hour;
- usage comes in that did not, or has not come in for longer than the patience.

Everything else that a look depends on, like spec, status, pods, cards and cron rules, `unsettle` tells of.
The screen errs on one side only: it may name a workload for which there is nothing to do.
"""

from itertools import repeat
from typing import Final

import numpy as np
import numpy.typing as npt

from recommender.bank.buckets import FloatArray
from recommender.decisions.availability import has_turned
from recommender.decisions.conditions import Status
from recommender.decisions.looks import LOOK, Looks, look_at
from recommender.decisions.status import ESTIMATION_AGE, ESTIMATION_MOVE
from recommender.decisions.verdicts import Verdict
from recommender.histories.estimation import Estimation
from recommender.histories.estimators import BoolArray
from recommender.keys import WorkloadKey
from recommender.usage.hearing import NOTHING_HEARD, Heard
from vgpu.slices import Resource

# A little less than what is written, so that rounding hides no move.
_MOVE: Final = float(ESTIMATION_MOVE) * (1 - 1e-9)
_NONE: Final = -1
"""In place of a slot: there is none."""


class Attention:
    """Remembers the last look at each workload."""

    def __init__(self) -> None:
        self._slots: dict[WorkloadKey, int] = {}
        self._keys: list[WorkloadKey] = []
        self._free: list[int] = []
        self._looks = np.zeros(64, dtype=LOOK)

    def __len__(self) -> int:
        """How many workloads are known."""
        return len(self._slots)

    def pick(
        self, estimation: Estimation, now: float, heard: Heard = NOTHING_HEARD
    ) -> tuple[WorkloadKey, ...]:
        """The workloads that need a look: those that are not settled, and those that usage has news of.

        For 100,000 workloads this takes longer than the event loop may stand still, and is made for a thread:
        it changes nothing, and a look that is noted meanwhile counts now or the next time.

        Args:
            estimation: of all workloads that have samples; of those that are known besides there are none.
            now: seconds since the epoch.
            heard: what the metric source had answered before the estimation was made.
        """
        keys, looks = estimation.keys, self._looks
        slots = np.fromiter(map(self._slots.get, keys, repeat(_NONE)), dtype=np.intp, count=len(keys))
        slots[slots >= len(looks)] = _NONE  # noted after we had taken what there was
        seen = slots != _NONE
        quiet = np.zeros(len(looks), dtype=np.bool_)
        quiet[slots[seen]] = ~_has_news(looks[slots], estimation, now, heard)[seen]
        silent = looks["known"].copy()
        silent[slots[seen]] = False
        quiet[silent] = ~_has_news_without_samples(looks[silent], now, heard)
        picked = looks["known"] & ~(quiet & looks["settled"])
        never = (keys[index] for index in np.flatnonzero(~seen).tolist())
        return (*never, *(self._keys[slot] for slot in np.flatnonzero(picked).tolist()))

    def settle(
        self, key: WorkloadKey, verdict: Verdict, status: Status, *, estimation_written: float
    ) -> None:
        """Take note of a look after which nothing had to be written.

        A workload goes on to be picked where that was not the last look of its kind: where the decision has
        changed something, or the status holds what is to be written later.

        Args:
            key: the workload.
            verdict: what was found out.
            status: its status, which is in step with the verdict.
            estimation_written: when the estimation in it was written, in seconds since the epoch.
        """
        look = look_at(verdict, status, estimation_written)
        if look is None:
            self.unsettle(key)
        else:
            slot = self._slot(key)  # comes first: it may make room
            self._looks[slot] = look

    def unsettle(self, key: WorkloadKey) -> None:
        """Have a workload picked until it is settled again."""
        slot = self._slot(key)
        self._looks["settled"][slot] = False

    def forget(self, key: WorkloadKey) -> None:
        """Drop a workload that is no more."""
        slot = self._slots.pop(key, None)
        if slot is not None:
            self._looks[slot] = np.zeros((), dtype=LOOK)
            self._free.append(slot)

    def _slot(self, key: WorkloadKey) -> int:
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = self._new_slot(key)
            self._looks["known"][slot] = True
        return slot

    def _new_slot(self, key: WorkloadKey) -> int:
        if self._free:
            slot = self._free.pop()
            self._keys[slot] = key
            return slot
        self._keys.append(key)
        if len(self._keys) > len(self._looks):
            self._looks = np.concatenate((self._looks, np.zeros(len(self._looks), dtype=LOOK)))
        return len(self._keys) - 1


def _has_news(looks: Looks, estimation: Estimation, now: float, heard: Heard) -> BoolArray:
    """Whether a look now may bring something else than the last one, shape (n,)."""
    news = _waiting(looks, estimation, now) != looks["waiting"]
    news |= estimation.preallocated != looks["preallocated"]
    overdue = now - looks["estimation_written"] >= ESTIMATION_AGE
    for resource in Resource:
        last = looks[resource.value]
        amounts = np.stack(
            [column[resource] for column in (estimation.target, estimation.lower, estimation.upper)], axis=1
        )
        empty = estimation.empty[resource]
        moved = _decides_otherwise(last, amounts) | _is_to_be_written(
            last, amounts, estimation.confidence, overdue
        )
        news |= last["relevant"] & np.where(empty, ~last["empty"], last["empty"] | moved)
    turned = has_turned(looks["usage"], estimation.touched, looks["began"], heard, now)
    return np.asarray((news & ~looks["blind"]) | turned)


def _has_news_without_samples(looks: Looks, now: float, heard: Heard) -> BoolArray:
    """Whether workloads without samples had some at the last look, or have had none for long, shape (n,)."""
    had = looks["preallocated"] | (looks["waiting"] != 1)
    never = np.full(len(looks), -np.inf)
    return np.asarray((had & ~looks["blind"]) | has_turned(looks["usage"], never, looks["began"], heard, now))


def _waiting(looks: Looks, estimation: Estimation, now: float) -> npt.NDArray[np.int64]:
    few = (estimation.samples < looks["min_samples"]) | np.isnan(estimation.first)
    with np.errstate(invalid="ignore"):
        young = ~(now - estimation.first >= looks["delay"])
    return np.where(few, 1, np.where(young, 2, 0))


def _decides_otherwise(last: Looks, amounts: FloatArray) -> BoolArray:
    target, lower, upper = amounts.T
    # A request of NaN, where none is held against the bounds, lies on no side of them.
    side = np.where(last["request"] < lower, -1, np.where(last["request"] > upper, 1, 0))
    return np.asarray((side != last["side"]) | (last["sensitive"] & (target != last["target"])))


def _is_to_be_written(
    last: Looks, amounts: FloatArray, confidence: FloatArray, overdue: BoolArray
) -> BoolArray:
    written, same = last["written"], last["same"]
    off = np.abs(amounts - written) > _MOVE * np.abs(written)
    differs = (amounts != written).any(axis=1) | (confidence < same[:, 0]) | (confidence > same[:, 1])
    return np.asarray(off.any(axis=1) | (differs & overdue))
