"""What /metrics shows of workloads: arrays with a place for each, so that 100,000 of them cost little.

Amounts are kept in whole milli-TFLOPS and bytes, as everywhere inside, and shown in TFLOPS and bytes.
"""

import threading
from collections.abc import Iterable, Iterator
from itertools import compress
from typing import Final

import numpy as np

from recommender.figures.columns import (
    COLUMNS,
    CONFIDENCE,
    ESTIMATED,
    REPORTED,
    RULE,
    SAMPLES,
    Kind,
    index_of,
)
from recommender.figures.text_format import ABSENT, BoolArray, Family, IntArray, column, label_set, ones
from recommender.figures.totals import TOTALS, Picture, totals
from recommender.histories.estimation import Estimation
from recommender.keys import WorkloadKey
from vgpu.quantities import INT64_MAX
from vgpu.slices import Resource, VgpuSlice

_FIRST_PLACES: Final = 64
_NOTHING: Final = VgpuSlice()

_ESTIMATED_KINDS: Final = (Kind.TARGET, Kind.LOWER_BOUND, Kind.UPPER_BOUND)


class WorkloadFigures:
    """The figures of all workloads that have been reported.

    May be used by several threads: a scrape is answered while a pass goes on.

    Args:
        each: whether there is a series of each workload, or only sums over all.
    """

    def __init__(self, *, each: bool = True) -> None:
        self._each = each
        self._lock = threading.Lock()
        self._begin()

    def __len__(self) -> int:
        """How many workloads have been reported, and not forgotten."""
        return int(np.count_nonzero(self._reported))

    @staticmethod
    def families() -> tuple[Family, ...]:
        """Every metric that there can be."""
        return (*TOTALS, *(each.family for each in COLUMNS), RULE)

    def show(
        self,
        key: WorkloadKey,
        *,
        own: VgpuSlice,
        recommendation: VgpuSlice | None,
        rule: str | None,
        applied: int,
        waiting: bool = False,
    ) -> None:
        """Show what was decided about a workload.

        Args:
            key: the workload.
            own: its own slice; what it does not give is not shown.
            recommendation: what is recommended now, or None.
            rule: name of the active cron rule, or None.
            applied: running pods that have what is recommended.
            waiting: whether there are too few samples for usage to have a say.
        """
        figures = (*_amounts(own), *_amounts(recommendation or _NOTHING), applied)
        with self._lock:
            place = self._place(key)
            self._values[REPORTED, place] = figures
            self._waiting[place] = waiting
            self._reported[place] = True
            self._unreported.discard(key)
            self._rule(place, key, rule)

    def estimated(self, estimation: Estimation) -> None:
        """Show what usage says of workloads, once each of them has been reported; the others stay.

        What it says of workloads that have not been reported waits for that until the next estimation.
        """
        with self._lock:
            for key in self._unreported.difference(estimation.keys):
                self._free(key)
            places = [self._place(key) for key in estimation.keys]
            for resource in Resource:
                amounts = (estimation.target, estimation.lower, estimation.upper)
                for kind, values in zip(_ESTIMATED_KINDS, amounts, strict=True):
                    shown = np.where(estimation.empty[resource], ABSENT, values[resource])
                    self._values[index_of(kind, resource), places] = shown
            self._values[CONFIDENCE, places] = np.rint(estimation.confidence * COLUMNS[CONFIDENCE].unit)
            self._values[SAMPLES, places] = estimation.samples

    def forget_estimates(self, keys: Iterable[WorkloadKey]) -> None:
        """Show nothing any more of what usage says of workloads: their histories are gone."""
        with self._lock:
            for key in keys:
                place = self._places.get(key)
                if place is None:
                    continue
                self._values[ESTIMATED, place] = ABSENT

    def forget(self, key: WorkloadKey) -> None:
        """Show nothing any more of a workload that is no more."""
        with self._lock:
            if key in self._places:
                self._free(key)

    def clear(self) -> None:
        """Show nothing any more: another replica does."""
        with self._lock:
            self._begin()

    def exposition(self) -> Iterator[bytes]:
        """Everything as text for Prometheus, of one moment: that of the first chunk.

        Chunks have up to a megabyte and take a few milliseconds each.
        """
        picture = self._picture()
        yield from totals(picture)
        if not self._each:
            return
        for each, values in zip(COLUMNS, picture.values, strict=True):
            yield from column(each.family, picture.label_sets, values, each.unit)
        yield from ones(RULE, picture.rules)

    def _begin(self) -> None:
        self._places: dict[WorkloadKey, int] = {}
        self._unreported: set[WorkloadKey] = set()
        self._free_places: list[int] = []
        self._label_sets: list[str] = []
        self._rules: dict[int, str] = {}
        self._values: IntArray = np.full((len(COLUMNS), _FIRST_PLACES), ABSENT, np.int64)
        self._waiting: BoolArray = np.zeros(_FIRST_PLACES, np.bool_)
        self._reported: BoolArray = np.zeros(_FIRST_PLACES, np.bool_)

    def _picture(self) -> Picture:
        with self._lock:
            reported = self._reported[: len(self._label_sets)]
            places = np.flatnonzero(reported)
            return Picture(
                label_sets=list(compress(self._label_sets, reported.tolist())),
                rules=list(self._rules.values()),
                values=self._values[:, places],
                waiting=self._waiting[places],
            )

    def _place(self, key: WorkloadKey) -> int:
        place = self._places.get(key)
        if place is not None:
            return place
        labels = label_set({"namespace": key.namespace, "workload": key.name})
        if self._free_places:
            place = self._free_places.pop()
            self._label_sets[place] = labels
        else:
            place = len(self._label_sets)
            self._label_sets.append(labels)
            self._grow()
        self._places[key] = place
        self._unreported.add(key)
        return place

    def _grow(self) -> None:
        """Make room for as many again as there are, when there is no more."""
        room = len(self._reported)
        if len(self._label_sets) <= room:
            return
        self._values = np.pad(self._values, ((0, 0), (0, room)), constant_values=ABSENT)
        self._waiting = np.pad(self._waiting, (0, room))
        self._reported = np.pad(self._reported, (0, room))

    def _free(self, key: WorkloadKey) -> None:
        place = self._places.pop(key)
        self._unreported.discard(key)
        self._values[:, place] = ABSENT
        self._waiting[place] = self._reported[place] = False
        self._label_sets[place] = ""
        self._rules.pop(place, None)
        self._free_places.append(place)

    def _rule(self, place: int, key: WorkloadKey, rule: str | None) -> None:
        if rule is None:
            self._rules.pop(place, None)
        else:
            self._rules[place] = label_set({"namespace": key.namespace, "workload": key.name, "rule": rule})


def _amounts(slice_: VgpuSlice) -> tuple[int, int, int, int]:
    """Requests, then limits, of each resource in the order of `Resource`."""
    requests, limits = slice_.requests, slice_.limits
    return (
        _amount(requests.tflops),
        _amount(requests.vram),
        _amount(limits.tflops),
        _amount(limits.vram),
    )


def _amount(value: int | None) -> int:
    return ABSENT if value is None else min(value, INT64_MAX)
