"""Samples of usage, put together by pod; what cannot be true is left out and counted."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from recommender.pods import TrackedPod
from vgpu.capacity import plausible
from vgpu.prometheus import Series
from vgpu.slices import Amounts, Resource
from vgpu.usage_sources import Preset

PodFinder = Callable[[str, str], TrackedPod | None]


class Outcome(StrEnum):
    """What became of a sample."""

    ACCEPTED = "accepted"
    NOT_FINITE = "not_finite"
    NEGATIVE = "negative"
    IMPLAUSIBLE = "implausible"
    IN_FUTURE = "in_future"
    NO_POD = "no_pod"
    UNKNOWN_POD = "unknown_pod"
    BEFORE_CREATION = "before_creation"


Judgement = Callable[[TrackedPod, float, float], Outcome]
"""What to make of a pod's sample, taken at a time, of a value."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a sample can be at most, if it is true.

    Attributes:
        latest: the last time, in seconds since the epoch.
        largest: what the largest card gives.
    """

    latest: float
    largest: Amounts


@dataclass(frozen=True, slots=True)
class PodUsage:
    """One pod's use of one resource: at each time the fullest of its GPUs, in TFLOPS or bytes."""

    pod: TrackedPod
    times: tuple[float, ...]
    values: tuple[float, ...]


def by_pod(
    series: Iterable[Series], preset: Preset, find: PodFinder, judge: Judgement, outcomes: Counter[Outcome]
) -> tuple[PodUsage, ...]:
    """Put series together by pod, leaving out what cannot be true.

    Args:
        series: one for each GPU of a pod.
        preset: knows which labels name the pod.
        find: the tracked pod of a namespace and name.
        judge: what to make of a pod's sample.
        outcomes: counts every sample by what became of it.
    """
    pods: dict[str, TrackedPod] = {}
    samples: dict[str, dict[float, float]] = {}
    for one in series:
        pod = _pod_of(one, preset, find, outcomes)
        if pod is not None:
            pods[pod.uid] = pod
            _take(one, partial(judge, pod), samples.setdefault(pod.uid, {}), outcomes)
    return tuple(
        PodUsage(pods[uid], tuple(taken), tuple(taken.values())) for uid, taken in samples.items() if taken
    )


def _pod_of(series: Series, preset: Preset, find: PodFinder, outcomes: Counter[Outcome]) -> TrackedPod | None:
    identity = preset.identify(series.labels)
    if identity is None:
        outcomes[Outcome.NO_POD] += len(series.values)
        return None
    pod = find(identity.namespace, identity.pod)
    if pod is None:
        outcomes[Outcome.UNKNOWN_POD] += len(series.values)
    return pod


def _take(
    series: Series,
    judge: Callable[[float, float], Outcome],
    taken: dict[float, float],
    outcomes: Counter[Outcome],
) -> None:
    for time, value in zip(series.times, series.values, strict=True):
        outcome = judge(time, value)
        outcomes[outcome] += 1
        if outcome is Outcome.ACCEPTED:
            taken[time] = max(value, taken.get(time, value))


def judge_sample(
    pod: TrackedPod, time: float, value: float, *, resource: Resource, bounds: Bounds
) -> Outcome:
    """What becomes of a sample.

    Args:
        pod: whose it is.
        time: when, in seconds since the epoch.
        value: in TFLOPS or bytes.
        resource: what was measured.
        bounds: what it can be at most.
    """
    if not math.isfinite(value):
        return Outcome.NOT_FINITE
    if value < 0:
        return Outcome.NEGATIVE
    if not plausible(resource, value, bounds.largest):
        return Outcome.IMPLAUSIBLE
    if time > bounds.latest:
        return Outcome.IN_FUTURE
    return Outcome.ACCEPTED if time > pod.created else Outcome.BEFORE_CREATION
