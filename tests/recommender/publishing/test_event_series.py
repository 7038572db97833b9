import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.publishing.event_series import WINDOW, SeriesTable, shortened
from recommender.publishing.happenings import CONFIGURATION_INVALID, CRON_RULE_STARTED, Happening
from tests.support.recommending import START
from vgpu.kube.objects import ObjectMeta

WEB = ObjectMeta(name="web", namespace="default", uid="uid-web", resource_version="7")
STARTED = Happening(CRON_RULE_STARTED, "night")


def observe(table: SeriesTable, now: float = START, **more: Any) -> Any:
    given = {"workload": WEB, "happening": STARTED, "related": None, **more}
    return table.observe(given["workload"], given["happening"], related=given["related"], now=now)


def test_the_body_is_one_that_kube_apiserver_takes() -> None:
    body = observe(SeriesTable(), now=START + 0.25).body("recommender-0_abc")
    name = body["metadata"].pop("name")
    assert re.fullmatch(r"web\.[0-9a-f]{16}", name)
    assert body == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": "default"},
        "eventTime": "2026-01-01T10:00:00.250000Z",
        "reportingController": "tensor-fusion.ai/vgpu-autoscaler",
        "reportingInstance": "recommender-0_abc",
        "action": "SwitchCronRule",
        "reason": "CronRuleStarted",
        "type": "Normal",
        "note": "night",
        "regarding": {
            "apiVersion": "tensor-fusion.ai/v1",
            "kind": "TensorFusionWorkload",
            "namespace": "default",
            "name": "web",
            "uid": "uid-web",
            "resourceVersion": "7",
        },
    }


def test_a_mistake_is_a_warning() -> None:
    series = observe(SeriesTable(), happening=Happening(CONFIGURATION_INVALID, "wrong"))
    assert series.body("me")["type"] == "Warning"


def test_an_event_about_a_pod_names_it_as_related() -> None:
    pod = ObjectMeta(name="web-0", namespace="default", uid="uid-pod", resource_version="3")
    related = observe(SeriesTable(), related=pod).body("me")["related"]
    assert (related["apiVersion"], related["kind"], related["name"]) == ("v1", "Pod", "web-0")
    assert related["uid"] == "uid-pod"


def test_a_long_identity_is_cut() -> None:
    assert observe(SeriesTable()).body("é" * 200)["reportingInstance"] == "é" * 64


def test_what_happens_again_within_the_window_is_the_same_event() -> None:
    table = SeriesTable()
    first = observe(table)
    newer = ObjectMeta(name="web", namespace="default", uid="uid-web", resource_version="8")
    assert observe(table, now=START + WINDOW, workload=newer) is first
    assert first.patch() == {"series": {"count": 2, "lastObservedTime": "2026-01-01T10:06:00.000000Z"}}


def test_each_repetition_extends_the_window() -> None:
    table = SeriesTable()
    all_of_them = {id(observe(table, now=START + WINDOW * index)) for index in range(5)}
    assert len(all_of_them) == 1


def test_what_happens_again_after_the_window_is_another_event() -> None:
    table = SeriesTable()
    first = observe(table)
    second = observe(table, now=START + WINDOW + 1)
    assert second is not first
    assert second.name != first.name
    assert len(table) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"workload": ObjectMeta(name="web", namespace="default", uid="uid-of-another")},
        {"happening": Happening(CRON_RULE_STARTED, "day")},
        {"happening": Happening(CONFIGURATION_INVALID, "night")},
        {"related": ObjectMeta(name="web-0", namespace="default", uid="uid-pod")},
    ],
)
def test_anything_else_is_an_event_of_its_own(other: dict[str, Any]) -> None:
    table = SeriesTable()
    first, second = observe(table), observe(table, **other)
    assert (first.count, second.count) == (1, 1)
    assert first.name != second.name


def test_an_event_that_has_happened_again_before_it_was_created_says_so() -> None:
    table = SeriesTable()
    observe(table)
    series = observe(table, now=START + 2)
    assert series.body("me")["series"] == {"count": 2, "lastObservedTime": "2026-01-01T10:00:02.000000Z"}
    assert series.body("me")["eventTime"] == "2026-01-01T10:00:00.000000Z"


def test_a_clock_that_is_set_back_does_not_take_a_series_back() -> None:
    table = SeriesTable()
    observe(table)
    assert observe(table, now=START - 100).last == START


def test_the_table_is_bounded_and_forgets_what_is_oldest() -> None:
    table = SeriesTable(most=2)
    names = ["a", "b", "c"]
    series = [observe(table, happening=Happening(CRON_RULE_STARTED, name)) for name in names]
    assert len(table) == 2
    again = [observe(table, happening=Happening(CRON_RULE_STARTED, name)) for name in ("b", "c", "a")]
    assert [again[0] is series[1], again[1] is series[2], again[2] is series[0]] == [True, True, False]


def test_the_name_of_a_workload_of_any_length_fits_into_the_events() -> None:
    long = ObjectMeta(name=f"{'a' * 235}.{'b' * 17}", namespace="default", uid="u")
    name = observe(SeriesTable(), workload=long).name
    assert re.fullmatch(r"a{235}\.[0-9a-f]{16}", name)


def test_a_note_that_fits_stays_as_it_is() -> None:
    assert shortened("x" * 1024) == "x" * 1024


def test_a_long_note_is_cut_between_two_words() -> None:
    assert shortened("word " * 300) == f"{('word ' * 204).strip()}..."


@given(st.text(max_size=1500))
def test_no_note_is_longer_than_kube_apiserver_takes(note: str) -> None:
    """k8s.io/api/events/v1: "maximal length of the note is 1kB"."""
    assert len(shortened(note * 2).encode()) <= 1024
