"""A slow and obvious evaluator of cron rules, to compare the real one with.

It goes through time minute by minute and asks of each wall-clock minute whether it stands in the expression's
sets of values. It knows no cron syntax: hypothesis draws the sets, and the text is made from them.
"""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Fields:
    """The values at which an expression fires; None is `*`. Weekdays count from Sunday, 0."""

    minutes: AbstractSet[int] | None
    hours: AbstractSet[int] | None
    days: AbstractSet[int] | None = None
    months: AbstractSet[int] | None = None
    weekdays: AbstractSet[int] | None = None

    def __str__(self) -> str:
        fields = (self.minutes, self.hours, self.days, self.months, self.weekdays)
        return " ".join("*" if values is None else ",".join(map(str, sorted(values))) for values in fields)

    def on_date(self, wall: datetime) -> bool:
        """Whether the expression fires on this day at all: either day field counts when both are given."""
        if self.months is not None and wall.month not in self.months:
            return False
        day = None if self.days is None else wall.day in self.days
        weekday = None if self.weekdays is None else wall.isoweekday() % 7 in self.weekdays
        given = [matches for matches in (day, weekday) if matches is not None]
        return any(given) if given else True

    def at(self, wall: datetime) -> bool:
        """Whether the expression fires at this wall-clock minute."""
        return (
            (self.minutes is None or wall.minute in self.minutes)
            and (self.hours is None or wall.hour in self.hours)
            and self.on_date(wall)
        )


@dataclass(frozen=True, slots=True)
class Minute:
    """One minute of real time, and the wall-clock times that count as having come with it."""

    instant: float
    walls: tuple[datetime, ...]


def minutes(start: datetime, end: datetime, zone: ZoneInfo) -> Iterator[Minute]:
    """Every minute from start to end (both in UTC).

    A wall-clock time that a clock change skips comes with the first minute after the gap; one that comes for
    the second time does not count again.
    """
    instant = start
    before = (start - MINUTE).astimezone(zone).replace(tzinfo=None)
    while instant < end:
        local = instant.astimezone(zone)
        wall = local.replace(tzinfo=None)
        skipped = range(1, int((wall - before) / MINUTE))
        walls = () if local.fold else (*(before + step * MINUTE for step in skipped), wall)
        yield Minute(instant.timestamp(), walls)
        instant, before = instant + MINUTE, wall


def activity(start: Fields, end: Fields, timeline: list[Minute]) -> list[bool]:
    """For each minute, whether a rule is active: its latest start is later than its latest end."""
    latest_start = latest_end = float("-inf")
    active = []
    for minute in timeline:
        if any(map(start.at, minute.walls)):
            latest_start = minute.instant
        if any(map(end.at, minute.walls)):
            latest_end = minute.instant
        active.append(latest_start > latest_end)
    return active


def latest(fields: Fields, now: datetime, *, years: int = 10) -> datetime | None:
    """The latest time at or before now (in UTC) at which an expression fires, found day by day."""
    for days in range(366 * years):
        date = (now - days * DAY).replace(hour=23, minute=59) if days else now
        if not fields.on_date(date):
            continue
        wall = date
        while wall.date() == date.date():
            if fields.at(wall):
                return wall
            wall -= MINUTE
    return None


def utc(*parts: int) -> datetime:
    """A time in UTC."""
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type] # parts are year, month, ... in order
