"""How one exporter names usage: the queries of each resource, and the labels that tell pod and card."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from vgpu.slices import Resource

_QUOTED: Final = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|`[^`]*`"
_SELECTOR: Final = re.compile(
    rf"\s*(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)?\s*(?:\{{(?P<matchers>(?:[^\"'`{{}}]|{_QUOTED})*)\}})?\s*"
)
_TEXT: Final = re.compile(_QUOTED)
_COMMENT: Final = re.compile(r"#[^\n]*")
_RANGE: Final = re.compile(r"\[[^\[\]]*\]\s*((offset|@)\s*\S+\s*)*")


class Unit(StrEnum):
    """What a query for TFLOPS gives."""

    TFLOPS = "tflops"
    RATIO = "ratio"
    """A part of the card, from 0 to 1."""
    PERCENT = "percent"
    """The same from 0 to 100."""


class PodGpu(NamedTuple):
    """One GPU of one pod; `gpu` is empty where a series does not name the card."""

    namespace: str
    pod: str
    gpu: str


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to ask for a resource.

    Attributes:
        query: a PromQL selector, or any other expression that gives an instant vector.
        scale: what its values are multiplied by, to be TFLOPS, bytes, or parts of a card from 0 to 1.
    """

    query: str
    scale: float = 1.0

    @property
    def selector(self) -> tuple[str, str] | None:
        """Metric name and matchers, either of them empty or not; None where it is no plain selector."""
        found = _SELECTOR.fullmatch(self.query)
        if found is None or not self.query.strip():
            return None
        return found["name"] or "", (found["matchers"] or "").strip().rstrip(",")


@dataclass(frozen=True, slots=True)
class Measure:
    """How a resource is told.

    Attributes:
        readings: the ways to ask for it; where several give the same pod and card, the first counts.
        of_card: whether values are parts of a card, so that they count by the card's peak.
        per_unit: whether exporters disagree about the unit, so that a setting may choose it.
        zero_is_unknown: whether an exporter shows 0 where it does not measure, so that the zeros of a pod
            mean something only when it has shown anything else.
    """

    readings: tuple[Reading, ...]
    of_card: bool = False
    per_unit: bool = False
    zero_is_unknown: bool = False


@dataclass(frozen=True, slots=True)
class Preset:
    """How one exporter names usage.

    Attributes:
        name: What the setting `preset` calls it.
        compute: How the use of a card's compute is told.
        memory: How the use of its VRAM is told.
        namespace_labels: Labels that may hold the pod's namespace, the one that counts first.
        pod_labels: Labels that may hold the pod's name, the one that counts first.
        gpu_labels: What tells one GPU of a pod from another, part by part: the labels that may hold a part,
            the one that counts first.
        model_labels: Labels that may hold the card's model.
        profile_labels: Labels that may hold the profile of a MIG instance.
        whole_cards: Whether a series is all use of a card, whoever uses it: true of a pod only where the pod
            has the card (or MIG instance) alone.
    """

    name: str
    compute: Measure
    memory: Measure
    namespace_labels: tuple[str, ...]
    pod_labels: tuple[str, ...]
    gpu_labels: tuple[tuple[str, ...], ...]
    model_labels: tuple[str, ...] = ()
    profile_labels: tuple[str, ...] = ()
    whole_cards: bool = False

    def measure(self, resource: Resource) -> Measure:
        """How a resource is told."""
        return self.compute if resource is Resource.TFLOPS else self.memory

    @property
    def needs_cards(self) -> bool:
        """Whether a series can only be understood by the node's card."""
        return self.compute.of_card or self.whole_cards

    @property
    def card_labels(self) -> tuple[str, ...]:
        """The labels that tell what a card or an instance can do."""
        return (*self.model_labels, *self.profile_labels)

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label that says something, each once."""
        parts = (self.namespace_labels, self.pod_labels, *self.gpu_labels, self.card_labels)
        return tuple(dict.fromkeys(name for part in parts for name in part))

    def identify(self, labels: Mapping[str, str]) -> PodGpu | None:
        """The pod and card that a series is about; None where it names no pod."""
        namespace = first(labels, self.namespace_labels)
        pod = first(labels, self.pod_labels)
        if not namespace or not pod:
            return None
        gpu = ""
        for names in self.gpu_labels:
            if part := first(labels, names):
                gpu = f"{gpu}/{part}" if gpu else part
        return PodGpu(namespace, pod, gpu)


def gives_range(query: str) -> bool:
    """Whether a query is a range selector or a subquery (`x[5m]`), and no instant vector."""
    bare = _COMMENT.sub("", _TEXT.sub("", query)).rstrip()
    return any(match.end() == len(bare) for match in _RANGE.finditer(bare))


def first(labels: Mapping[str, str], names: tuple[str, ...]) -> str:
    """The first of some labels that a series has; empty where it has none of them."""
    for name in names:
        value = labels.get(name)
        if value:
            return value
    return ""
