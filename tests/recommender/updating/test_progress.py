"""What comes after an eviction."""

from typing import Any

import pytest

from recommender.updating.members import NO_PROGRESS, Member, Progress, Situation
from recommender.updating.progress import REPLACEMENT_TIMEOUT, after_eviction, after_refusal, settled
from recommender.updating.reasons import Reason
from tests.recommender.updating.making import LIMITS, NOW, member, situation, three

EVICTED = after_eviction(NO_PROGRESS, three(), [member(0)], NOW)
LEFT = (member(1), member(2))


def replacement(**changes: Any) -> Member:
    return member(7, created=NOW + 1, **{"differs": False, **changes})


def later(*members: Member, progress: Progress = EVICTED, after: float = 5, **changes: Any) -> Progress:
    return settled(progress, situation(*members, **changes), LIMITS, NOW + after)


def test_a_replacement_is_waited_for() -> None:
    assert later(*LEFT) == EVICTED


def test_it_is_waited_for_until_it_is_ready() -> None:
    assert later(*LEFT, replacement(ready=False)) == EVICTED


def test_it_does_not_count_before_the_evicted_pod_is_gone() -> None:
    assert later(*LEFT, member(0), replacement()) == EVICTED


def test_once_it_is_ready_the_workload_rests() -> None:
    assert later(*LEFT, replacement()) == Progress(until=NOW + 5 + LIMITS.cool_down)


def test_it_is_not_waited_for_for_ever() -> None:
    assert later(*LEFT, after=REPLACEMENT_TIMEOUT).evicted == frozenset()


@pytest.mark.parametrize("changes", [{"differs": True}, {"unwritten": True}])
def test_one_without_the_recommended_slice_stops_the_evicting(changes: dict[str, Any]) -> None:
    found = later(*LEFT, replacement(**changes))
    assert (found.reason, found.until, found.evicted) == (Reason.NOT_APPLIED, NOW + 605, frozenset())


def test_one_that_lacks_what_is_recommended_only_since_then_is_no_misfit() -> None:
    found = later(*LEFT, replacement(differs=True), wanted="something else since")
    assert found == Progress(until=NOW + 5 + LIMITS.cool_down)


def again(progress: Progress) -> Progress:
    """Another eviction, and another replacement that does not carry what was wanted."""
    now_there: Situation = situation(*LEFT, replacement())
    return later(
        *LEFT, member(8, differs=True), progress=after_eviction(progress, now_there, [replacement()], NOW)
    )


def test_each_time_in_a_row_it_stops_for_twice_as_long_but_for_a_day_at_most() -> None:
    progress, waits = later(*LEFT, replacement(differs=True)), []
    for _ in range(9):
        waits.append(progress.until - NOW - 5)
        progress = again(progress)
    assert waits == [600, 1200, 2400, 4800, 9600, 19_200, 38_400, 76_800, 86_400]


def test_a_refusal_is_tried_again_ever_less_often() -> None:
    progress, waits = NO_PROGRESS, []
    for _ in range(7):
        progress = after_refusal(progress, Reason.BUDGET, NOW)
        waits.append(progress.until - NOW)
    assert waits == [30, 60, 120, 240, 480, 600, 600]


def test_it_is_not_tried_again_before_kube_apiserver_says_so() -> None:
    assert after_refusal(NO_PROGRESS, Reason.BUDGET, NOW, retry_after=45).until == NOW + 45


def test_what_kube_apiserver_says_does_not_stop_it_for_longer_than_ten_minutes() -> None:
    assert after_refusal(NO_PROGRESS, Reason.BUDGET, NOW, retry_after=86_400).until == NOW + 600
