"""The schedule against a slow and obvious evaluator, over days with clock changes and over years."""

from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.support.cron import Fields, Minute, activity, latest, minutes, utc
from tests.support.examples import examples
from vgpu.schedule import Rule, ScheduleError, is_active, next_transition, validate_rule

# Days in whose middle the clocks change: by an hour, by half an hour (Lord Howe), and at midnight (Beirut).
CLOCK_CHANGES = [
    ("Europe/Berlin", utc(2025, 3, 30)),
    ("Europe/Berlin", utc(2025, 10, 26)),
    ("America/New_York", utc(2025, 3, 9)),
    ("America/New_York", utc(2025, 11, 2)),
    ("Australia/Lord_Howe", utc(2025, 4, 5)),
    ("Australia/Lord_Howe", utc(2025, 10, 4)),
    ("Asia/Beirut", utc(2025, 3, 29)),
    ("Asia/Beirut", utc(2025, 10, 25)),
]

# Minutes before the observed days: more than a week, so that a weekly start or end has been seen.
RUN_UP = 8 * 24 * 60
OBSERVED = 2 * 24 * 60


def sets(low: int, high: int, *, most: int) -> st.SearchStrategy[AbstractSet[int] | None]:
    # Never every value: a list of all of them is `*`, and then either of the day fields no longer counts.
    return st.none() | st.frozensets(st.integers(low, high), min_size=1, max_size=most)


clock_fields = st.builds(
    Fields,
    minutes=st.frozensets(st.integers(0, 59), min_size=1, max_size=3),
    hours=sets(0, 23, most=5) | st.frozensets(st.integers(0, 4), min_size=1, max_size=3),
    weekdays=sets(0, 6, most=3),
)
calendar_fields = st.builds(
    Fields,
    minutes=st.frozensets(st.integers(0, 59), min_size=1, max_size=2),
    hours=sets(0, 23, most=3),
    days=sets(1, 31, most=3),
    months=sets(1, 12, most=3),
    weekdays=sets(0, 6, most=2),
)


@cache
def timeline(zone: str, day: datetime) -> list[Minute]:
    first, last = day - timedelta(minutes=RUN_UP), day + timedelta(minutes=OBSERVED)
    return list(minutes(first, last, ZoneInfo(zone)))


def valid(rule: Rule) -> Rule:
    try:
        validate_rule(rule)
    except ScheduleError:
        assume(condition=False)
    return rule


@pytest.mark.parametrize(("zone", "day"), CLOCK_CHANGES)
@given(start=clock_fields, end=clock_fields, offsets=st.sets(st.integers(0, OBSERVED - 1), min_size=20))
@settings(max_examples=examples(8), suppress_health_check=[HealthCheck.too_slow])
def test_a_rule_is_what_going_minute_by_minute_finds(
    zone: str, day: datetime, start: Fields, end: Fields, offsets: set[int]
) -> None:
    """Guarantees, on days when the clocks change.

    The answer at any minute is that of the definition. It stays until the next transition, and changes there
    unless a start meets an end.
    """
    rule = valid(Rule(name="test", start=str(start), end=str(end), time_zone=zone))
    line = timeline(zone, day)
    active = activity(start, end, line)
    for offset in sorted(offsets):
        assert is_active(rule, line[RUN_UP + offset].instant) is active[RUN_UP + offset]
    now = RUN_UP + min(offsets)
    transition = next_transition([rule], line[now].instant)
    assert transition is not None
    assert transition > line[now].instant
    until = [position for position in range(now, len(line)) if line[position].instant < transition]
    assert all(active[position] is active[now] for position in until)
    if len(line) > until[-1] + 1:
        there = line[until[-1] + 1]
        met = any(map(start.at, there.walls)) and any(map(end.at, there.walls))
        assert there.instant == transition
        assert active[until[-1] + 1] is not active[now] or met


@given(
    start=calendar_fields,
    end=calendar_fields,
    now=st.datetimes(min_value=datetime(2023, 1, 1), max_value=datetime(2030, 1, 1)),  # noqa: DTZ001 - read as UTC
)
@settings(
    max_examples=examples(80), suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
def test_rules_of_days_and_months_follow_the_calendar(start: Fields, end: Fields, now: datetime) -> None:
    """Guarantee: month ends, leap days and turns of the year are where the calendar has them."""
    rule = valid(Rule(name="test", start=str(start), end=str(end)))
    moment = utc(now.year, now.month, now.day, now.hour, now.minute)
    started, ended = latest(start, moment), latest(end, moment)
    assert started is not None
    assert ended is not None
    assert is_active(rule, moment.timestamp()) is (started > ended)


@given(st.text(alphabet="0123456789*/,-?LWRHlw#@ adefhijmnoprstuvCRON_TZ=:/", max_size=30))
@settings(max_examples=examples(100))
def test_any_text_is_a_schedule_or_a_schedule_error(text: str) -> None:
    for expression in (text, f"{text} * * * *", f"0 0 {text} * *", f"0 0 * * {text}", f"0 0 * {text} *"):
        try:
            validate_rule(Rule(name="test", start=expression, end="7 7 7 7 *"))
        except ScheduleError as error:
            texts = [str(error)]
        else:
            texts = []
        assert all('"test"' in found for found in texts)
