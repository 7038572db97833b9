import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.usage.hearing import NOTHING_HEARD, Hearing
from tests.support.usage import NOW

PATIENCE = 300.0


def answering(seconds: int, *, hearing: Hearing | None = None, begin: float = NOW) -> Hearing:
    """A source that answers once a minute, for so long."""
    hearing = hearing or Hearing(PATIENCE)
    for late in range(0, seconds + 1, 60):
        hearing.answered(begin + late)
    return hearing


def test_before_the_source_was_asked_nothing_can_be_said() -> None:
    assert not NOTHING_HEARD.is_away(NOW)
    heard = Hearing(PATIENCE).heard
    assert (heard.fresh_from, heard.silent_before, heard.failing_since) == (math.inf, -math.inf, None)


def test_silence_takes_the_whole_patience_from_the_first_answer_on() -> None:
    assert answering(240).heard.silent_before == -math.inf
    assert answering(300).heard.silent_before == NOW
    assert answering(360).heard.silent_before == NOW + 60


def test_usage_is_fresh_for_the_patience() -> None:
    assert answering(600).heard.fresh_from == NOW + 300


def test_the_time_of_an_outage_does_not_count_as_silence() -> None:
    hearing = answering(600)
    hearing.failed(NOW + 660)
    answering(120, hearing=hearing, begin=NOW + 4200)
    # Two minutes since, and three before: until the last answer at 600.
    assert hearing.heard.silent_before == NOW + 600 - 180
    answering(300, hearing=hearing, begin=NOW + 4200)
    assert hearing.heard.silent_before == NOW + 4200


def test_a_time_in_which_nobody_asked_counts_as_little() -> None:
    hearing = answering(600)
    hearing.answered(NOW + 4200)
    assert hearing.heard.silent_before == NOW + 300


def test_several_outages_in_a_row_are_all_left_out() -> None:
    hearing = answering(600)
    for begin in (NOW + 700, NOW + 800, NOW + 900):
        hearing.failed(begin)
        hearing.answered(begin + 50)
        hearing.answered(begin + 60)
    assert hearing.heard.silent_before == NOW + 600 - (300 - 3 * 10)


def test_a_source_is_away_after_the_patience_since_its_last_answer() -> None:
    hearing = answering(600)
    hearing.failed(NOW + 660)
    assert hearing.heard.failing_since == NOW + 600
    assert not hearing.heard.is_away(NOW + 900)
    assert hearing.heard.is_away(NOW + 901)
    hearing.failed(NOW + 720)
    assert hearing.heard.failing_since == NOW + 600
    hearing.answered(NOW + 2000)
    assert not hearing.heard.is_away(NOW + 9000)


def test_a_source_that_never_answered_is_away_after_the_patience_since_it_was_asked() -> None:
    hearing = Hearing(PATIENCE)
    hearing.failed(NOW)
    assert not hearing.heard.is_away(NOW + 300)
    assert hearing.heard.is_away(NOW + 301)


def test_a_clock_that_was_set_back_begins_anew() -> None:
    hearing = answering(600)
    hearing.answered(NOW - 3600)
    assert hearing.heard.silent_before == -math.inf
    assert hearing.heard.fresh_from == NOW - 3900


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([10.0, 60.0, 250.0, 400.0])), max_size=40))
def test_silence_counts_as_much_as_the_patience_of_heard_time(course: list[tuple[bool, float]]) -> None:
    """Held against a list of all stretches that were heard."""
    hearing, now = Hearing(PATIENCE), NOW
    stretches, last, failed = list[tuple[float, float]](), None, False
    for answers, wait in course:
        now += wait
        if not answers:
            hearing.failed(now)
            failed = True
            continue
        hearing.answered(now)
        if last is not None and not failed and now - last <= PATIENCE:
            stretches.append((last, now))
        last, failed = now, False
        since = hearing.heard.silent_before
        heard = sum(end - max(begin, since) for begin, end in stretches if end > since)
        if since == -math.inf:
            assert heard < PATIENCE
        else:
            assert heard == pytest.approx(PATIENCE)
