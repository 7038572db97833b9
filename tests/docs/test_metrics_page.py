"""docs/metrics.md holds what the services really register, no more and no less."""

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase

from metrics_adapter.metrics import AdapterMetrics
from metrics_adapter.samples import Drop
from recommender.checkpoints.errors import CheckpointError
from recommender.figures.table import WorkloadFigures
from recommender.metrics import RecommenderMetrics
from recommender.publishing.events import Outcome as EventOutcome
from recommender.updating.eviction import Outcome as EvictionOutcome
from recommender.updating.reasons import Reason as Held
from recommender.usage.samples import Outcome
from vgpu.kube.contact import KINDS, Contact
from vgpu.prometheus import PrometheusError
from vgpu.telemetry import CountedElsewhere, new_registry, watch_reflectors, watch_requests
from webhook.edits import Label
from webhook.errors import LeftAloneError
from webhook.metrics import WebhookMetrics

T = TypeVar("T")

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
_CODE = re.compile(r"`([^`]+)`")


class Documented(NamedTuple):
    """A row of a table, or what it should say."""

    name: str
    type: str
    labels: frozenset[str]


def rows() -> Iterator[list[str]]:
    """The cells of each row of each table."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            # A bar inside of code does not end a cell, and there is none on this page.
            yield [cell.strip() for cell in line.strip("|").split("|")]


def documented() -> list[Documented]:
    return [
        Documented(_CODE.findall(cells[0])[0], cells[1], frozenset(_CODE.findall(cells[2])))
        for cells in rows()
        if len(cells) == 6
    ]


def explained(heading: str) -> set[str]:
    """The label values in the table under a heading."""
    section = PAGE.read_text(encoding="utf-8").split(f"### {heading}\n")[1].split("\n#")[0]
    return set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))


def registered() -> Iterator[Documented]:
    """Everything that a service can show."""
    registry = new_registry(service="recommender")
    RecommenderMetrics(registry)
    WebhookMetrics(registry)
    AdapterMetrics(registry)
    watch_reflectors(registry, [])
    watch_requests(registry, Contact())
    for collector in set(registry._collector_to_names):
        if not isinstance(collector, (ProcessCollector, GCCollector)):
            yield from _told_by(collector)
    for family in WorkloadFigures.families():
        yield Documented(family.name, family.type, frozenset(family.labels))


def _told_by(collector: object) -> Iterator[Documented]:
    if isinstance(collector, CountedElsewhere):
        for counter in collector.describe():
            yield Documented(f"{counter.name}_total", counter.type, frozenset(collector.labels))
        return
    if not isinstance(collector, MetricWrapperBase):
        for family in collector.describe():  # type: ignore[attr-defined]  # custom collectors all have it
            yield Documented(family.name, family.type, frozenset())
        return
    (family,) = collector.describe()
    labels = frozenset(collector._labelnames)
    if family.type == "info":
        (told,) = collector.collect()
        yield Documented(f"{family.name}_info", "gauge", frozenset(told.samples[0].labels))
    else:
        suffix = "_total" if family.type == "counter" else ""
        yield Documented(f"{family.name}{suffix}", family.type, labels)


def test_each_metric_is_documented_once() -> None:
    names = [each.name for each in documented()]
    assert sorted(names) == sorted(set(names))


def test_the_page_has_every_metric_of_every_service_and_no_other() -> None:
    assert {each.name for each in documented()} == {each.name for each in registered()}


def test_the_page_gives_the_type_and_the_labels_of_each_metric() -> None:
    assert set(documented()) ^ set(registered()) == set()


def test_the_page_tells_unit_and_meaning_of_each_metric() -> None:
    assert [cells[0] for cells in rows() if len(cells) == 6 and not (cells[3] and cells[4])] == []


def test_the_registry_and_the_figures_of_workloads_share_no_name() -> None:
    registry = CollectorRegistry()
    RecommenderMetrics(registry)
    figures = {family.name for family in WorkloadFigures.families()}
    assert figures.isdisjoint(name for names in registry._collector_to_names.values() for name in names)


def values(members: Iterable[StrEnum]) -> set[str]:
    return {member.value for member in members}


def kinds_of(error: type[T]) -> Iterator[type[T]]:
    """All errors below one that is never raised itself."""
    for each in error.__subclasses__():
        yield each
        yield from kinds_of(each)


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("What becomes of samples", values(Outcome)),
        ("What becomes of evictions", values(EvictionOutcome)),
        ("What holds evictions back", values(Held)),
        ("Errors of kube-apiserver", set(KINDS)),
        ("Errors of the metric source", {error.__name__ for error in kinds_of(PrometheusError)}),
        (
            "Failures of checkpoints",
            {error.reason for error in kinds_of(CheckpointError)} - {CheckpointError.reason},
        ),
        (
            "What is done to pods",
            values(Label) | {error.outcome for error in kinds_of(LeftAloneError)},
        ),
        ("What the adapter leaves out", values(Drop)),
        ("What becomes of Events", values(EventOutcome)),
    ],
)
def test_every_value_of_a_label_with_few_values_is_explained(heading: str, expected: set[str]) -> None:
    assert explained(heading) == expected
