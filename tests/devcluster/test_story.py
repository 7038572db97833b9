"""The story: each step waits for a fact, and says what it saw when the fact does not come."""

import datetime as dt
import io

import pytest
from rich.console import Console

from devcluster import story
from devcluster.demo import RULE_LEAD, rule_window
from devcluster.story import Narrator, NotYet, StoryFailed, until


async def test_a_step_returns_the_fact_it_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "POLL", 0.01)
    answers: list[str | NotYet] = [NotYet("nothing"), NotYet("nothing"), "the fact"]

    async def look() -> str | NotYet:
        return answers.pop(0)

    assert await until("something", look, timeout=5) == "the fact"


async def test_a_step_that_does_not_happen_says_what_was_seen_instead() -> None:
    async def look() -> str | NotYet:
        return NotYet("two pods")

    with pytest.raises(StoryFailed, match="three pods; last seen: two pods"):
        await until("three pods", look, timeout=0.01)


def test_each_step_is_told_with_the_seconds_since_the_begin() -> None:
    times = iter([100.0, 112.5])
    output = io.StringIO()
    narrator = Narrator(Console(file=output, width=80), clock=lambda: next(times))

    narrator.say("the control plane is up")

    assert output.getvalue().strip() == "12.5 s  the control plane is up"


@pytest.mark.parametrize("second", [0, 1, 30, 37, 38, 39, 59])
def test_the_rule_begins_on_a_minute_that_leaves_time_for_a_recommendation(second: int) -> None:
    now = dt.datetime(2026, 12, 31, 23, 58, second, tzinfo=dt.UTC)

    _, _, start = rule_window(now)

    assert start.second == 0
    assert RULE_LEAD <= (start - now).total_seconds() < RULE_LEAD + 60


def test_the_rule_ends_a_minute_after_it_begins_over_midnight_too() -> None:
    now = dt.datetime(2026, 12, 31, 23, 58, 30, tzinfo=dt.UTC)

    start, end, _ = rule_window(now)

    assert (start, end) == ("59 23 * * *", "0 0 * * *")
