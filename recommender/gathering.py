"""From the metric source's series to samples by pod; what cannot be true is left out and counted.

A loop over the series finds out whose they are; all samples are then judged together, in arrays.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

import numpy as np
import numpy.typing as npt

from recommender.buckets import FloatArray, IndexArray
from recommender.pods import TrackedPod
from recommender.samples import Outcome, PodFinder, Samples, Stretch
from vgpu.capacity import most_plausible
from vgpu.prometheus import Series
from vgpu.slices import Resource
from vgpu.usage_sources import CardLookup, PodGpu, Preset

_BoolArray = npt.NDArray[np.bool_]
_CodeArray = npt.NDArray[np.int8]

_OUTCOMES: Final = tuple(Outcome)
_CODES: Final = {outcome: code for code, outcome in enumerate(_OUTCOMES)}
_ACCEPTED: Final = _CODES[Outcome.ACCEPTED]
_NOBODY: Final = -1
# Prometheus keeps milliseconds, and rounds.
_ON_GRID: Final = 0.0011
# Counters are read at slightly other times than the clock that they are divided by.
_MOST_OF_CARD: Final = 1.05


@dataclass(slots=True)
class _Pods:
    """The tracked pods that series name: their times column by column."""

    known: list[TrackedPod] = field(default_factory=list)
    created: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    up_to: list[float] = field(default_factory=list)
    index: dict[tuple[str, str], int] = field(default_factory=dict)


@dataclass(slots=True)
class _Columns:
    """What is known of each series.

    Attributes:
        outcome: what becomes of all of its samples; ACCEPTED where each is judged for itself.
        pod: index of the tracked pod; -1 where there is none.
        gpu: index of the pod's GPU.
        factor: what its values are multiplied by, to be TFLOPS or bytes.
        most: the largest product that can be true.
    """

    outcome: list[int] = field(default_factory=list)
    pod: list[int] = field(default_factory=list)
    gpu: list[int] = field(default_factory=list)
    factor: list[float] = field(default_factory=list)
    most: list[float] = field(default_factory=list)

    def add(self, outcome: Outcome, pod: int, gpu: int, factor: float = 1.0, most: float = 0.0) -> None:
        """Take in one series."""
        self.outcome.append(_CODES[outcome])
        self.pod.append(pod)
        self.gpu.append(gpu)
        self.factor.append(factor)
        self.most.append(most)


class Gatherer:
    """Makes samples of series.

    Args:
        preset: knows which labels name pod and card.
        find: the tracked pod of a namespace and name.
        cards: what is known of the nodes' cards.
    """

    def __init__(self, *, preset: Preset, find: PodFinder, cards: CardLookup) -> None:
        self._preset = preset
        self._find = find
        self._cards = cards

    def gather(
        self, resource: Resource, series: Sequence[Series], stretch: Stretch, outcomes: Counter[Outcome]
    ) -> Samples:
        """Put series together by pod, leaving out what cannot be true.

        Args:
            resource: what they measure, in TFLOPS, bytes, or parts of a card as the preset has it.
            series: one for each GPU of a pod, at the ends of whole steps.
            stretch: what was asked for.
            outcomes: counts every sample by what became of it.
        """
        gathering = _Gathering(self._preset, self._find, self._cards, resource, stretch)
        for one in series:
            gathering.take(one)
        return gathering.samples(series, outcomes)


class _Gathering:
    """One answer of the metric source."""

    def __init__(
        self, preset: Preset, find: PodFinder, cards: CardLookup, resource: Resource, stretch: Stretch
    ) -> None:
        self._preset = preset
        self._find = find
        self._cards = cards
        self._resource = resource
        self._stretch = stretch
        self._of_card = preset.measure(resource).of_card
        self._pods = _Pods()
        self._columns = _Columns()
        self._gpus: dict[PodGpu, int] = {}
        self._most: dict[str, float] = {}

    def take(self, series: Series) -> None:
        """Find out whose a series is, and what it can be at most."""
        gpu = self._preset.identify(series.labels)
        if gpu is None:
            self._columns.add(Outcome.NO_POD, _NOBODY, _NOBODY)
            return
        index = self._gpus.setdefault(gpu, len(self._gpus))
        pod = self._pod(gpu)
        if pod == _NOBODY:
            self._columns.add(Outcome.UNKNOWN_POD, _NOBODY, index)
            return
        node = self._pods.known[pod].pod.spec.node_name
        if self._preset.whole_cards and self._cards.is_shared(node):
            self._columns.add(Outcome.SHARED, pod, index)
            return
        factor = self._cards.whole(self._preset, series.labels, node) if self._of_card else 1.0
        if factor is None:
            self._columns.add(Outcome.UNKNOWN_CARD, pod, index)
            return
        most = min(self._most_of(node), _MOST_OF_CARD * factor) if self._of_card else self._most_of(node)
        self._columns.add(Outcome.ACCEPTED, pod, index, factor, most)

    def samples(self, series: Sequence[Series], outcomes: Counter[Outcome]) -> Samples:
        """Judge every sample, and keep those of the fullest GPUs."""
        lengths = [len(one.values) for one in series]
        rows = np.repeat(np.arange(len(series)), lengths)
        times, values = _flat([one.times for one in series]), _flat([one.values for one in series])
        shared = self._shared(rows, times) if self._preset.whole_cards else np.zeros(len(rows), np.bool_)
        if self._stretch.wanted is not None:
            wanted = self._wanted(rows, times)
            rows, times, values, shared = rows[wanted], times[wanted], values[wanted], shared[wanted]
        values = values * np.array(self._columns.factor, np.float64)[rows]
        codes = self._judge(rows, times, values, shared)
        accepted = codes == _ACCEPTED
        kept, duplicates = self._fullest(rows[accepted], times[accepted], values[accepted])
        outcomes += _counted(codes)
        if duplicates:
            outcomes[Outcome.ACCEPTED] -= duplicates
            outcomes[Outcome.DUPLICATE] += duplicates
        return kept

    def _pod(self, gpu: PodGpu) -> int:
        """The index of a tracked pod, or -1 where there is none."""
        name = (gpu.namespace, gpu.pod)
        index = self._pods.index.get(name)
        if index is None:
            tracked = self._find(*name)
            index = self._pods.index[name] = _NOBODY if tracked is None else self._know(tracked)
        return index

    def _know(self, pod: TrackedPod) -> int:
        pods, wanted = self._pods, self._stretch.wanted
        after, up_to = (-math.inf, math.inf) if wanted is None else wanted.get(pod.workload, (0.0, 0.0))
        pods.known.append(pod)
        pods.created.append(pod.created)
        pods.ended.append(pod.ended)
        pods.after.append(after)
        pods.up_to.append(up_to)
        return len(pods.known) - 1

    def _most_of(self, node: str) -> float:
        most = self._most.get(node)
        if most is None:
            most = self._most[node] = most_plausible(self._resource, self._cards.largest(node))
        return most

    def _wanted(self, rows: IndexArray, times: FloatArray) -> _BoolArray:
        """Which samples are wanted at all; those of nobody's pods are."""
        pods = np.array(self._columns.pod, np.intp)[rows]
        # The last place is that of -1: nobody.
        after = np.array([*self._pods.after, -math.inf])[pods]
        up_to = np.array([*self._pods.up_to, math.inf])[pods]
        return (times > after) & (times <= up_to)

    def _shared(self, rows: IndexArray, times: FloatArray) -> _BoolArray:
        """Which samples are of a card that other pods, ours or not, have at the same time."""
        cards: dict[str, int] = {}
        names: dict[tuple[str, str], int] = {}
        card_of = [cards.setdefault(gpu.gpu, len(cards)) if gpu.gpu else _NOBODY for gpu in self._gpus]
        name_of = [names.setdefault((gpu.namespace, gpu.pod), len(names)) for gpu in self._gpus]
        gpus = np.array(self._columns.gpu, np.intp)[rows]
        card, name = np.array([*card_of, _NOBODY])[gpus], np.array([*name_of, _NOBODY])[gpus]
        known = np.flatnonzero(card != _NOBODY)
        order = known[np.lexsort((name[known], times[known], card[known]))]
        same = (np.diff(card[order]) == 0) & (np.diff(times[order]) == 0)
        groups = np.concatenate(([0], np.cumsum(~same))) if len(order) else order
        several = np.unique(groups[1:][same & (np.diff(name[order]) != 0)])
        shared = np.zeros(len(rows), np.bool_)
        shared[order[np.isin(groups, several)]] = True
        return shared

    def _judge(
        self, rows: IndexArray, times: FloatArray, values: FloatArray, shared: _BoolArray
    ) -> _CodeArray:
        """The outcome of each sample, as a code."""
        stretch, columns = self._stretch, self._columns
        step = stretch.step
        of_series = np.array(columns.outcome, np.int8)[rows]
        pods = np.array(columns.pod, np.intp)[rows]
        created = np.array([*self._pods.created, 0.0])[pods]
        ended = np.array([*self._pods.ended, 0.0])[pods]
        # A sample speaks of the step before its time: one that the pod's end lies in is still true.
        cases: list[tuple[_BoolArray, Outcome]] = [
            (times - step >= ended, Outcome.FINISHED_POD),
            (shared, Outcome.SHARED),
            (~np.isfinite(values), Outcome.NOT_FINITE),
            (values < 0, Outcome.NEGATIVE),
            (times > stretch.latest, Outcome.IN_FUTURE),
            (_outside(times, stretch), Outcome.STALE),
            (np.abs(times - np.rint(times / step) * step) > _ON_GRID, Outcome.OFF_GRID),
            (values > np.array(columns.most, np.float64)[rows], Outcome.IMPLAUSIBLE),
            (times <= created, Outcome.BEFORE_CREATION),
        ]
        judged = np.select(
            [case for case, _ in cases],
            [np.int8(_CODES[outcome]) for _, outcome in cases],
            default=np.int8(_ACCEPTED),
        )
        return np.where(of_series == _ACCEPTED, judged, of_series)

    def _fullest(self, rows: IndexArray, times: FloatArray, values: FloatArray) -> tuple[Samples, int]:
        """The fullest GPU of each pod at each time, and how many samples of one GPU came twice."""
        stretch = self._stretch
        span = max(1, stretch.until - stretch.begin)
        steps = np.rint(times / stretch.step).astype(np.int64) - stretch.begin - 1
        gpus = np.array(self._columns.gpu, np.int64)[rows] * span + steps
        duplicates = len(gpus) - len(np.unique(gpus))
        keys = np.array(self._columns.pod, np.int64)[rows] * span + steps
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        first = np.flatnonzero(np.diff(keys, prepend=-1))
        fullest = np.maximum.reduceat(values[order], first) if len(first) else values
        present, of = np.unique(keys[first] // span, return_inverse=True)
        return Samples(
            pods=tuple(self._pods.known[pod] for pod in present.tolist()),
            of=of.astype(np.intp),
            times=(keys[first] % span + stretch.begin + 1) * stretch.step,
            values=fullest,
        ), duplicates


def _outside(times: FloatArray, stretch: Stretch) -> _BoolArray:
    begin, until = stretch.begin * stretch.step, stretch.until * stretch.step
    return (times <= begin + _ON_GRID) | (times > until + _ON_GRID)


def _flat(parts: Sequence[Sequence[float]]) -> FloatArray:
    return np.fromiter(chain.from_iterable(parts), np.float64)


def _counted(codes: _CodeArray) -> Counter[Outcome]:
    counts = np.bincount(codes, minlength=len(_OUTCOMES)).tolist()
    return Counter({outcome: count for outcome, count in zip(_OUTCOMES, counts, strict=True) if count})
