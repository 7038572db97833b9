"""Sums over all workloads, for /metrics: what a large cluster looks at instead of each of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from recommender.figures.columns import Kind, index_of, per_unit
from recommender.figures.text_format import ABSENT, BoolArray, Family, IntArray, label_set, single_values
from vgpu.slices import Resource

_PREFIX: Final = "vgpu_workloads"

_KNOWN: Final = Family(f"{_PREFIX}_known", "gauge", "Workloads that have been judged")
_RECOMMENDED: Final = Family(
    f"{_PREFIX}_recommended", "gauge", "Workloads for which something is recommended, by usage or by a rule"
)
_WAITING: Final = Family(
    f"{_PREFIX}_waiting", "gauge", "Workloads with too few or too young samples for usage to have a say"
)
_RULED: Final = Family(f"{_PREFIX}_active_rule", "gauge", "Workloads of which a cron rule is active now")
_OUTSIDE: Final = Family(
    f"{_PREFIX}_outside_bounds",
    "gauge",
    "Workloads of which new pods request less than the lower or more than the upper bound of usage",
    ("resource", "side"),
)
_REQUESTS: Final = {
    Resource.TFLOPS: (
        Family(f"{_PREFIX}_request_tflops", "gauge", "Sum over workloads of their own request of TFLOPS"),
        Family(
            f"{_PREFIX}_recommended_request_tflops",
            "gauge",
            "The same sum with the recommended request of TFLOPS in place of the own where there is one",
        ),
    ),
    Resource.VRAM: (
        Family(f"{_PREFIX}_request_vram_bytes", "gauge", "Sum over workloads of their own request of VRAM"),
        Family(
            f"{_PREFIX}_recommended_request_vram_bytes",
            "gauge",
            "The same sum with the recommended request of VRAM in place of the own where there is one",
        ),
    ),
}

TOTALS: Final = (
    _KNOWN,
    _RECOMMENDED,
    _WAITING,
    _RULED,
    _OUTSIDE,
    *(family for pair in _REQUESTS.values() for family in pair),
)
"""All families of this module."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The figures of n workloads at one time.

    Attributes:
        label_sets: the labels of each workload, as they stand in a line.
        rules: the labels of each active cron rule, likewise; as many as there are.
        values: shape (columns, n), in the order and the units of `figure_columns.COLUMNS`.
        waiting: shape (n,), whether there are too few samples yet.
    """

    label_sets: list[str]
    rules: list[str]
    values: IntArray
    waiting: BoolArray

    def of(self, kind: Kind, resource: Resource) -> IntArray:
        """One amount of all workloads, shape (n,), `ABSENT` where there is none."""
        amounts: IntArray = self.values[index_of(kind, resource)]
        return amounts


def totals(picture: Picture) -> Iterator[bytes]:
    """The sums, as text for Prometheus."""
    counted = (
        (_KNOWN, len(picture.label_sets)),
        (_RECOMMENDED, _recommended(picture)),
        (_WAITING, int(picture.waiting.sum())),
        (_RULED, len(picture.rules)),
    )
    for family, count in counted:
        yield single_values(family, [(label_set({}), count)])
    yield single_values(_OUTSIDE, [each for resource in Resource for each in _outside(picture, resource)])
    for resource, (own, recommended) in _REQUESTS.items():
        requests = picture.of(Kind.REQUEST, resource)
        for family, amounts in ((own, requests), (recommended, _of_new_pods(picture, resource))):
            yield single_values(family, [(label_set({}), _sum(amounts) / per_unit(resource))])


def _recommended(picture: Picture) -> int:
    amounts = [picture.of(Kind.RECOMMENDED_REQUEST, resource) for resource in Resource]
    return int((np.max(amounts, axis=0) != ABSENT).sum())


def _of_new_pods(picture: Picture, resource: Resource) -> IntArray:
    recommended = picture.of(Kind.RECOMMENDED_REQUEST, resource)
    return np.where(recommended != ABSENT, recommended, picture.of(Kind.REQUEST, resource))


def _outside(picture: Picture, resource: Resource) -> Iterator[tuple[str, int]]:
    request = _of_new_pods(picture, resource)
    lower, upper = (picture.of(kind, resource) for kind in (Kind.LOWER_BOUND, Kind.UPPER_BOUND))
    known = (request != ABSENT) & (lower != ABSENT) & (upper != ABSENT)
    for side, outside in (("below", request < lower), ("above", request > upper)):
        yield label_set({"resource": resource.value, "side": side}), int((known & outside).sum())


def _sum(amounts: IntArray) -> float:
    # As floats: the sum of many amounts that are as large as can be is more than an integer of 64 bits.
    return float(amounts[amounts != ABSENT].sum(dtype=np.float64))
