import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.decisions.availability import (
    Availability,
    Beginnings,
    availability_condition,
    find_usage,
    has_turned,
)
from recommender.decisions.conditions import merge_conditions
from recommender.usage.hearing import NOTHING_HEARD, Heard
from tests.support.using import NOW, OTHER, WEB

PATIENCE = 300.0
AGO, NEVER, IDLE = -math.inf, -math.inf, math.inf
HEARD = Heard(NOW - PATIENCE, NOW - PATIENCE, None, PATIENCE)
AWAY = Heard(NOW - 3900, NOW - 3900, NOW - 3600, PATIENCE)
BACK = Heard(NOW - PATIENCE, NOW - 3900, None, PATIENCE)
"""After an outage of an hour."""

Status = dict[str, Any]


def status(
    before: Status | None = None, *, touched: float = NEVER, began: float = AGO, heard: Heard = HEARD
) -> Status:
    """What a status says after a look."""
    old = before or {}
    found = find_usage(old, touched=touched, began=began, heard=heard, now=NOW)
    merged = merge_conditions(old.get("conditions", ()), availability_condition(old, found), NOW)
    return {"conditions": merged}


def told(status: Status) -> tuple[str, str] | None:
    return next(((each["status"], each["reason"]) for each in status["conditions"]), None)


SEEN = status(touched=NOW)
SILENT = status(touched=NOW - 400)
NO_PODS = status(began=IDLE)


def test_usage_that_comes_in_makes_it_true() -> None:
    assert told(SEEN) == ("True", "UsageSeen")
    assert told(status(SILENT, touched=NOW - PATIENCE)) == ("True", "UsageSeen")


def test_no_sample_for_longer_than_the_patience_makes_it_false_and_says_since_when_and_where_to_look() -> (
    None
):
    assert told(SILENT) == ("False", "NoSamples")
    [condition] = SILENT["conditions"]
    for part in ("since 2027-01-15T07:53:20Z", "vgpu_recommender_samples_total", "docs/metric-sources.md"):
        assert part in condition["message"]


def test_a_workload_that_never_had_a_sample_has_none_since_its_pods_run() -> None:
    [condition] = status(began=NOW - 301)["conditions"]
    assert condition["reason"] == "NoSamples"
    assert "since 2027-01-15T07:54:59Z" in condition["message"]
    [condition] = status()["conditions"]
    assert condition["reason"] == "NoSamples"
    assert "since" not in condition["message"]


def test_a_pod_that_has_just_begun_to_run_gets_time() -> None:
    assert told(status(NO_PODS, began=NOW - 200)) == ("Unknown", "AwaitingUsage")
    assert told(status(SILENT, began=NOW - 200)) == ("False", "NoSamples")
    assert told(status(status(NO_PODS, began=NOW - 200), began=NOW - 301)) == ("False", "NoSamples")


def test_no_pod_that_runs_makes_it_unknown_once_usage_has_ceased() -> None:
    assert told(NO_PODS) == ("Unknown", "NoPods")
    assert told(status(SEEN, touched=NOW - 200, began=IDLE)) == ("True", "UsageSeen")
    assert told(status(SEEN, touched=NOW - 301, began=IDLE)) == ("Unknown", "NoPods")
    assert told(status(SILENT, touched=NOW - 900, began=IDLE)) == ("Unknown", "NoPods")


def test_what_a_former_leader_saw_stays_until_the_source_has_answered() -> None:
    assert status(SEEN, touched=NOW - 10, began=IDLE, heard=NOTHING_HEARD) == SEEN
    assert status(SEEN, touched=NOW - 10, heard=NOTHING_HEARD) == SEEN
    assert status(SILENT, touched=NOW - 400, heard=NOTHING_HEARD) == SILENT
    assert told(status(SILENT, began=IDLE, heard=NOTHING_HEARD)) == ("Unknown", "NoPods")


def test_a_source_that_is_away_makes_it_false_where_a_pod_runs() -> None:
    assert told(status(SEEN, touched=NOW - 3600, heard=AWAY)) == ("False", "SourceUnavailable")
    assert told(status(SEEN, touched=NOW - 3600, began=IDLE, heard=AWAY)) == ("Unknown", "NoPods")
    [condition] = status(SEEN, heard=AWAY)["conditions"]
    assert "since 2027-01-15T07:00:00Z" in condition["message"]


