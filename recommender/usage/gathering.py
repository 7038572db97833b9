"""From the metric source's series to samples by pod; what cannot be true is left out and counted.

A loop over the series finds out whose they are; all samples are then judged together, in arrays.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final

import numpy as np
import numpy.typing as npt

from recommender.bank.buckets import FloatArray, IndexArray
from recommender.cluster.pods import TrackedPod
from recommender.usage.belonging import BoolArray, hand_back, shared_cards
from recommender.usage.samples import FormerPods, Outcome, PodFinder, Samples, Stretch
from vgpu.capacity import most_plausible
from vgpu.prometheus import Series
from vgpu.slices import Resource
from vgpu.usage_sources import CardLookup, MeasuredPods, PodGpu, Preset, UnknownCards

_CodeArray = npt.NDArray[np.int8]

_OUTCOMES: Final = tuple(Outcome)
_CODES: Final = {outcome: code for code, outcome in enumerate(_OUTCOMES)}
_ACCEPTED: Final = _CODES[Outcome.ACCEPTED]
_NO_POD: Final = _CODES[Outcome.NO_POD]
_UNKNOWN_POD: Final = _CODES[Outcome.UNKNOWN_POD]
_NOBODY: Final = -1
# Prometheus keeps milliseconds, and rounds.
_ON_GRID: Final = 0.0011
# Counters are read at slightly other times than the clock that they are divided by.
_MOST_OF_CARD: Final = 1.05


# What is known of a series:
_SERIES: Final = np.dtype(
    [
        ("outcome", np.int8),  # of all of its samples; ACCEPTED where each is judged for itself
        ("pod", np.intp),  # index of the tracked pod, -1 where there is none
        ("gpu", np.intp),  # index of the pod's GPU, -1 where no pod is named
        ("factor", np.float64),  # what its values are multiplied by, to be TFLOPS or bytes
        ("most", np.float64),  # the largest product that can be true
    ]
)
_Row = tuple[int, int, int, float, float]
_Limit = tuple[int, float, float]
"""The outcome, factor and most of a series."""
_Table = npt.NDArray[np.void]


class Gatherer:
    """Makes samples of series.

    Args:
        preset: knows which labels name pod and card.
        find: the tracked pod of a namespace and name.
        cards: what is known of the nodes' cards.
        former: who had a pod's name before it: a sample is of the one who had it then. None for nobody.
    """

    def __init__(
        self, *, preset: Preset, find: PodFinder, cards: CardLookup, former: FormerPods | None = None
    ) -> None:
        self.preset = preset
        self.find = find
        self.former: FormerPods = former or (lambda _: ())
        self.cards = cards
        self.unknown = UnknownCards(cards, preset)
        self.measured = MeasuredPods[str]()

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
        gathering = _Gathering(self, resource, stretch)
        for one in series:
            gathering.take(one)
        return gathering.samples(series, outcomes)


class _Gathering:
    """One answer of the metric source."""

    def __init__(self, gatherer: Gatherer, resource: Resource, stretch: Stretch) -> None:
        self._preset = gatherer.preset
        self._find = gatherer.find
        self._former = gatherer.former
        self._cards = gatherer.cards
        self._unknown = gatherer.unknown
        self._measured = gatherer.measured
        self._resource = resource
        self._stretch = stretch
        self._measure = self._preset.measure(resource)
        self._of_card = self._measure.of_card
        self._card_labels = self._preset.card_labels if self._of_card else ()
        self._rows: list[_Row] = []
        self._pods: list[TrackedPod] = []
        self._pod_of: dict[str, int] = {}
        # By the index of a pod: who had its name before it. Of series of such pods: the row, and the labels.
        self._predecessors: dict[int, Sequence[TrackedPod]] = {}
        self._handed_on: list[tuple[int, Mapping[str, str]]] = []
        self._successors: set[int] = set()
        self._gpus: dict[PodGpu, int] = {}
        self._limits: dict[tuple[str | None, ...], _Limit] = {}

    def take(self, series: Series) -> None:
        """Find out whose a series is, and what it can be at most."""
        gpu = self._preset.identify(series.labels)
        if gpu is None:
            self._rows.append((_NO_POD, _NOBODY, _NOBODY, 1.0, 0.0))
            return
        index = self._gpus.setdefault(gpu, len(self._gpus))
        tracked = self._find(gpu.namespace, gpu.pod)
        if tracked is None:
            self._rows.append((_UNKNOWN_POD, _NOBODY, index, 1.0, 0.0))
            return
        # By UID: another thread may put a newer version of a pod in the place of the one found before.
        pod = self._pod_of.setdefault(tracked.pod.metadata.uid, len(self._pods))
        if pod == len(self._pods):
            self._pods.append(tracked)
            if predecessors := self._former(tracked):
                self._predecessors[pod] = predecessors
        if pod in self._predecessors:
            self._handed_on.append((len(self._rows), series.labels))
        code, factor, most = self._limit(series.labels, tracked.pod.spec.node_name)
        self._rows.append((code, pod, index, factor, most))

    def samples(self, series: Sequence[Series], outcomes: Counter[Outcome]) -> Samples:
        """Judge every sample, and keep those of the fullest GPUs."""
        before = self._rows_of_predecessors()
        table = np.array(self._rows, _SERIES)
        lengths = [len(one.values) for one in series]
        rows = np.repeat(np.arange(len(series)), lengths)
        times, values = _flat([one.times for one in series]), _flat([one.values for one in series])
        shared = (
            shared_cards(list(self._gpus), table["gpu"][rows], times)
            if self._preset.whole_cards
            else np.zeros(len(rows), np.bool_)
        )
        if before:
            created = np.array([pod.created for pod in self._pods])[table["pod"]]
            rows = hand_back(rows, times, before=before, since=created + _ON_GRID)
        if self._stretch.wanted is not None:
            wanted = self._wanted(table["pod"][rows], times)
            rows, times, values, shared = rows[wanted], times[wanted], values[wanted], shared[wanted]
        values = values * table["factor"][rows]
        codes = self._judge(table, rows, times, values, shared)
        if self._measure.zero_is_unknown:
            self._drop_unmeasured(codes, table["pod"][rows], values)
        accepted = codes == _ACCEPTED
        kept, duplicates = self._fullest(table[rows[accepted]], times[accepted], values[accepted])
        outcomes += _counted(codes)
        if duplicates:
            outcomes[Outcome.ACCEPTED] -= duplicates
            outcomes[Outcome.DUPLICATE] += duplicates
        return kept

    def _rows_of_predecessors(self) -> dict[int, int]:
        """Add a row for each who had the name of a series' pod before; of a row, which one is before it."""
        before: dict[int, int] = {}
        for series, labels in self._handed_on:
            row, (_, pod, gpu, _, _) = series, self._rows[series]
            for former in self._predecessors[pod]:
                self._successors.add(pod)
                pod = self._pod_of.setdefault(former.uid, len(self._pods))
                if pod == len(self._pods):
                    self._pods.append(former)
                code, factor, most = self._limit(labels, former.pod.spec.node_name)
                before[row] = len(self._rows)
                row = len(self._rows)
                self._rows.append((code, pod, gpu, factor, most))
        return before

    def _limit(self, labels: Mapping[str, str], node: str) -> _Limit:
        """What becomes of a series on a node, its factor, and the most that it can be."""
        what: tuple[str | None, ...] = (node, *map(labels.get, self._card_labels))
        limit = self._limits.get(what)
        if limit is None:
            limit = self._limits[what] = self._work_out_limit(labels, node)
        return limit

    def _work_out_limit(self, labels: Mapping[str, str], node: str) -> _Limit:
        if self._preset.whole_cards and self._cards.is_shared(node):
            return _CODES[Outcome.SHARED], 1.0, 0.0
        most = most_plausible(self._resource, self._cards.largest(node))
        if not self._of_card:
            return _ACCEPTED, 1.0, most
        whole = self._cards.whole(self._preset, labels, node)
        if whole is None:
            self._unknown.tell(labels, node)
            return _CODES[Outcome.UNKNOWN_CARD], 1.0, 0.0
        return _ACCEPTED, whole, min(most, _MOST_OF_CARD * whole)

    def _wanted(self, pods: IndexArray, times: FloatArray) -> BoolArray:
        """Which samples are wanted at all; those of nobody's pods are."""
        wanted = self._stretch.wanted or {}
        bounds = [wanted.get(pod.workload, (math.inf, math.inf)) for pod in self._pods]
        # The last place is that of -1: nobody.
        after, up_to = np.array([*bounds, (-math.inf, math.inf)], np.float64)[pods].T
        wanted_ones: BoolArray = (times > after) & (times <= up_to)
        return wanted_ones

    def _judge(
        self, table: _Table, rows: IndexArray, times: FloatArray, values: FloatArray, shared: BoolArray
    ) -> _CodeArray:
        """The outcome of each sample, as a code."""
        stretch = self._stretch
        step = stretch.step
        of_series, pods = table["outcome"][rows], table["pod"][rows]
        # The last place is that of -1: nobody.
        created = np.array([*(pod.created for pod in self._pods), 0.0])[pods]
        reused = np.array([*(pod.reused for pod in self._pods), False], np.bool_)
        reused[list(self._successors)] = True
        reused = reused[pods]
        ended = np.array([*(pod.ended for pod in self._pods), 0.0])[pods]
        # A sample speaks of the step before its time: one that the pod's end lies in is still true.
        cases: list[tuple[BoolArray, Outcome]] = [
            (times - step >= ended, Outcome.FINISHED_POD),
            (shared, Outcome.SHARED),
            (~np.isfinite(values), Outcome.NOT_FINITE),
            (values < 0, Outcome.NEGATIVE),
            (times > stretch.latest, Outcome.IN_FUTURE),
            (_outside(times, stretch), Outcome.STALE),
            (np.abs(times - np.rint(times / step) * step) > _ON_GRID, Outcome.OFF_GRID),
            (values > table["most"][rows], Outcome.IMPLAUSIBLE),
            # The step of its creation is partly that of an earlier pod, where there was one of that name.
            (np.where(reused, times - step < created, times <= created), Outcome.BEFORE_CREATION),
        ]
        judged = np.select(
            [case for case, _ in cases],
            [np.int8(_CODES[outcome]) for _, outcome in cases],
            default=np.int8(_ACCEPTED),
        )
        return np.where(of_series == _ACCEPTED, judged, of_series)

    def _drop_unmeasured(self, codes: _CodeArray, pods: IndexArray, values: FloatArray) -> None:
        """Take back the zeros of pods that have never shown more; changes the codes."""
        accepted = codes == _ACCEPTED
        busy = np.unique(pods[accepted & (values > 0)]).tolist()
        self._measured.add(self._pods[pod].uid for pod in busy)
        # The last place is that of -1: nobody.
        measured = np.array([*(pod.uid in self._measured for pod in self._pods), True], np.bool_)
        codes[accepted & (values == 0) & ~measured[pods]] = _CODES[Outcome.UNMEASURED]

    def _fullest(self, table: _Table, times: FloatArray, values: FloatArray) -> tuple[Samples, int]:
        """The fullest GPU of each pod at each time, and how many samples of one GPU came twice."""
        stretch = self._stretch
        span = max(1, stretch.until - stretch.begin)
        steps = np.rint(times / stretch.step).astype(np.int64) - stretch.begin - 1
        # Stable sorts are fast here: series come one after the other, each in the order of time.
        gpus = np.sort(table["gpu"] * span + steps, kind="stable")
        keys = table["pod"] * span + steps
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        first = np.flatnonzero(np.diff(keys, prepend=-1))
        keys = keys[first]
        fullest = np.maximum.reduceat(values[order], first) if len(first) else values
        of_pod = np.flatnonzero(np.diff(keys // span, prepend=-1))
        return Samples(
            pods=tuple(self._pods[pod] for pod in (keys[of_pod] // span).tolist()),
            of=np.repeat(np.arange(len(of_pod)), np.diff(of_pod, append=len(keys))),
            times=(keys % span + stretch.begin + 1).astype(np.float64) * stretch.step,
            values=fullest,
        ), int(np.count_nonzero(np.diff(gpus) == 0))


def _outside(times: FloatArray, stretch: Stretch) -> BoolArray:
    begin, until = stretch.begin * stretch.step, stretch.until * stretch.step
    return (times <= begin + _ON_GRID) | (times > until + _ON_GRID)


def _flat(parts: Sequence[Sequence[float]]) -> FloatArray:
    return np.fromiter(chain.from_iterable(parts), np.float64)


def _counted(codes: _CodeArray) -> Counter[Outcome]:
    counts = np.bincount(codes, minlength=len(_OUTCOMES)).tolist()
    return Counter({outcome: count for outcome, count in zip(_OUTCOMES, counts, strict=True) if count})
