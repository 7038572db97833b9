"""From the metric source's series to the newest sample of each GPU of each pod, if that can be true."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Final

from vgpu.capacity import most_plausible
from vgpu.prometheus import Series
from vgpu.slices import Resource
from vgpu.usage_sources import CardLookup, MeasuredPods, PodGpu, Preset, UnknownCards, reading_of

# Counters are read at slightly other times than the clock that they are divided by.
_MOST_OF_CARD: Final = 1.05


class Drop(StrEnum):
    """Why a series, or the values of a pod, did not come into the table."""

    UNIDENTIFIED = "unidentified"
    """The series' labels name no pod."""
    DUPLICATE = "duplicate"
    """Another series of the same GPU of the same pod has a newer sample."""
    SHARED = "shared"
    """The series is all use of a card that several pods have."""
    UNKNOWN_CARD = "unknown_card"
    """The series gives parts of a card of which nobody knows what it can do."""
    UNMEASURED = "unmeasured"
    """The series is 0, of a pod that never showed more: so an exporter may show what it does not measure."""
    BAD_VALUE = "bad_value"
    """Of one of the pod's GPUs nothing is known: any of the above, NaN, negative, or too much."""
    NO_POD = "no_pod"
    """There is no such pod, or it is not one of ours."""
    OLDER_THAN_POD = "older_than_pod"
    """The sample is of an earlier pod of the same name."""
    NOT_RUNNING = "not_running"
    """The pod is not running, or it is being deleted."""
    NO_REQUEST = "no_request"
    """The pod has no request that a utilization could be of."""


@dataclass(frozen=True, slots=True)
class GpuSample:
    """What one GPU of a pod used.

    Attributes:
        time: Epoch seconds.
        value: In TFLOPS or bytes; None where what the source says cannot be true.
    """

    time: float
    value: float | None


GpuSamples = Mapping[PodGpu, GpuSample]


@dataclass(frozen=True, slots=True)
class _Found:
    """The newest sample of a series; `reading` is which of a preset's names the series has."""

    reading: int
    sample: GpuSample
    drop: Drop | None


class SampleReader:
    """Finds the newest sample of each GPU of each pod, in TFLOPS or bytes.

    Args:
        preset: What the series are of.
        cards: What is known of the nodes' cards.
        node_of: The name of a pod's node, by namespace and name; empty where there is no such pod.
    """

    def __init__(self, *, preset: Preset, cards: CardLookup, node_of: Callable[[str, str], str]) -> None:
        self._preset = preset
        self._cards = cards
        self._node_of = node_of
        self._unknown = UnknownCards(cards, preset)
        self._measured = MeasuredPods[tuple[str, str]]()

    def newest(
        self, series: Sequence[Series], resource: Resource, drops: Counter[Drop]
    ) -> dict[PodGpu, GpuSample]:
        """The newest sample of each GPU of each pod.

        Several series of one GPU (two scrapers, an exporter that restarted) become the newest sample of them
        all, and at the same time the largest, so that the order of an answer decides nothing. Of several
        metrics that tell the same of a GPU, the preset's first counts.

        Args:
            series: Raw samples with their own timestamps, as a range selector gives them.
            resource: What they measure.
            drops: Is counted up, once for each series that is left out.
        """
        shared = self._shared_cards(series) if self._preset.whole_cards else frozenset()
        if self._preset.measure(resource).zero_is_unknown:
            self._measured.add(self._busy(series))
        newest: dict[PodGpu, _Found] = {}
        for one in series:
            if not one.times:
                continue
            gpu = self._preset.identify(one.labels)
            reading = reading_of(self._preset.measure(resource), one.labels.get("__name__", ""))
            if gpu is None or reading is None:
                drops[Drop.UNIDENTIFIED] += 1
                continue
            found = self._judge(one, gpu, resource, reading, shared=shared)
            known = newest.get(gpu)
            if known is not None and known.reading == reading:
                drops[Drop.DUPLICATE] += 1
            newest[gpu] = found if known is None else max(found, known, key=_order)
        drops.update(found.drop for found in newest.values() if found.drop is not None)
        return {gpu: found.sample for gpu, found in newest.items()}

    def _judge(
        self, series: Series, gpu: PodGpu, resource: Resource, reading: int, *, shared: frozenset[str]
    ) -> _Found:
        measure = self._preset.measure(resource)
        node = self._node_of(gpu.namespace, gpu.pod)
        unknown = GpuSample(series.times[-1], None)
        if self._preset.whole_cards and (gpu.gpu in shared or self._cards.is_shared(node)):
            return _Found(reading, unknown, Drop.SHARED)
        whole = self._cards.whole(self._preset, series.labels, node) if measure.of_card else 1.0
        if whole is None:
            self._unknown.tell(series.labels, node)
            return _Found(reading, unknown, Drop.UNKNOWN_CARD)
        if measure.zero_is_unknown and series.values[-1] == 0 and gpu[:2] not in self._measured:
            return _Found(reading, unknown, Drop.UNMEASURED)
        most = most_plausible(resource, self._cards.largest(node))
        if measure.of_card:
            most = min(most, _MOST_OF_CARD * whole)
        value = series.values[-1] * measure.readings[reading].scale * whole
        return _Found(reading, GpuSample(series.times[-1], value) if 0 <= value <= most else unknown, None)

    def _busy(self, series: Iterable[Series]) -> Iterator[tuple[str, str]]:
        """The pods that show more than 0."""
        for one in series:
            gpu = self._preset.identify(one.labels)
            if gpu is not None and any(0 < value < inf for value in one.values):
                yield gpu[:2]

    def _shared_cards(self, series: Iterable[Series]) -> frozenset[str]:
        """The cards that several pods have at the same time; one that changes hands is not shared."""
        spans: defaultdict[str, list[tuple[float, float, tuple[str, str]]]] = defaultdict(list)
        for one in series:
            gpu = self._preset.identify(one.labels)
            if gpu is not None and gpu.gpu and one.times:
                spans[gpu.gpu].append((one.times[0], one.times[-1], gpu[:2]))
        return frozenset(card for card, of_card in spans.items() if _overlap(of_card))


def _overlap(spans: list[tuple[float, float, tuple[str, str]]]) -> bool:
    """Whether spans of different pods overlap."""
    latest: dict[tuple[str, str], float] = {}
    for first, last, pod in sorted(spans):
        if any(first <= end for other, end in latest.items() if other != pod):
            return True
        latest[pod] = max(last, latest.get(pod, last))
    return False


def _order(found: _Found) -> tuple[int, float, float]:
    sample = found.sample
    return -found.reading, sample.time, -1.0 if sample.value is None else sample.value
