"""What is known of each workload's external scaler: when it is to be asked, and what its answers are worth.

Without waiting for anything: who decides about workloads looks things up here, and who asks notes them down.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from recommender.decisions.advising import (
    EXTERNAL_SCALER_AVAILABLE,
    NOT_ASKED,
    Consultation,
    advice_in_status,
)
from recommender.decisions.conditions import Condition
from recommender.decisions.external import NO_ADVICE, Advice
from recommender.external_scaler.answers import Answer
from recommender.external_scaler.errors import ScalerError
from recommender.keys import WorkloadKey, key_of, to_epoch
from vgpu.api import ExternalScaler, WorkloadSpec
from vgpu.kube.objects import CustomObject
from vgpu.slices import VgpuSlice

FRESH_INTERVALS: Final = 3
"""For so many intervals an answer counts."""
SHORTEST_INTERVAL: Final = 10.0
"""Seconds that lie between two questions at least, or the recommender's interval if that is less."""

_ANSWERED: Final = Condition(
    EXTERNAL_SCALER_AVAILABLE, "Answered", "The external scaler answers", status=True
)
_DISABLED: Final = Condition(
    EXTERNAL_SCALER_AVAILABLE,
    "Disabled",
    "The operator has not switched external scalers on (setting external_scaler_urls of the recommender)",
    status=False,
)


class Asked(NamedTuple):
    """What is needed to ask a workload's scaler."""

    scaler: ExternalScaler
    baseline: VgpuSlice


@dataclass(slots=True)
class _Entry:
    """One workload. `until` is when its advice ceases to count, `due` when its scaler is to be asked next."""

    asked: Asked
    interval: float
    advice: Advice
    until: float
    due: float
    condition: Condition | None = None
    told: Consultation = field(default=NOT_ASKED)


class ScalerBook:
    """Remembers the workloads with an external scaler; they tell of themselves when they are decided about.

    Args:
        enabled: whether the operator has switched external scalers on.
        interval: seconds between two questions where the workload says nothing.
        changed: told of a workload about which something else is to be decided now.
    """

    def __init__(self, *, enabled: bool, interval: float, changed: Callable[[WorkloadKey], None]) -> None:
        self._enabled = enabled
        self._interval = interval
        self._changed = changed
        self._entries: dict[WorkloadKey, _Entry] = {}
        self._queue: list[tuple[float, WorkloadKey]] = []

    def __len__(self) -> int:
        """How many workloads have a scaler that is asked."""
        return len(self._entries)

    def consult(self, live: CustomObject, spec: WorkloadSpec, now: float) -> Consultation:
        """What a workload's scaler says; one that is not known yet will be asked.

        What it had recommended before a restart counts until it has had the time to say it again.
        """
        scaler = spec.auto_scaling_config.external_scaler
        if scaler is None or not scaler.enable:
            if self._entries:
                self._entries.pop(key_of(live.metadata), None)
            return NOT_ASKED
        if not self._enabled:
            return Consultation(condition=_DISABLED)
        key, asked = key_of(live.metadata), Asked(scaler, spec.resources)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = self._new(live, asked, now)
            self._plan(key, entry.due)
        elif entry.asked.scaler != scaler:
            self._reconfigure(key, entry, live, asked, now)
        entry.asked = asked
        entry.told = _consultation(entry, now)
        return entry.told

    def forget(self, key: WorkloadKey) -> None:
        """Drop a workload that is no more."""
        self._entries.pop(key, None)

    def asked(self, key: WorkloadKey) -> Asked | None:
        """What is needed to ask a workload's scaler; None where it has none any more."""
        entry = self._entries.get(key)
        return entry.asked if entry is not None else None

    def next_due(self) -> float | None:
        """When a scaler is to be asked next, in seconds since the epoch; None while there is none."""
        self._drop_outdated()
        return self._queue[0][0] if self._queue else None

    def take_due(self, now: float) -> Iterator[WorkloadKey]:
        """The workloads whose scaler is to be asked now; each comes again once the outcome is noted."""
        while (due := self.next_due()) is not None and due <= now:
            yield heapq.heappop(self._queue)[1]

    def answered(self, key: WorkloadKey, answer: Answer, *, begun: float, now: float) -> None:
        """Note down an answer.

        Args:
            key: the workload.
            answer: one without recommendation means that the last one is still right.
            begun: when it was asked.
            now: seconds since the epoch.
        """
        entry = self._entries.get(key)
        if entry is None:
            return
        if answer.requests is not None:
            entry.advice = Advice(answer.requests, answer.reason)
        elif now >= entry.until:  # what is right now is what usage has decided since
            entry.advice = NO_ADVICE
        entry.until = now + FRESH_INTERVALS * entry.interval
        entry.condition = _ANSWERED
        self._done(key, entry, begun=begun, now=now)

    def failed(self, key: WorkloadKey, error: ScalerError, *, begun: float, now: float) -> None:
        """Note down that there was no answer: the last one counts until it is too old.

        Args:
            key: the workload.
            error: why.
            begun: when it was asked.
            now: seconds since the epoch.
        """
        entry = self._entries.get(key)
        if entry is not None:
            entry.condition = Condition(EXTERNAL_SCALER_AVAILABLE, error.reason, str(error), status=False)
            self._done(key, entry, begun=begun, now=now)

    def put_off(self, key: WorkloadKey, now: float) -> None:
        """Have a workload asked for an interval later: it is not there now."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.due = now + entry.interval
            self._plan(key, entry.due)

    def _new(self, live: CustomObject, asked: Asked, now: float) -> _Entry:
        interval = self._interval_of(asked.scaler)
        return _Entry(
            asked=asked,
            interval=interval,
            advice=Advice(advice_in_status(live.status)),
            until=now + FRESH_INTERVALS * interval,
            due=_first(live, asked.scaler, now),
        )

    def _reconfigure(
        self, key: WorkloadKey, entry: _Entry, live: CustomObject, asked: Asked, now: float
    ) -> None:
        entry.interval = self._interval_of(asked.scaler)
        entry.due = _first(live, asked.scaler, now)
        self._plan(key, entry.due)

    def _interval_of(self, scaler: ExternalScaler) -> float:
        interval = self._interval if scaler.interval is None else scaler.interval
        return max(interval, min(SHORTEST_INTERVAL, self._interval))

    def _done(self, key: WorkloadKey, entry: _Entry, *, begun: float, now: float) -> None:
        entry.due = max(begun + entry.interval, now)
        self._plan(key, entry.due)
        if not _same(_consultation(entry, now), entry.told):
            self._changed(key)

    def _plan(self, key: WorkloadKey, due: float) -> None:
        heapq.heappush(self._queue, (due, key))

    def _drop_outdated(self) -> None:
        """What was planned before something else was: a workload has one time at which it is due."""
        while self._queue:
            due, key = self._queue[0]
            entry = self._entries.get(key)
            if entry is not None and entry.due == due:
                return
            heapq.heappop(self._queue)


def _first(live: CustomObject, scaler: ExternalScaler, now: float) -> float:
    """When to ask for the first time: a workload is made for its first pod."""
    created = live.metadata.creation_timestamp
    return max(now, to_epoch(created) + scaler.initial_delay_period) if created else now


def _consultation(entry: _Entry, now: float) -> Consultation:
    advice = entry.advice if now < entry.until else NO_ADVICE
    return Consultation(advice=advice, condition=entry.condition, asked=True)


def _same(one: Consultation, other: Consultation) -> bool:
    """Whether two mean the same: the words of a scaler may be others each time."""
    return (one.advice.requests, one.condition) == (other.advice.requests, other.condition)