@pytest.mark.parametrize("before", [SEEN, SILENT, {}])
def test_after_an_outage_it_stays_until_something_is_sure(before: Status) -> None:
    after = status(before, touched=NOW - 3600, heard=BACK)
    assert after.get("conditions", []) == before.get("conditions", [])
    assert told(status(before, touched=NOW - 10, heard=BACK)) == ("True", "UsageSeen")


def test_it_is_told_again_only_for_another_reason() -> None:
    later = status(SILENT, touched=NOW - 400, began=NOW - 350)
    assert later == SILENT


@pytest.mark.parametrize("change", [{"reason": "Mine"}, {"status": "True"}])
def test_what_somebody_else_has_written_there_is_set_right(change: Status) -> None:
    [condition] = SILENT["conditions"]
    assert told(status({"conditions": [{**condition, **change}]}, touched=NOW - 400)) == (
        "False",
        "NoSamples",
    )


TIMES = st.sampled_from([AGO, NOW - 4000, NOW - 3800, NOW - 301, NOW - 300, NOW - 299, NOW, IDLE])


@given(
    st.sampled_from([{}, SEEN, SILENT, NO_PODS, status(SEEN, heard=AWAY), status(NO_PODS, began=NOW)]),
    TIMES.filter(lambda time: time != IDLE),
    TIMES,
    st.sampled_from([NOTHING_HEARD, HEARD, BACK]),
)
def test_the_screen_finds_what_a_look_would_find(
    before: Status, touched: float, began: float, heard: Heard
) -> None:
    last = find_usage(before, touched=touched, began=began, heard=heard, now=NOW).availability
    now_there = status(before, touched=touched, began=began, heard=heard)
    for other in (NOTHING_HEARD, HEARD, BACK):
        found = find_usage(now_there, touched=touched, began=began, heard=other, now=NOW).availability
        turned = has_turned(np.array([last], np.int8), np.array([touched]), np.array([began]), other, NOW)
        assert turned.tolist() == [found is not last]


def test_the_screen_says_nothing_while_the_source_is_away() -> None:
    last = np.array(list(Availability), np.int8)
    nothing = np.full(len(last), -np.inf)
    assert not has_turned(last, nothing, nothing, AWAY, NOW).any()


def test_since_when_pods_run_is_known_of_those_that_were_seen_to_begin() -> None:
    beginnings = Beginnings()
    assert beginnings.look(WEB, HEARD, NOW, runs=True) == AGO
    assert beginnings.look(WEB, HEARD, NOW, runs=False) == IDLE
    assert beginnings.look(WEB, HEARD, NOW + 10, runs=True) == NOW + 10
    assert beginnings.look(WEB, HEARD, NOW + 60, runs=True) == NOW + 10
    assert beginnings.look(WEB, HEARD, NOW + 70, runs=False) == IDLE


def test_a_look_that_waited_for_its_turn_does_not_make_a_pod_older() -> None:
    beginnings = Beginnings()
    beginnings.look(WEB, HEARD, NOW, runs=False)
    beginnings.look(OTHER, HEARD, NOW + 60, runs=True)
    assert beginnings.look(WEB, HEARD, NOW - 600, runs=True) == NOW + 60


def test_a_beginning_is_forgotten_when_it_matters_no_longer() -> None:
    beginnings = Beginnings()
    beginnings.look(WEB, HEARD, NOW, runs=False)
    beginnings.look(WEB, HEARD, NOW, runs=True)
    later = Heard(NOW + 60, NOW + 60, None, PATIENCE)
    assert beginnings.look(WEB, later, NOW + 360, runs=True) == AGO


def test_a_workload_that_is_no_more_is_forgotten() -> None:
    beginnings = Beginnings()
    beginnings.look(WEB, HEARD, NOW, runs=False)
    beginnings.forget(WEB)
    assert beginnings.look(WEB, HEARD, NOW, runs=True) == AGO
