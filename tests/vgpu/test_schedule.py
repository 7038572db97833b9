"""Cron rules: the documented example, windows of every kind, clock changes, and what is refused."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.support.cron import utc
from vgpu import schedule
from vgpu.schedule import Rule, ScheduleError, active_rule, is_active, next_transition, validate_rule

BERLIN = ZoneInfo("Europe/Berlin")

DOCUMENTED = Rule(name="test", start="0 0 * * Thu", end="59 23 * * Thu")
NIGHT = Rule(name="night", start="0 22 * * *", end="0 6 * * *", time_zone="Europe/Berlin")


def rule(start: str, end: str, time_zone: str = "", name: str = "test") -> Rule:
    return Rule(name=name, start=start, end=end, time_zone=time_zone)


def active_at(rule_: Rule, moment: datetime) -> bool:
    return is_active(rule_, moment.timestamp())


@pytest.mark.parametrize(
    ("moment", "active"),
    [
        (utc(2025, 10, 8, 23, 59, 59), False),
        (utc(2025, 10, 9), True),
        (utc(2025, 10, 9, 12), True),
        (utc(2025, 10, 9, 23, 58, 59), True),
        (utc(2025, 10, 9, 23, 59), False),
        (utc(2025, 10, 10), False),
        (utc(2025, 10, 16), True),
    ],
)
def test_the_documented_rule_is_active_on_thursdays_until_the_last_minute(
    moment: datetime, active: bool
) -> None:
    assert active_at(DOCUMENTED, moment) is active


def test_a_window_begins_with_its_start_and_ends_before_its_end() -> None:
    start, end = utc(2025, 10, 9).timestamp(), utc(2025, 10, 9, 23, 59).timestamp()
    assert [is_active(DOCUMENTED, now) for now in (start - 0.001, start, end - 0.001, end)] == [
        False, True, True, False,
    ]  # fmt: skip


def test_a_window_over_midnight_is_one_window() -> None:
    evening = datetime(2025, 6, 1, 22, tzinfo=BERLIN)
    hours = [active_at(NIGHT, evening + timedelta(hours=offset)) for offset in range(-1, 10)]
    assert hours == [False, *[True] * 8, False, False]


def test_a_window_over_the_year_is_one_window() -> None:
    holidays = rule("0 0 24 12 *", "0 0 2 1 *")
    assert active_at(holidays, utc(2025, 12, 31, 23, 59))
    assert active_at(holidays, utc(2026, 1, 1))
    assert not active_at(holidays, utc(2026, 1, 2))
    assert not active_at(holidays, utc(2025, 12, 23, 23, 59))


def test_a_rule_of_29_february_waits_for_the_leap_year() -> None:
    leap_day = rule("0 0 29 2 *", "0 0 1 3 *")
    assert active_at(leap_day, utc(2024, 2, 29, 23, 59))
    assert not active_at(leap_day, utc(2025, 2, 28, 23, 59))
    assert not active_at(leap_day, utc(2028, 2, 28, 23, 59))
    assert next_transition([leap_day], utc(2024, 3, 1).timestamp()) == utc(2028, 2, 29).timestamp()


def test_the_century_without_a_leap_day_is_no_obstacle() -> None:
    leap_day = rule("0 0 29 2 *", "0 0 1 3 *")
    assert next_transition([leap_day], utc(2097, 1, 1).timestamp()) == utc(2104, 2, 29).timestamp()


def test_a_rule_of_the_last_minute_of_an_hour_lasts_a_minute() -> None:
    last = rule("59 * * * *", "0 * * * *")
    assert active_at(last, utc(2025, 1, 1, 5, 59))
    assert not active_at(last, utc(2025, 1, 1, 5, 58, 59))
    assert not active_at(last, utc(2025, 1, 1, 6))


def test_starts_on_weekdays_and_daily_ends_leave_the_weekend_inactive() -> None:
    office = rule("0 8 * * 1-5", "0 20 * * *")
    saturday, monday = utc(2025, 6, 7), utc(2025, 6, 9)
    assert not active_at(office, saturday + timedelta(hours=12))
    assert not active_at(office, monday + timedelta(hours=7))
    assert active_at(office, monday + timedelta(hours=8))


def test_a_second_start_in_the_window_changes_nothing() -> None:
    twice = rule("0 8,14 * * *", "0 18 * * *")
    hours = [hour for hour in range(24) if active_at(twice, utc(2025, 6, 9, hour))]
    assert hours == list(range(8, 18))


def test_a_start_that_falls_together_with_an_end_opens_no_window() -> None:
    assert not active_at(rule("0 8 * * *", "0 8,9 * * *"), utc(2025, 6, 9, 8))


def test_the_last_day_of_the_month_can_be_named() -> None:
    month_end = rule("0 0 L * *", "0 0 1 * *")
    assert active_at(month_end, utc(2025, 2, 28, 12))
    assert not active_at(month_end, utc(2024, 2, 28, 12))
    assert active_at(month_end, utc(2024, 2, 29, 12))


def test_a_weekday_of_a_month_can_be_counted() -> None:
    patch_day = rule("0 0 * * Tue#2", "0 12 * * *")
    assert active_at(patch_day, utc(2025, 6, 10, 1))
    assert not active_at(patch_day, utc(2025, 6, 3, 1))


def test_seven_is_sunday_and_ranges_wrap() -> None:
    assert active_at(rule("0 0 * * 7", "0 12 * * *"), utc(2025, 6, 8, 1))
    assert active_at(rule("0 0 * * Sat-Mon", "0 12 * * *"), utc(2025, 6, 8, 1))
    assert not active_at(rule("0 0 * * Sat-Mon", "0 12 * * *"), utc(2025, 6, 10, 1))


def test_day_of_month_or_weekday_is_enough_when_both_are_given() -> None:
    either = rule("0 0 13 * Fri", "0 12 * * *")
    assert active_at(either, utc(2025, 6, 13, 1))
    assert active_at(either, utc(2025, 6, 20, 1))
    assert active_at(either, utc(2025, 7, 13, 1))
    assert not active_at(either, utc(2025, 7, 14, 1))


def test_expressions_are_meant_in_the_time_zone_of_the_rule() -> None:
    office = rule("0 9 * * *", "0 17 * * *", "America/New_York")
    assert active_at(office, utc(2025, 1, 15, 14))
    assert not active_at(office, utc(2025, 1, 15, 13, 59))
    assert active_at(office, utc(2025, 7, 15, 13))


def test_the_time_zone_can_stand_before_an_expression() -> None:
    mixed = rule("CRON_TZ=Asia/Tokyo 0 9 * * *", "CRON_TZ=Europe/Berlin 0 9 * * *")
    assert active_at(mixed, utc(2025, 1, 15, 0))
    assert active_at(mixed, utc(2025, 1, 15, 7, 59))
    assert not active_at(mixed, utc(2025, 1, 15, 8))


def test_a_start_in_the_gap_of_spring_fires_at_its_end() -> None:
    """Berlin, 30 March 2025: 02:00 to 03:00 does not exist; 01:00 UTC is 03:00."""
    gap = rule("30 2 * * *", "0 4 * * *", "Europe/Berlin")
    assert not active_at(gap, utc(2025, 3, 30, 0, 59))
    assert active_at(gap, utc(2025, 3, 30, 1))
    assert not active_at(gap, utc(2025, 3, 30, 2))


def test_an_end_in_the_gap_of_spring_fires_at_its_end() -> None:
    gap = rule("0 1 * * *", "30 2 * * *", "Europe/Berlin")
    assert active_at(gap, utc(2025, 3, 30, 0, 59))
    assert not active_at(gap, utc(2025, 3, 30, 1))


def test_a_window_that_lies_in_the_gap_does_not_open() -> None:
    gap = rule("10 2 * * *", "50 2 * * *", "Europe/Berlin")
    day = utc(2025, 3, 30)
    assert not any(active_at(gap, day + timedelta(minutes=offset)) for offset in range(4 * 60))


def test_of_a_start_that_comes_twice_in_autumn_the_first_counts() -> None:
    """Berlin, 26 October 2025: 02:30 is 00:30 UTC, and again 01:30 UTC."""
    twice = rule("30 2 * * *", "0 4 * * *", "Europe/Berlin")
    assert not active_at(twice, utc(2025, 10, 26, 0, 29))
    assert active_at(twice, utc(2025, 10, 26, 0, 30))
    assert active_at(twice, utc(2025, 10, 26, 2, 59))
    assert not active_at(twice, utc(2025, 10, 26, 3))


def test_of_an_end_that_comes_twice_in_autumn_the_first_counts() -> None:
    twice = rule("0 1 * * *", "30 2 * * *", "Europe/Berlin")
    assert active_at(twice, utc(2025, 10, 26, 0, 29))
    assert not active_at(twice, utc(2025, 10, 26, 0, 30))
    assert not active_at(twice, utc(2025, 10, 26, 1, 15))


def test_a_window_in_the_hour_that_comes_twice_opens_once() -> None:
    twice = rule("10 2 * * *", "50 2 * * *", "Europe/Berlin")
    day = utc(2025, 10, 26)
    active = [offset for offset in range(4 * 60) if active_at(twice, day + timedelta(minutes=offset))]
    assert active == list(range(10, 50))


def test_the_active_rule_is_the_one_whose_window_it_is() -> None:
    morning, evening = rule("0 6 * * *", "0 12 * * *", name="a"), rule("0 12 * * *", "0 18 * * *", name="b")
    rules = [morning, evening]
    assert active_rule(rules, utc(2025, 6, 9, 11, 59).timestamp()) is morning
    assert active_rule(rules, utc(2025, 6, 9, 12).timestamp()) is evening
    assert active_rule(rules, utc(2025, 6, 9, 18).timestamp()) is None


def test_two_rules_that_are_active_at_once_are_both_named() -> None:
    rules = [replace(DOCUMENTED, name="a"), replace(DOCUMENTED, name="b")]
    with pytest.raises(ScheduleError, match='"a" and "b" are active at once'):
        active_rule(rules, utc(2025, 10, 9).timestamp())


def test_without_rules_nothing_is_active_and_nothing_will_change() -> None:
    assert active_rule([], 0.0) is None
    assert next_transition([], 0.0) is None


def test_the_next_transition_is_the_start_of_an_inactive_and_the_end_of_an_active_rule() -> None:
    thursday = utc(2025, 10, 9)
    end = thursday + timedelta(hours=23, minutes=59)
    assert next_transition([DOCUMENTED], (thursday - timedelta(days=2)).timestamp()) == thursday.timestamp()
    assert next_transition([DOCUMENTED], thursday.timestamp()) == end.timestamp()
    assert next_transition([DOCUMENTED], end.timestamp()) == (thursday + timedelta(days=7)).timestamp()


def test_the_next_transition_of_several_rules_is_the_earliest() -> None:
    now = utc(2025, 10, 8, 12)
    assert next_transition([DOCUMENTED, NIGHT], now.timestamp()) == utc(2025, 10, 8, 20).timestamp()


def test_validation_accepts_what_can_be_evaluated() -> None:
    validate_rule(DOCUMENTED)
    validate_rule(NIGHT)


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        ("", "has 0 fields, not exactly five"),
        ("0 8 * *", "has 4 fields"),
        ("0 0 8 * * *", "has 6 fields"),
        ("0 0 8 * * * 2030", "has 7 fields"),
        ("@daily", "has 1 fields"),
        ("@reboot", "has 1 fields"),
        ("R 8 * * *", r"minute 'R': random and hashed values \(R, H\) are not supported"),
        ("0 H * * *", "hour 'H': random"),
        ("0 h(1-5) * * *", "random"),
        ("0 0 * * R/2", "day of week 'R/2': random"),
        ("60 8 * * *", "is not a cron expression"),
        ("0 8 * * Foo", "is not a cron expression"),
        ("*/0 8 * * *", "is not a cron expression"),
        ("0 8 * * 8", "is not a cron expression"),
        ("0 8 0 * *", "is not a cron expression"),
        ("-5 8 * * *", "is not a cron expression"),
        ("0 0 30 2 *", "never fires"),
        ("0 0 31 2,4,6,9,11 *", "never fires"),
        (f"{'0,' * 200}0 0 * * *", "longer than 200 characters"),
        ("CRON_TZ=Mars/Olympus 0 8 * * *", "unknown time zone 'Mars/Olympus'; use an IANA name"),
        ("CRON_TZ= 0 8 * * *", "unknown time zone ''"),
        ("TZ=UTC 0 8 * * *", "has 6 fields"),
        ("0\u00a08 * * *", "has 4 fields"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_with_the_rule_and_the_reason(start: str, reason: str) -> None:
    with pytest.raises(ScheduleError, match=rf'^cron scaling rule "peak": start .*{reason}'):
        validate_rule(rule(start, "0 20 * * *", name="peak"))


def test_a_bad_end_is_named_as_such() -> None:
    with pytest.raises(ScheduleError, match="end 'x': has 1 fields"):
        validate_rule(rule("0 8 * * *", "x"))


@pytest.mark.parametrize(
    "zone",
    [
        "Berlin",
        "../zoneinfo/UTC",
        "/etc/passwd",
        "Europe",
        "a\0b",
        "localtime",
        "posixrules",
        "right/UTC",
        "posix/UTC",
    ],
)
def test_a_time_zone_that_is_not_the_same_everywhere_is_unknown(zone: str) -> None:
    with pytest.raises(ScheduleError, match="unknown time zone"):
        validate_rule(rule("0 8 * * *", "0 9 * * *", zone))


def test_a_time_zone_is_named_in_one_place_only() -> None:
    with pytest.raises(ScheduleError, match=r"names a time zone, as timeZone \('UTC'\) does"):
        validate_rule(rule("CRON_TZ=Europe/Berlin 0 8 * * *", "0 9 * * *", "UTC"))


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("0 8 * * *", "0 8 * * *"),
        ("0 8 * * *", " 0  8 * * * "),
        ("0 8 * * Mon", "0 8 * * 1"),
        ("0 8 * * *", "0 8 * * 0-6"),
        ("0,30 8 * * *", "*/30 8 * * *"),
        ("0 0 * * Tue#2", "0 0 * * 2#2"),
    ],
)
def test_an_end_that_is_the_start_in_other_words_is_refused(start: str, end: str) -> None:
    with pytest.raises(ScheduleError, match="start and end are the same"):
        validate_rule(rule(start, end))


def test_the_same_expression_in_two_zones_is_a_window() -> None:
    validate_rule(rule("CRON_TZ=Asia/Tokyo 0 9 * * *", "0 9 * * *"))


def test_every_question_about_a_bad_rule_is_answered_with_its_error() -> None:
    bad = rule("x", "0 9 * * *")
    for ask in (active_rule, next_transition):
        with pytest.raises(ScheduleError, match='"test"'):
            ask([DOCUMENTED, bad], 0.0)


def test_a_rule_that_thousands_have_is_looked_up_in_the_calendar_once_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[object] = []
    real = schedule._fires

    def counted(*arguments: Any) -> Iterator[datetime]:
        looks.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(schedule, "_fires", counted)
    begin = utc(2031, 3, 3, 10).timestamp()
    for second in range(60):
        rule = Rule(name=f"of workload {second}", start="7 9 * * *", end="13 17 * * *")
        assert active_rule([rule], begin + second) == rule
        assert next_transition([rule], begin + second) == utc(2031, 3, 3, 17, 13).timestamp()
    assert len(looks) == 3, "the latest start, the latest end, and the next end"
