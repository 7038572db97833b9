"""The recommender's passes over recorded usage, on the clock of the samples.

A pass is made at every whole multiple of the interval, counted from the epoch as in a cluster, and whenever a
cron rule begins or ends. It does what the engine does: feed, estimate, decide; and what it decides is what
the next one starts from, as if it had been read from the workload's status.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from recommender.histories.estimators import Estimate
from recommender.simulation.course import Course
from recommender.simulation.errors import TooLong
from recommender.simulation.evidence import Seen, Witness
from recommender.simulation.measurements import Measurements
from recommender.simulation.times import shown_time
from recommender.simulation.trial import Trial
from recommender.simulation.workload import SimulatedWorkload
from vgpu.slices import Resource, VgpuSlice

MOST_STEPS: Final = 1_000_000
"""A pass takes some tenths of a millisecond: more of them nobody would wait for."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How time goes by, and how it is forgotten; all in seconds.

    Attributes:
        interval: between two passes.
        half_life: in which a sample loses half of its weight.
        peak_window: in which a pod's VRAM counts by its peak only.
    """

    interval: float
    half_life: float
    peak_window: float


@dataclass(frozen=True, slots=True)
class Step:
    """What one pass came to.

    Attributes:
        time: when, in seconds since the epoch.
        estimates: of the resources that have samples.
        samples: how many samples of each resource have been taken so far.
        recommendation: the slice for new pods, which may be the user's own; None when it is too early to say.
        rule: name of the active cron rule.
        messages: those of the condition, if recommendation or rule changed in this pass.
        waiting: why it is too early for usage to have a say, or None.
    """

    time: float
    estimates: Mapping[Resource, Estimate]
    samples: Mapping[Resource, int]
    recommendation: VgpuSlice | None
    rule: str | None
    messages: tuple[str, ...]
    waiting: str | None = None


class Replay:
    """Passes over measurements, one after the other; to be gone through once.

    Args:
        trial: what is tried.
        measurements: the usage; at least one sample.
        pace: how time goes by.

    Raises:
        TooLong: the interval is too short for the time that the samples span.
    """

    def __init__(self, *, trial: Trial, measurements: Measurements, pace: Pace) -> None:
        begin, end = (_whole_steps(time, pace.interval) for time in (measurements.first, measurements.last))
        if end - begin >= MOST_STEPS:
            raise TooLong(
                end - begin + 1,
                first=shown_time(measurements.first),
                last=shown_time(measurements.last),
                most=MOST_STEPS,
            )
        self._times = np.arange(begin, end + 1, dtype=np.float64) * np.float64(pace.interval)
        self._witness = Witness(
            trial.spec.auto_scaling_config.auto_set_resources,
            measurements,
            self._times,
            half_life=pace.half_life,
            peak_window=pace.peak_window,
        )
        self._workload = SimulatedWorkload(trial)
        self.course = Course()

    def __len__(self) -> int:
        """How many passes there are, but for those that are made for a rule between two of them."""
        return len(self._times)

    def __iter__(self) -> Iterator[Step]:
        """Make the passes."""
        before: Seen | None = None
        for until, seen in zip(self._times.tolist(), self._witness, strict=True):
            while before is not None and (between := self._workload.next_transition()) < until:
                yield self._pass(before, between)
            yield self._pass(seen, until)
            before = seen

    def _pass(self, seen: Seen, now: float) -> Step:
        before = self._workload.published.recommendation
        waiting = self._workload.waiting_for(seen.evidence, now)
        configuration, decision = self._workload.decide(seen.evidence, now, waiting)
        after = self._workload.published
        self.course.changes += after.recommendation != before
        self.course.problems |= dict.fromkeys((*configuration.problems, *decision.warnings))
        self.course.note(now, decision.recommendation)
        return Step(
            time=now,
            estimates=seen.evidence.estimates,
            samples=seen.samples,
            recommendation=decision.recommendation,
            rule=after.rule,
            messages=(decision.message,) if decision.changed else (),
            waiting=waiting,
        )


def _whole_steps(time: float, interval: float) -> int:
    """The first multiple of the interval that is not before a time."""
    index = math.ceil(time / interval)
    return index if index * interval >= time else index + 1
