"""When workloads are looked at, and in which order they have their turn."""

import math

from recommender.keys import WorkloadKey
from recommender.updating.agenda import Agenda

WEB, CHAT = WorkloadKey("default", "web"), WorkloadKey("default", "chat")


def test_workloads_are_due_in_the_order_of_their_times() -> None:
    agenda = Agenda()
    agenda.put(WEB, 20.0)
    agenda.put(CHAT, 10.0)
    assert agenda.next_due() == 10.0
    assert list(agenda.take_due(30.0)) == [CHAT, WEB]
    assert agenda.next_due() == math.inf


def test_the_last_time_that_was_given_counts() -> None:
    agenda = Agenda()
    agenda.put(WEB, 10.0)
    agenda.put(WEB, 20.0)
    assert list(agenda.take_due(15.0)) == []
    agenda.put(WEB, math.inf)
    assert agenda.next_due() == math.inf


def test_who_waits_keeps_its_place() -> None:
    agenda = Agenda()
    for key in (WEB, CHAT, WEB):
        agenda.line_up(key)
    assert agenda.waiting == 2
    assert [agenda.next_in_line(), agenda.next_in_line(), agenda.next_in_line()] == [WEB, CHAT, None]


def test_a_workload_that_is_dropped_has_neither_time_nor_turn() -> None:
    agenda = Agenda()
    agenda.put(WEB, 1.0)
    agenda.line_up(WEB)
    agenda.drop(WEB)
    assert (list(agenda.take_due(5.0)), agenda.next_in_line()) == ([], None)
