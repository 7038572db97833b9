"""Cron rules: which one is active at a given instant, and when that may change.

A rule is active when its latest start is later than its latest end, both at or before now: `[start, end)`.
That holds for any two expressions, also for starts and ends that do not alternate, where "the next end comes
before the next start" is wrong for hours.

croniter only steps through the calendar here, in wall-clock time without a zone. The way from the wall clock
to an instant is ours, because it has to be the same forwards and backwards: a time that a clock change skips
fires at the first instant after the gap, and of a time that comes twice the first counts.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from croniter import croniter

from vgpu.slices import VgpuSlice

_ZONE_PREFIX: Final = "CRON_TZ="
_FIELDS: Final = ("minute", "hour", "day of month", "month", "day of week")
# Real expressions are far shorter; a bound keeps a hostile one from costing time.
_MAX_EXPRESSION_LENGTH: Final = 200
_MAX_CACHED_SCHEDULES: Final = 8192

_MINUTE: Final = timedelta(minutes=1)
_HALF_MINUTE: Final = timedelta(seconds=30)

# Names in a time zone database that mean something else on another machine, or count leap seconds.
_LOCAL_ZONES: Final = re.compile(r"localtime|posixrules|Factory|(posix|right)/.*")


class ScheduleError(ValueError):
    """A rule cannot be evaluated; the message names the rule and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A window of time, and what a workload shall have in it.

    Attributes:
        name: how conditions and status refer to the rule.
        start: five cron fields, or the prefix `CRON_TZ=Zone` and five fields.
        end: the same for the end, which is no longer part of the window.
        time_zone: IANA name of the zone of both; empty for UTC or where the expressions carry the prefix.
        desired: the slice in the window; a field that is None is not the rule's business.
        desired_replicas: the least number of replicas in the window, or None.
    """

    name: str
    start: str
    end: str
    time_zone: str = ""
    desired: VgpuSlice = field(default_factory=VgpuSlice)
    desired_replicas: int | None = None


@dataclass(frozen=True, slots=True)
class _Schedule:
    """One expression in one zone, checked."""

    expression: str
    zone: ZoneInfo
    meaning: tuple[object, ...]


def validate_rule(rule: Rule) -> None:
    """Check that a rule can be evaluated.

    Raises:
        ScheduleError: a bad expression, one that never fires, an unknown time zone, or end equals start.
    """
    start = _schedule(rule, "start", rule.start)
    end = _schedule(rule, "end", rule.end)
    if (start.meaning, start.zone) == (end.meaning, end.zone):
        raise ScheduleError(
            f'cron scaling rule "{rule.name}": start and end are the same ({rule.start!r}), '
            "so it would never be active; let the end differ from the start"
        )


def is_active(rule: Rule, now: float) -> bool:
    """Whether now lies in a window of the rule.

    Args:
        rule: any rule.
        now: seconds since the epoch.

    Raises:
        ScheduleError: the rule is not valid.
    """
    validate_rule(rule)
    start = _latest(_schedule(rule, "start", rule.start), now)
    end = _latest(_schedule(rule, "end", rule.end), now)
    return start > end


def active_rule(rules: Sequence[Rule], now: float) -> Rule | None:
    """The rule whose window it is now, or None.

    Raises:
        ScheduleError: a rule is not valid, or two of them are active at once.
    """
    active = [rule for rule in rules if is_active(rule, now)]
    if len(active) > 1:
        names = " and ".join(f'"{rule.name}"' for rule in active)
        raise ScheduleError(
            f"cron scaling rules {names} are active at once; "
            "change their start or end so that at most one is active at any time"
        )
    return active[0] if active else None


def next_transition(rules: Sequence[Rule], now: float) -> float | None:
    """The time until which the answer of `active_rule` certainly stays what it is now.

    It is the earliest end of an active rule or start of an inactive one after now. At that time the answer
    changes, but for a start that falls together with an end, which changes nothing.

    Args:
        rules: any rules.
        now: seconds since the epoch.

    Returns:
        Seconds since the epoch, later than now; None without rules.

    Raises:
        ScheduleError: a rule is not valid.
    """
    return min((_transition(rule, now) for rule in rules), default=None)


def _transition(rule: Rule, now: float) -> float:
    if is_active(rule, now):
        return _earliest(_schedule(rule, "end", rule.end), now)
    return _earliest(_schedule(rule, "start", rule.start), now)


def _schedule(rule: Rule, which: str, expression: str) -> _Schedule:
    try:
        return _parse(expression, rule.time_zone)
    except ScheduleError as error:
        raise ScheduleError(f'cron scaling rule "{rule.name}": {which} {expression!r}: {error}') from error


@lru_cache(maxsize=_MAX_CACHED_SCHEDULES)
def _parse(expression: str, time_zone: str) -> _Schedule:
    fields, zone_name = _split(expression, time_zone)
    text = " ".join(fields)
    return _Schedule(expression=text, zone=_zone(zone_name), meaning=_meaning(text))


def _split(expression: str, time_zone: str) -> tuple[list[str], str]:
    """The five fields and the name of the zone they are meant in."""
    if len(expression) > _MAX_EXPRESSION_LENGTH:
        raise ScheduleError(f"longer than {_MAX_EXPRESSION_LENGTH} characters")
    fields = re.findall(r"\S+", expression, re.ASCII)
    zone_name = time_zone or "UTC"
    if fields and fields[0].startswith(_ZONE_PREFIX):
        if time_zone:
            raise ScheduleError(f"names a time zone, as timeZone ({time_zone!r}) does; leave one of them out")
        zone_name = fields.pop(0).removeprefix(_ZONE_PREFIX)
    _require_five(fields)
    return fields, zone_name


def _require_five(fields: Sequence[str]) -> None:
    """Refuse what croniter takes beyond five fields: seconds, years, `@daily`, random and hashed values."""
    if len(fields) != len(_FIELDS):
        raise ScheduleError(f"has {len(fields)} fields, not exactly five: {', '.join(_FIELDS)}")
    for name, value in zip(_FIELDS, fields, strict=True):
        # No month and no weekday begins with one of these letters.
        if value[0] in "hHrR":
            raise ScheduleError(f"{name} {value!r}: random and hashed values (R, H) are not supported")


def _zone(name: str) -> ZoneInfo:
    try:
        zone = None if _LOCAL_ZONES.fullmatch(name) else ZoneInfo(name)
    # A missing name is a KeyError, a path out of the database a ValueError, a folder in it an OSError.
    except (KeyError, ValueError, OSError):
        zone = None
    if zone is None:
        raise ScheduleError(f"unknown time zone {name!r}; use an IANA name such as Europe/Berlin or UTC")
    return zone


def _meaning(expression: str) -> tuple[object, ...]:
    """The expression's sets of values: equal for two spellings of one schedule."""
    try:
        cron = croniter(expression, datetime(2000, 1, 1))  # noqa: DTZ001 - wall-clock time, no instant
        cron.get_next(datetime)
    # croniter has one tree of errors, all of them ValueErrors, but lets some of Python's own through.
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ScheduleError(_reason(error)) from error
    return (
        tuple(tuple(map(str, values)) for values in cron.expanded),
        frozenset((day, frozenset(weeks)) for day, weeks in cron.nth_weekday_of_month.items()),
        frozenset(cron.nearest_weekday),
    )


