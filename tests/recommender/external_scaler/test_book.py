from typing import Any

from recommender.decisions.advising import NOT_ASKED, Consultation
from recommender.external_scaler.answers import Answer
from recommender.external_scaler.book import ScalerBook
from recommender.external_scaler.errors import Unreachable
from recommender.keys import WorkloadKey
from tests.support import builders
from tests.support.recommending import CREATED
from vgpu.api import parse_spec
from vgpu.slices import Amounts

WEB = WorkloadKey("default", "web")
NOW = CREATED + 3600
TWENTY = Amounts(tflops=20_000)


class Desk:
    """A book, and those whom it tells."""

    def __init__(self, *, enabled: bool = True, interval: float = 60) -> None:
        self.changed: list[WorkloadKey] = []
        self.book = ScalerBook(enabled=enabled, interval=interval, changed=self.changed.append)

    def consult(self, now: float, *, status: Any = None, name: str = "web", **scaler: Any) -> Consultation:
        written = {"enable": True, "url": "https://a", **scaler}
        live = builders.workload_struct(name, status=status or {})
        spec = parse_spec({"autoScalingConfig": {"externalScaler": written}})
        return self.book.consult(live, spec, now)

    def due(self, now: float) -> list[WorkloadKey]:
        return list(self.book.take_due(now))

    def answered(self, now: float, requests: Amounts | None = TWENTY, *, begun: float | None = None) -> None:
        self.book.answered(WEB, Answer(requests), begun=now if begun is None else begun, now=now)

    def failed(self, now: float) -> None:
        self.book.failed(WEB, Unreachable("away"), begun=now, now=now)


def test_a_workload_is_asked_for_at_once_and_then_once_an_interval() -> None:
    desk = Desk()
    desk.consult(NOW, interval="5m")
    assert desk.due(NOW) == [WEB]
    assert desk.due(NOW + 1000) == []  # nothing is known of the first yet
    desk.answered(NOW + 8, begun=NOW)
    assert (desk.due(NOW + 299), desk.due(NOW + 300)) == ([], [WEB])


def test_a_question_that_took_longer_than_the_interval_is_followed_by_the_next() -> None:
    desk = Desk(interval=5)
    desk.consult(NOW)
    desk.due(NOW)
    desk.answered(NOW + 9, begun=NOW)
    assert desk.book.next_due() == NOW + 9


def test_nobody_is_asked_more_often_than_usage_is_read_or_every_ten_seconds() -> None:
    for interval, expected in ((60, 10), (2, 2)):
        desk = Desk(interval=interval)
        desk.consult(NOW, interval="1ms")
        desk.due(NOW)
        desk.answered(NOW)
        assert desk.book.next_due() == NOW + expected


def test_an_answer_counts_for_three_intervals() -> None:
    desk = Desk()
    desk.consult(NOW)
    desk.answered(NOW)
    desk.failed(NOW + 60)
    assert desk.consult(NOW + 179.9).advice.requests == TWENTY
    assert desk.consult(NOW + 180).advice.requests == Amounts()


def test_an_answer_without_recommendation_makes_the_last_one_last_longer() -> None:
    desk = Desk()
    desk.consult(NOW)
    desk.answered(NOW)
    desk.answered(NOW + 100, None)
    assert desk.consult(NOW + 270).advice.requests == TWENTY


def test_advice_that_was_too_old_does_not_come_back_by_an_answer_without_recommendation() -> None:
    desk = Desk()
    desk.consult(NOW)
    desk.answered(NOW)
    assert desk.consult(NOW + 1000).advice.requests != TWENTY
    desk.answered(NOW + 1000, None)
    assert desk.consult(NOW + 1001).advice.requests != TWENTY


def test_only_news_are_told() -> None:
    desk = Desk()
    desk.consult(NOW)
    desk.answered(NOW)
    assert desk.changed == [WEB]
    desk.consult(NOW)
    desk.answered(NOW + 60)
    assert desk.changed == [WEB]
    for after, times in ((120, 2), (180, 2), (240, 3)):
        desk.failed(NOW + after)  # at first that it failed, and at last that the answer is too old
        desk.consult(NOW + after)
        assert len(desk.changed) == times


def test_what_the_status_has_of_the_scaler_counts_after_a_restart() -> None:
    status = {
        "estimation": {
            "tflops": {"target": "20", "source": "ExternalScaler"},
            "vram": {"target": "4Gi"},
        }
    }
    desk = Desk()
    assert desk.consult(NOW, status=status).advice.requests == TWENTY
    assert desk.consult(NOW + 200, status=status).advice.requests == Amounts()


def test_another_configuration_is_asked_with_at_once() -> None:
    desk = Desk()
    desk.consult(NOW)
    desk.due(NOW)
    desk.answered(NOW)
    desk.consult(NOW + 1, url="https://b")
    assert desk.due(NOW + 1) == [WEB]
    asked = desk.book.asked(WEB)
    assert asked is not None
    assert asked.scaler.url == "https://b"


def test_a_workload_without_scaler_or_that_is_gone_is_not_asked_for() -> None:
    desk = Desk()
    for leave in (lambda: desk.consult(NOW, enable=False), lambda: desk.book.forget(WEB)):
        desk.consult(NOW)
        assert len(desk.book) == 1
        leave()
        assert (len(desk.book), desk.due(NOW + 100), desk.book.next_due()) == (0, [], None)
        desk.answered(NOW)  # what was under way
        desk.failed(NOW)
    assert desk.changed == []
    assert desk.consult(NOW, enable=False) == NOT_ASKED


def test_switched_off_by_the_operator_it_only_says_so() -> None:
    desk = Desk(enabled=False)
    consultation = desk.consult(NOW)
    assert not consultation.asked
    assert consultation.condition is not None
    assert consultation.condition.reason == "Disabled"
    assert desk.due(NOW + 100) == []
