"""The guard in its loop: what is recommended becomes the next pods' limit, and that what they take."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from typing import Final

import numpy as np
import pytest

from recommender.bank import buckets
from recommender.bank.histograms import HistogramBank
from recommender.bank.peaks import PeakWindows
from recommender.cluster.pods import TrackedPod
from recommender.histories.estimators import confidence, estimate_rows
from recommender.histories.limit_peaks import LimitPeaks
from recommender.histories.preallocation import all_hold
from tests.support.using import GIB, tracked
from vgpu.slices import Resource

HOUR, DAY = 3600.0, 86_400.0
STEP: Final = 900.0
OWN: Final = 16.0 * GIB
LOADED: Final = 120.0

Use = Callable[["Living", float], float]
"""What a pod takes at a time, in bytes."""


@dataclass(frozen=True)
class Living:
    tracked: TrackedPod
    limit: float
    ends: float
    task: float

    @property
    def since(self) -> float:
        return self.tracked.created


@dataclass
class Case:
    """A workload of three pods, each of some hours; `limit` is what new ones get."""

    use: Use
    limit: float = OWN
    pods: list[Living] = field(default_factory=list)
    turns: list[bool] = field(default_factory=list)
    lowest: float = OWN

    def note(self, *, held: bool, target: float, bounds: tuple[float, float]) -> None:
        if held != (bool(self.turns) and self.turns[-1]):
            self.turns.append(held)
        if held:
            self.limit = OWN
        elif not bounds[0] <= self.limit <= bounds[1]:
            self.limit = min(max(target, GIB), 5 * OWN)
        self.lowest = min(self.lowest, self.limit)


class Loop:
    """The recommender's parts about VRAM, all cases in one."""

    def __init__(self, uses: list[Use]) -> None:
        self.cases = [Case(use) for use in uses]
        self.random = random.Random(7)
        self.made = 0
        self.limits: dict[str, float] = {}
        self.limit_peaks = LimitPeaks(limit_of=lambda pod: self.limits[pod.uid])
        self.bank = HistogramBank(buckets.VRAM, half_life=DAY, reference=0.0)
        self.windows = PeakWindows(self.bank)
        self.rows = [self.bank.add_row() for _ in uses]

    def run(self, hours: float) -> None:
        for step in range(1, int(hours * HOUR / STEP)):
            self.observe(step * STEP)
            self.decide(step)

    def observe(self, now: float) -> None:
        for case in self.cases:
            self.renew(case, now)
        pods = [
            (row, case, pod) for row, case in zip(self.rows, self.cases, strict=True) for pod in case.pods
        ]
        rows = np.array([row for row, _, _ in pods])
        values = np.array([case.use(pod, now) for _, case, pod in pods])
        times = np.full(len(pods), now)
        self.bank.move_reference(now)
        found = [pod.tracked for _, _, pod in pods]
        self.limit_peaks.observe(found, rows, np.arange(len(pods)), times, values)
        self.windows.observe_many([pod.uid for pod in found], rows, times, values)

    def renew(self, case: Case, now: float) -> None:
        for pod in [pod for pod in case.pods if pod.ends < now]:
            case.pods.remove(pod)
            self.limit_peaks.forget_pod(pod.tracked.uid)
            self.windows.forget(pod.tracked.uid)
        while len(case.pods) < 3:
            self.made += 1
            made = tracked(pod=str(self.made), created=now - STEP / 2)
            self.limits[made.uid] = case.limit
            life = self.random.uniform(2, 6) * HOUR
            case.pods.append(Living(made, case.limit, now + life, self.random.random()))

    def decide(self, step: int) -> None:
        count = len(self.rows)
        sure = confidence(
            np.zeros(count), np.full(count, step * STEP), np.full(count, 15 * step), np.full(count, DAY)
        )
        fractions = np.tile([0.9, 0.5, 0.95], (count, 1))
        rows = np.array(self.rows)
        found = estimate_rows(self.bank, rows, fractions, np.full(count, 0.15), sure, Resource.VRAM)
        held = all_hold(self.limit_peaks.table(rows))
        for index, case in enumerate(self.cases):
            bounds = (float(found.lower[index]), float(found.upper[index]))
            case.note(held=bool(held[index]), target=float(found.target[index]), bounds=bounds)


def fixed(share: float, constant: float) -> Use:
    """What a framework takes when it has started."""

    def use(pod: Living, now: float) -> float:
        started = now - pod.since >= LOADED
        return min(share * pod.limit + constant, 5 * OWN) if started else 0.1 * pod.limit

    return use


def test_a_framework_ends_at_the_users_slice_whatever_its_share_and_its_constant_part() -> None:
    loop = Loop([fixed(*each) for each in product((0.3, 0.5, 0.9, 0.95), (0, 1.0 * GIB, 1.5 * GIB))])
    loop.run(hours=100)
    assert [case.limit for case in loop.cases] == [OWN] * 12
    # Found out once, and for good.
    assert [case.turns for case in loop.cases] == [[True]] * 12
    # One cut at most: the second limit gives it away.
    assert min(case.lowest for case in loop.cases) > 0.3 * OWN


@pytest.mark.parametrize(
    "use",
    [
        lambda pod, _: min(pod.limit, (6 + 2 * pod.task) * GIB),
        lambda pod, _: min(pod.limit, (3 + 10 * pod.task) * GIB),
        lambda pod, now: min(pod.limit, (3 + 10 * pod.task) * GIB * min(1, 0.5 + (now - pod.since) / 20_000)),
        lambda pod, _: min(pod.limit, (0.5 + pod.task) * GIB),
    ],
    ids=["alike", "unlike", "rising", "small"],
)
def test_ordinary_use_is_never_taken_for_it(use: Use) -> None:
    loop = Loop([use] * 12)
    loop.run(hours=48)
    assert [case.turns for case in loop.cases] == [[]] * 12