def _reason(error: Exception) -> str:
    if "failed to find" in str(error):
        return "never fires"
    return f"is not a cron expression ({error})"


def _latest(schedule: _Schedule, now: float) -> float:
    """The latest time at or before now at which the schedule fires, in seconds since the epoch."""
    return _latest_of_minute(schedule, math.floor(now / 60) * 60)


# A rule that thousands of workloads have begins for all of them at once: one look at the calendar for all.
@lru_cache(maxsize=_MAX_CACHED_SCHEDULES)
def _latest_of_minute(schedule: _Schedule, now: float) -> float:
    local = _local(now, schedule.zone)
    # In the second pass of an hour that comes twice, all of its times have fired in the first.
    repeated = _offset(local.replace(fold=0)) - _offset(local)
    walls = _fires(schedule, local.replace(tzinfo=None) + repeated, croniter.get_prev)
    return next(instant for wall in walls if (instant := _instant(wall, schedule.zone)) <= now)


def _earliest(schedule: _Schedule, now: float) -> float:
    """The earliest time after now at which the schedule fires, in seconds since the epoch."""
    return _earliest_of_minute(schedule, math.floor(now / 60) * 60)


@lru_cache(maxsize=_MAX_CACHED_SCHEDULES)
def _earliest_of_minute(schedule: _Schedule, now: float) -> float:
    local = _local(now, schedule.zone)
    walls = _fires(schedule, local.replace(tzinfo=None), croniter.get_next)
    return next(instant for wall in walls if (instant := _instant(wall, schedule.zone)) > now)


def _fires(schedule: _Schedule, wall: datetime, step: Callable[..., datetime]) -> Iterator[datetime]:
    """The wall-clock times at which the schedule fires, from a minute on in one direction.

    Backwards the minute itself comes first. In their order wall-clock times are instants in order too, so the
    first one on the right side of now is the one that is looked for.
    """
    cron = croniter(schedule.expression, wall + _HALF_MINUTE)
    while True:
        yield step(cron, datetime)


def _local(now: float, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(now, UTC).astimezone(zone)


def _offset(local: datetime) -> timedelta:
    return local.utcoffset() or timedelta()


def _instant(wall: datetime, zone: ZoneInfo) -> float:
    """The instant of a wall-clock time: in a gap its end, of two the first."""
    while not _exists(wall, zone):
        wall += _MINUTE
    return wall.replace(tzinfo=zone).timestamp()


def _exists(wall: datetime, zone: ZoneInfo) -> bool:
    there = wall.replace(tzinfo=zone).astimezone(UTC)
    return there.astimezone(zone).replace(tzinfo=None) == wall
