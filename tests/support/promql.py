"""The part of PromQL that the services use, evaluated as Prometheus 3 does it.

`tests.support.promql_parser` reads it from text.
"""

import bisect
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Protocol

LOOKBACK = 300.0
"""Seconds in which an instant selector still finds a series' last sample."""

Labels = tuple[tuple[str, str], ...]
Points = list[tuple[float, float]]
STALE = None
"""The value of a staleness marker: from here on the series is gone."""


@dataclass(slots=True)
class StoredSeries:
    """Samples of one series in the order of their times."""

    times: list[float] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)

    def add(self, time: float, value: float | None) -> None:
        """Keep a sample to the millisecond; one more at the same time replaces the first."""
        at = round(time, 3)
        index = bisect.bisect_left(self.times, at)
        if index < len(self.times) and self.times[index] == at:
            self.values[index] = value
            return
        self.times.insert(index, at)
        self.values.insert(index, value)

    def window(self, start: float, end: float) -> Points:
        """The samples in (start, end], left-open as of Prometheus 3, without staleness markers."""
        first, last = bisect.bisect_right(self.times, start), bisect.bisect_right(self.times, end)
        pairs = zip(self.times[first:last], self.values[first:last], strict=True)
        return [(time, value) for time, value in pairs if value is not STALE]

    def at(self, time: float) -> float | None:
        """What an instant selector sees: the last value within the look-back, unless it went stale."""
        index = bisect.bisect_right(self.times, time) - 1
        if index < 0 or self.times[index] <= time - LOOKBACK:
            return None
        return self.values[index]


Store = Mapping[Labels, StoredSeries]


class InstantVector(Protocol):
    """An expression that gives a value for each label set at a time."""

    def at(self, store: Store, time: float) -> dict[Labels, float]:
        """The values at one time by labels."""
        ...


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on a label; a label that is missing counts as empty."""

    label: str
    operator: str
    value: str

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels fulfil it; regular expressions match the whole value."""
        found = labels.get(self.label, "")
        if self.operator in {"=", "!="}:
            return (found == self.value) is (self.operator == "=")
        return (re.fullmatch(self.value, found) is not None) is (self.operator == "=~")


@dataclass(frozen=True, slots=True)
class Selector:
    """`name{label="value"}`."""

    matchers: tuple[Matcher, ...]

    def at(self, store: Store, time: float) -> dict[Labels, float]:
        """The latest values, unless they are too old or stale."""
        found = ((labels, series.at(time)) for labels, series in self.select(store))
        return {labels: value for labels, value in found if value is not None}

    def select(self, store: Store) -> Iterable[tuple[Labels, StoredSeries]]:
        """The series that fulfil the matchers."""
        for labels, series in store.items():
            if all(matcher.holds(dict(labels)) for matcher in self.matchers):
                yield labels, series


@dataclass(frozen=True, slots=True)
class RangeSelector:
    """`selector[5m]`."""

    selector: Selector
    window: float

    def raw(self, store: Store, time: float) -> list[tuple[Labels, Points]]:
        """The raw samples."""
        found = (
            (labels, series.window(time - self.window, time))
            for labels, series in self.selector.select(store)
        )
        return [(labels, points) for labels, points in found if points]


@dataclass(frozen=True, slots=True)
class Subquery:
    """`expression[5m:30s]`: evaluated at the multiples of the resolution since the epoch."""

    inner: InstantVector
    window: float
    resolution: float

    def raw(self, store: Store, time: float) -> list[tuple[Labels, Points]]:
        """The values at each of the times, with these times."""
        step = round(self.resolution * 1000)
        first, last = (math.floor(round(at * 1000) / step) for at in (time - self.window, time))
        found: dict[Labels, Points] = {}
        for index in range(first + 1, last + 1):
            at = index * step / 1000
            for labels, value in self.inner.at(store, at).items():
                found.setdefault(labels, []).append((at, value))
        return list(found.items())


@dataclass(frozen=True, slots=True)
class OverTime:
    """`max_over_time(range)` or `avg_over_time(range)`."""

    function: str
    inner: RangeSelector | Subquery

    def at(self, store: Store, time: float) -> dict[Labels, float]:
        """One value of each series' samples."""
        fold = larger_of if self.function == "max_over_time" else mean_of
        found = self.inner.raw(store, time)
        return {nameless(labels): fold([value for _, value in points]) for labels, points in found}


@dataclass(frozen=True, slots=True)
class MaxBy:
    """`max by (a, b) (expression)`."""

    labels: tuple[str, ...]
    inner: InstantVector

    def at(self, store: Store, time: float) -> dict[Labels, float]:
        """The largest value of each group."""
        groups: dict[Labels, list[float]] = {}
        for labels, value in self.inner.at(store, time).items():
            group = tuple((name, text) for name, text in labels if name in self.labels)
            groups.setdefault(group, []).append(value)
        return {group: larger_of(values) for group, values in groups.items()}


@dataclass(frozen=True, slots=True)
class Scaled:
    """`expression * 2` or `expression / 2`."""

    inner: InstantVector
    operator: str
    number: float

    def at(self, store: Store, time: float) -> dict[Labels, float]:
        """The values, changed, without the metric's name."""
        found = self.inner.at(store, time).items()
        return {nameless(labels): self._changed(value) for labels, value in found}

    def _changed(self, value: float) -> float:
        if self.operator == "*":
            return value * self.number
        return value / self.number if self.number else math.nan


@dataclass(frozen=True, slots=True)
class Or:
    """`left or right`: of the right only what has no counterpart in the left, whatever the metrics' names."""

    left: InstantVector
    right: InstantVector

    def at(self, store: Store, time: float) -> dict[Labels, float]:
        """The values of both."""
        left = self.left.at(store, time)
        there = {nameless(labels) for labels in left}
        right = self.right.at(store, time).items()
        return left | {labels: value for labels, value in right if nameless(labels) not in there}


Expression = InstantVector | RangeSelector | Subquery
"""A query; ranges of samples can be given only at a single time."""


def nameless(labels: Labels) -> Labels:
    """The labels without the metric's name."""
    return tuple((name, value) for name, value in labels if name != "__name__")


def larger_of(values: Sequence[float]) -> float:
    """Prometheus' maximum: a NaN gives way to any number."""
    return reduce(lambda largest, value: value if value > largest or math.isnan(largest) else largest, values)


def mean_of(values: Sequence[float]) -> float:
    """Prometheus' mean, to some last digits."""
    finite = all(math.isfinite(value) for value in values)
    return (math.fsum(values) if finite else sum(values)) / len(values)


def steps(start: float, end: float, step: float) -> Sequence[float]:
    """The times of a range query."""
    return [round(start + index * step, 3) for index in range(math.floor((end - start) / step + 1e-9) + 1)]
