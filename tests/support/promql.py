"""The part of PromQL that the services use, evaluated as Prometheus 3 does it; anything else is a ParseError.

Selectors with all four matchers, `x[5m]`, `max_over_time(x[1m])`, and `max by (a, b) (...)` around them.
"""

import bisect
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from vgpu.quantities import parse_duration

LOOKBACK = 300.0
"""Seconds in which an instant selector still finds a series' last sample."""

Labels = tuple[tuple[str, str], ...]
Points = list[tuple[float, float]]
STALE = None
"""The value of a staleness marker: from here on the series is gone."""


class ParseError(Exception):
    """The text is not a query that is understood."""


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
class Expression:
    """What a query says: a selector, and what is done to it from the inside to the outside."""

    matchers: tuple[Matcher, ...]
    window: float | None = None
    over_time: bool = False
    by: tuple[str, ...] | None = None

    @property
    def gives_range(self) -> bool:
        """Whether it is a bare range vector, which only an instant query can give."""
        return self.window is not None and not self.over_time

    def raw(self, store: Store, time: float) -> list[tuple[Labels, Points]]:
        """The samples of a range selector, with their own times."""
        window = self.window or 0.0
        found = ((labels, series.window(time - window, time)) for labels, series in self._selected(store))
        return [(labels, points) for labels, points in found if points]

    def at(self, store: Store, time: float) -> dict[Labels, float]:
        """The values at one time by labels."""
        values: dict[Labels, float] = {}
        for labels, series in self._selected(store):
            value = self._value(series, time)
            if value is not None:
                group = self._group(labels)
                values[group] = _larger(values[group], value) if group in values else value
        return values

    def _selected(self, store: Store) -> Iterable[tuple[Labels, StoredSeries]]:
        for labels, series in store.items():
            if all(matcher.holds(dict(labels)) for matcher in self.matchers):
                yield labels, series

    def _value(self, series: StoredSeries, time: float) -> float | None:
        if self.window is None:
            return series.at(time)
        values = [value for _, value in series.window(time - self.window, time)]
        if not values:
            return None
        largest = values[0]
        for value in values[1:]:
            largest = _larger(largest, value)
        return largest

    def _group(self, labels: Labels) -> Labels:
        if self.by is not None:
            return tuple((name, value) for name, value in labels if name in self.by)
        if self.over_time:
            return tuple((name, value) for name, value in labels if name != "__name__")
        return labels


def _larger(largest: float, value: float) -> float:
    """Prometheus' maximum: a NaN gives way to any number."""
    return value if value > largest or math.isnan(largest) else largest


_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_MATCHER = re.compile(r'\s*([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\')\s*')
_SELECTOR = re.compile(
    rf"(?P<name>{_NAME})?\s*(?:\{{(?P<matchers>.*)\}})?\s*(?:\[(?P<window>[^\]]+)\])?", re.DOTALL
)
_MAX_BY = re.compile(r"max\s+by\s*\((?P<labels>[^)]*)\)\s*\((?P<inner>.*)\)", re.DOTALL)
_OVER_TIME = re.compile(r"max_over_time\s*\((?P<inner>.*)\)", re.DOTALL)


def parse(text: str) -> Expression:
    """Read a query.

    Raises:
        ParseError: It is none, or one that uses more of PromQL than is played here.
    """
    aggregation = _MAX_BY.fullmatch(text.strip())
    inner = aggregation["inner"] if aggregation else text
    call = _OVER_TIME.fullmatch(inner.strip())
    matchers, window = _parse_selector((call["inner"] if call else inner).strip())
    if call and window is None:
        raise ParseError('expected type range vector in call to function "max_over_time", got instant vector')
    by = tuple(name.strip() for name in aggregation["labels"].split(",")) if aggregation else None
    expression = Expression(matchers, window, over_time=call is not None, by=by)
    if by is not None and expression.gives_range:
        raise ParseError("expected type instant vector in aggregation expression, got range vector")
    return expression


def _parse_selector(text: str) -> tuple[tuple[Matcher, ...], float | None]:
    found = _SELECTOR.fullmatch(text)
    if not text or found is None:
        raise ParseError(f"parse error: unexpected {text[:20]!r}" if text else "no expression found in input")
    matchers = list(_parse_matchers(found["matchers"] or ""))
    if found["name"]:
        matchers.insert(0, Matcher("__name__", "=", found["name"]))
    if all(matcher.holds({}) for matcher in matchers):
        raise ParseError("vector selector must contain at least one non-empty matcher")
    try:
        window = parse_duration(found["window"]) if found["window"] else None
    except ValueError as error:
        raise ParseError(f"not a valid duration string: {found['window']!r}") from error
    return tuple(matchers), window


def _parse_matchers(text: str) -> Iterable[Matcher]:
    position = 0
    while text[position:].strip():
        found = _MATCHER.match(text, position)
        if found is None or text[found.end() : found.end() + 1] not in {"", ","}:
            raise ParseError(f"unexpected {text[position:][:20]!r} in label matching")
        label, operator, quoted = found.groups()
        value = re.sub(r"\\(.)", r"\1", quoted[1:-1])
        yield Matcher(label, operator, _checked(value) if "~" in operator else value)
        position = found.end() + 1


def _checked(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ParseError(f"error parsing regexp: {error}") from error
    return pattern


def steps(start: float, end: float, step: float) -> Sequence[float]:
    """The times of a range query."""
    return [round(start + index * step, 3) for index in range(math.floor((end - start) / step + 1e-9) + 1)]
