"""Which figures of a workload /metrics shows: the columns of a table with a row for each workload."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from recommender.figures.text_format import Family
from vgpu.slices import Resource

PREFIX: Final = "vgpu_workload"
_LABELS: Final = ("namespace", "workload")
_MILLIONTHS: Final = 1_000_000

_SUFFIXES: Final = {Resource.TFLOPS: "tflops", Resource.VRAM: "vram_bytes"}
_SAID: Final = {Resource.TFLOPS: "TFLOPS", Resource.VRAM: "VRAM in bytes"}
_UNITS: Final = {Resource.TFLOPS: 1000, Resource.VRAM: 1}


class Kind(StrEnum):
    """The amounts that there are of each resource: first those of a verdict, then those of an estimate."""

    REQUEST = "request"
    LIMIT = "limit"
    RECOMMENDED_REQUEST = "recommended_request"
    RECOMMENDED_LIMIT = "recommended_limit"
    TARGET = "target"
    LOWER_BOUND = "lower_bound"
    UPPER_BOUND = "upper_bound"


_TEXTS: Final = {
    Kind.REQUEST: "{} that the workload itself requests for each pod",
    Kind.LIMIT: "{} that the workload itself gives as its limit",
    Kind.RECOMMENDED_REQUEST: "{} that is recommended as the request of new pods",
    Kind.RECOMMENDED_LIMIT: "{} that is recommended as the limit of new pods",
    Kind.TARGET: "{} that usage calls for",
    Kind.LOWER_BOUND: "{}; usage calls a request below this too small",
    Kind.UPPER_BOUND: "{}; usage calls a request above this too large",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of all workloads.

    Attributes:
        family: as Prometheus is told of it.
        unit: how many of what the column counts are one of what Prometheus is told.
    """

    family: Family
    unit: int = 1


def per_unit(resource: Resource) -> int:
    """How many of what is counted inside are one TFLOPS, or one byte."""
    return _UNITS[resource]


def _name(kind: Kind, resource: Resource) -> str:
    return f"{PREFIX}_{kind.value}_{_SUFFIXES[resource]}"


def _amount(kind: Kind, resource: Resource) -> Column:
    text = _TEXTS[kind].format(_SAID[resource])
    return Column(Family(_name(kind, resource), "gauge", text, _LABELS), per_unit(resource))


_REPORTED_KINDS: Final = (Kind.REQUEST, Kind.LIMIT, Kind.RECOMMENDED_REQUEST, Kind.RECOMMENDED_LIMIT)
_ESTIMATED_KINDS: Final = (Kind.TARGET, Kind.LOWER_BOUND, Kind.UPPER_BOUND)

_APPLIED: Final = Column(
    Family(
        f"{PREFIX}_applied_replicas",
        "gauge",
        "Running pods that have the recommendation, or what the active cron rule asks for",
        _LABELS,
    )
)
_CONFIDENCE: Final = Column(
    Family(
        f"{PREFIX}_confidence_ratio",
        "gauge",
        "How far the bounds can be trusted: 1 after a confidence interval with a sample a minute",
        _LABELS,
    ),
    _MILLIONTHS,
)
_SAMPLES: Final = Column(
    Family(f"{PREFIX}_samples_total", "counter", "TFLOPS samples that the estimates rest on", _LABELS)
)

RULE: Final = Family(
    f"{PREFIX}_active_rule_info",
    "gauge",
    "1 for the cron rule that is active now; no series for a workload without one",
    (*_LABELS, "rule"),
)

COLUMNS: Final = (
    *(_amount(kind, resource) for kind in _REPORTED_KINDS for resource in Resource),
    _APPLIED,
    *(_amount(kind, resource) for kind in _ESTIMATED_KINDS for resource in Resource),
    _CONFIDENCE,
    _SAMPLES,
)
"""All figures that are numbers, in the order in which they are shown."""

_INDEX: Final = {each.family.name: index for index, each in enumerate(COLUMNS)}

REPORTED: Final = slice(0, _INDEX[_APPLIED.family.name] + 1)
"""The columns that a verdict fills: requests and limits of the workload and of the recommendation, then the
number of pods that have it."""

ESTIMATED: Final = slice(REPORTED.stop, len(COLUMNS))
"""The columns that usage fills."""

CONFIDENCE: Final = _INDEX[_CONFIDENCE.family.name]
SAMPLES: Final = _INDEX[_SAMPLES.family.name]


def index_of(kind: Kind, resource: Resource) -> int:
    """The column of an amount."""
    return _INDEX[_name(kind, resource)]
