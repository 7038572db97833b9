"""What a workload's samples have said at each pass, by the recommender's own histories.

The histories feed and estimate fifty workloads in hardly more time than one. So a stretch of passes is made
into as many workloads, of which each is fed up to a pass of its own; then all are estimated at once, and fed
what is left of the stretch. From there on they are alike again, and the next stretch begins.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from recommender.bank.buckets import FloatArray, IndexArray
from recommender.histories.estimation import NO_EVIDENCE, Evidence
from recommender.histories.histories import Histories
from recommender.keys import WorkloadKey
from recommender.simulation.measurements import Measured, Measurements
from recommender.simulation.pods import SimulatedPods
from recommender.usage.reading import Usage
from recommender.usage.samples import Samples
from vgpu.api import AutoSetResources
from vgpu.slices import Resource

# To feed so many samples takes about as long as to be called at all.
_SAMPLES_AT_ONCE: Final = 10_000
_MOST_PASSES: Final = 64
# Far less than the eight days after which an idle history is dropped, which is looked at between stretches.
_LONGEST_REST: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known at a pass.

    Attributes:
        evidence: what the samples so far say.
        samples: how many of each resource that are.
    """

    evidence: Evidence
    samples: Mapping[Resource, int]


class Witness:
    """Goes through measurements pass by pass.

    Args:
        config: by which samples are estimated.
        measurements: the usage.
        times: of the passes, rising; none before the first sample and the last not before the latest.
        half_life: seconds in which a sample loses half of its weight.
        peak_window: seconds in which a pod's VRAM counts by its peak only.
    """

    def __init__(
        self,
        config: AutoSetResources,
        measurements: Measurements,
        times: FloatArray,
        *,
        half_life: float,
        peak_window: float,
    ) -> None:
        self._times = times
        self._sources = {
            resource: _Source(measured, times) for resource, measured in measurements.resources.items()
        }
        counts = sum(source.counts for source in self._sources.values())
        self._busy = np.flatnonzero(counts)
        per_pass = len(measurements) / len(self._busy)
        self._most = min(_MOST_PASSES, max(1, math.isqrt(int(_SAMPLES_AT_ONCE / per_pass))))
        self._keys = tuple(WorkloadKey("simulation", str(index)) for index in range(self._most))
        self._pods = SimulatedPods(measurements, self._keys)
        self._histories = Histories(half_life=half_life, peak_window=peak_window, now=float(times[0]))
        for key in self._keys:
            self._histories.configure(key, config)
        self._dropped = dict.fromkeys(Resource, 0)

    def __iter__(self) -> Iterator[Seen]:
        """What is known at each pass, one after the other."""
        for stretch in self._stretches():
            evidence = self._take(stretch)
            following = [*stretch[1:].tolist(), self._next_busy(int(stretch[-1]))]
            for index, known, end in zip(stretch.tolist(), evidence, following, strict=True):
                yield self._seen(known, index)
                for idle in range(index + 1, end):
                    yield self._rest(known, idle)
            for uid in self._pods.gone(float(self._times[stretch[-1]])):
                self._histories.forget_pod(uid)

    def _stretches(self) -> Iterator[IndexArray]:
        """The passes that have samples, as many together as are taken at once."""
        rests = np.flatnonzero(np.diff(self._times[self._busy]) > _LONGEST_REST) + 1
        for part in np.split(self._busy, rests):
            yield from np.split(part, range(self._most, len(part), self._most))

    def _next_busy(self, index: int) -> int:
        """The next pass with samples, or how many there are where none follows."""
        place = int(np.searchsorted(self._busy, index, side="right"))
        return int(self._busy[place]) if place < len(self._busy) else len(self._times)

    def _take(self, stretch: IndexArray) -> list[Evidence]:
        """Feed what came in a stretch of passes; returns what was known at each of them."""
        passes = np.append(stretch, np.full(self._most - len(stretch), stretch[-1]))
        before = int(stretch[0]) - 1
        self._feed(np.full(self._most, before), passes)
        estimation = self._histories.estimate(self._keys[: len(stretch)])
        self._feed(passes, np.full(self._most, stretch[-1]))
        return [estimation.evidence(key) for key in estimation.keys]

    def _feed(self, after: IndexArray, up_to: IndexArray) -> None:
        """Feed each of the workloads with what came after one pass and up to another."""
        taken = {
            resource: source.samples(after, up_to, self._pods) for resource, source in self._sources.items()
        }
        self._histories.feed(
            Usage(
                tflops=taken[Resource.TFLOPS],
                vram=taken[Resource.VRAM],
                begin=-math.inf,
                until=float(self._times[up_to[-1]]),
                outcomes=Counter(),
            )
        )

    def _rest(self, evidence: Evidence, index: int) -> Seen:
        """A pass without samples."""
        if self._histories.forget_resting(float(self._times[index])):
            self._dropped = {resource: source.stop(index) for resource, source in self._sources.items()}
        return self._seen(evidence if len(self._histories) else NO_EVIDENCE, index)

    def _seen(self, evidence: Evidence, index: int) -> Seen:
        counts = {
            resource: source.stop(index) - self._dropped[resource]
            for resource, source in self._sources.items()
        }
        return Seen(evidence, counts)


class _Source:
    """The measurements of one resource, by the passes that they come to."""

    def __init__(self, measured: Measured, times: FloatArray) -> None:
        self._measured = measured
        # How many samples there are up to each pass, and none before the first.
        self._stops = np.append(np.searchsorted(measured.times, times, side="right"), 0)

    @property
    def counts(self) -> IndexArray:
        """How many samples come to each pass."""
        return np.diff(self._stops[:-1], prepend=0)

    def stop(self, index: int) -> int:
        """How many samples there are up to a pass."""
        return int(self._stops[index])

    def samples(self, after: IndexArray, up_to: IndexArray, pods: SimulatedPods) -> Samples:
        """For each workload what comes after one pass, -1 for the beginning, and up to another."""
        starts, lengths = self._stops[after], self._stops[up_to] - self._stops[after]
        which = np.repeat(np.arange(len(lengths)), lengths)
        chosen = np.arange(len(which)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + starts[which]
        of = self._measured.of[chosen]
        order = np.lexsort((chosen, of, which))
        present, places = np.unique(pods.number(which, of)[order], return_inverse=True)
        return Samples(
            pods=pods.named(present),
            of=places,
            times=self._measured.times[chosen[order]],
            values=self._measured.values[chosen[order]],
        )
