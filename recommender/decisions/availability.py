"""Whether usage of a workload comes in: the condition MetricsAvailable.

Usage of a sample that is younger than the patience comes in, whatever becomes of pods meanwhile, so that a
rollout does not make the condition flap. Where there is none, it takes the whole patience without a sample,
with a pod that runs and a source that answers, to say that there is none. Until one or the other is sure the
condition stays as it is.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from recommender.bank.buckets import FloatArray
from recommender.decisions.conditions import Condition, Status, find_condition
from recommender.histories.estimators import BoolArray
from recommender.keys import WorkloadKey, to_timestamp
from recommender.usage.hearing import Heard

METRICS_AVAILABLE: Final = "MetricsAvailable"

AvailabilityReason = Literal["UsageSeen", "NoSamples", "SourceUnavailable", "NoPods", "AwaitingUsage"]
"""Reasons of this condition."""


class Availability(IntEnum):
    """Whether usage of a workload comes in, as a number for arrays."""

    UNTOLD = 0
    SEEN = 1
    NO_SAMPLES = 2
    SOURCE_AWAY = 3
    NO_PODS = 4
    AWAITED = 5


_REASONS: Final[dict[Availability, AvailabilityReason]] = {
    Availability.SEEN: "UsageSeen",
    Availability.NO_SAMPLES: "NoSamples",
    Availability.SOURCE_AWAY: "SourceUnavailable",
    Availability.NO_PODS: "NoPods",
    Availability.AWAITED: "AwaitingUsage",
}
_BY_REASON: Final[dict[object, Availability]] = {reason: each for each, reason in _REASONS.items()}
_STATUSES: Final = {
    Availability.SEEN: True,
    Availability.NO_SAMPLES: False,
    Availability.SOURCE_AWAY: False,
    Availability.NO_PODS: None,
    Availability.AWAITED: None,
}


@dataclass(frozen=True, slots=True)
class UsageFound:
    """Whether usage of a workload comes in, and what that rests on; times in seconds since the epoch.

    Attributes:
        availability: whether it does.
        touched: when the latest sample was, minus infinity where there was none.
        began: since when a pod of it runs, as far as that matters: minus infinity where that is long ago,
            infinity while none runs.
        heard: what the metric source has answered.
    """

    availability: Availability
    touched: float
    began: float
    heard: Heard


def find_usage(status: Status, *, touched: float, began: float, heard: Heard, now: float) -> UsageFound:
    """Find out whether usage of a workload comes in.

    Args:
        status: the workload's, which says how it was.
        touched: when the latest sample was, in seconds since the epoch.
        began: since when a pod of it runs, as in `UsageFound`.
        heard: what the metric source has answered.
        now: seconds since the epoch.
    """
    found = _find(_told(status), touched, began, heard, away=heard.is_away(now))
    return UsageFound(found, touched, began, heard)


def _find(told: Availability, touched: float, began: float, heard: Heard, *, away: bool) -> Availability:
    idle = began == math.inf
    if away:
        return Availability.NO_PODS if idle else Availability.SOURCE_AWAY
    if touched >= heard.fresh_from:
        return Availability.SEEN
    if idle:
        # What a former leader saw may be true still: the first answer tells.
        return told if told is Availability.SEEN and not heard.ever else Availability.NO_PODS
    if max(touched, began) < heard.silent_before:
        return Availability.NO_SAMPLES
    return Availability.AWAITED if told is Availability.NO_PODS else told


def has_turned(
    last: npt.NDArray[np.int8], touched: FloatArray, began: FloatArray, heard: Heard, now: float
) -> BoolArray:
    """Where `find_usage` would find something else than it did last, shape (n,).

    While the source is away there is nothing to find out: that is told of workloads that are looked at for
    another reason, or an outage would be a write for each.

    Args:
        last: what was found.
        touched: when the latest sample was, in seconds since the epoch.
        began: since when a pod ran at that look.
        heard: what the metric source has answered.
        now: seconds since the epoch.
    """
    if heard.is_away(now):
        return np.zeros(len(last), dtype=np.bool_)
    stays = np.where(last == Availability.NO_PODS, Availability.AWAITED, last)
    silent = np.maximum(touched, began) < heard.silent_before
    found = np.where(silent, Availability.NO_SAMPLES, stays)
    kept = (last == Availability.SEEN) & (not heard.ever)
    found = np.where((began == np.inf) & ~kept, Availability.NO_PODS, found)
    found = np.where(touched >= heard.fresh_from, Availability.SEEN, found)
    return np.asarray(found != last)


def availability_condition(live: Status, found: UsageFound | None) -> Iterator[Condition]:
    """The condition MetricsAvailable, where it is new or there for another reason than before."""
    if found is None or found.availability in {Availability.UNTOLD, _told(live)}:
        return
    reason, status = _REASONS[found.availability], _STATUSES[found.availability]
    yield Condition(METRICS_AVAILABLE, reason, _message(found), status=status)


def _told(status: Status) -> Availability:
    """What a status says; nothing where somebody else has written something."""
    there = find_condition(status, METRICS_AVAILABLE) or {}
    found = _BY_REASON.get(there.get("reason"), Availability.UNTOLD)
    if found is Availability.UNTOLD or there.get("status") != Condition.word(_STATUSES[found]):
        return Availability.UNTOLD
    return found


def _message(found: UsageFound) -> str:
    since = max(found.touched, found.began)
    messages = {
        Availability.SEEN: "Usage of its pods comes in",
        Availability.NO_SAMPLES: (
            f"The metric source answers and has no usage of its running pods{_since(since)}: see what becomes"
            " of samples in vgpu_recommender_samples_total, and docs/metric-sources.md"
        ),
        Availability.SOURCE_AWAY: (
            f"The metric source has not answered{_since(found.heard.failing_since)}:"
            " see the recommender's /readyz and docs/metric-sources.md"
        ),
        Availability.NO_PODS: "No pod of it runs",
        Availability.AWAITED: "A pod of it runs, and no usage of it has come in yet",
    }
    return messages[found.availability]


def _since(time: float | None) -> str:
    return f" since {to_timestamp(time)}" if time is not None and math.isfinite(time) else ""


class Beginnings:
    """Knows since when workloads have had running pods, as far as that matters: of those that had none."""

    def __init__(self) -> None:
        self._idle: set[WorkloadKey] = set()
        # In the order of their times, of which none is earlier than the one before.
        self._began: dict[WorkloadKey, float] = {}
        self._latest = -math.inf

    def look(self, key: WorkloadKey, heard: Heard, now: float, *, runs: bool) -> float:
        """Take note of whether a pod of a workload runs; returns since when, as in `UsageFound`.

        A term knows nothing of the time before it; that is before everything that has been heard in it.
        """
        self._latest = max(self._latest, now)
        self._forget_what_is_long_ago(heard.silent_before)
        if not runs:
            self._began.pop(key, None)
            self._idle.add(key)
            return math.inf
        if key in self._idle:
            self._idle.discard(key)
            self._began[key] = self._latest
        return self._began.get(key, -math.inf)

    def forget(self, key: WorkloadKey) -> None:
        """Drop a workload that is no more."""
        self._idle.discard(key)
        self._began.pop(key, None)

    def _forget_what_is_long_ago(self, before: float) -> None:
        while self._began:
            key = next(iter(self._began))
            if self._began[key] >= before:
                return
            del self._began[key]
