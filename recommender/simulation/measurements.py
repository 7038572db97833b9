"""What of a file's rows is taken: hygiene as of live samples, and of a pod's GPUs the fullest."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from recommender.bank.buckets import FloatArray, IndexArray
from recommender.simulation.usage_file import Column, UsageFile
from recommender.usage.samples import Outcome
from vgpu.capacity import most_plausible
from vgpu.slices import Amounts, Resource


@dataclass(frozen=True, slots=True)
class Measured:
    """The samples of one resource, in the order of time; no two of the same pod and time.

    Attributes:
        of: which pod, shape (n,).
        times: seconds since the epoch, shape (n,).
        values: TFLOPS or bytes, shape (n,).
        dropped: how many rows were left out, by reason.
    """

    of: IndexArray
    times: FloatArray
    values: FloatArray
    dropped: Counter[Outcome]


@dataclass(frozen=True, slots=True)
class Measurements:
    """All that is taken of a file.

    Attributes:
        pods: names of the pods.
        resources: the samples of each resource.
    """

    pods: tuple[str, ...]
    resources: dict[Resource, Measured]

    def __len__(self) -> int:
        """How many samples there are."""
        return sum(len(measured.times) for measured in self.resources.values())

    @property
    def first(self) -> float:
        """Time of the first sample of all; infinite without any."""
        return min((float(each.times[0]) for each in self._filled()), default=np.inf)

    @property
    def last(self) -> float:
        """Time of the latest sample of all; minus infinity without any."""
        return max((float(each.times[-1]) for each in self._filled()), default=-np.inf)

    @property
    def dropped(self) -> Counter[Outcome]:
        """How many rows were left out, by reason, of both resources together."""
        return sum((measured.dropped for measured in self.resources.values()), Counter())

    def _filled(self) -> list[Measured]:
        return [measured for measured in self.resources.values() if len(measured.times)]


def measure(file: UsageFile, *, largest: Amounts, usage_step: float | None = None) -> Measurements:
    """Take what can be true of a file.

    Args:
        file: what was read.
        largest: what the card gives, where that is known.
        usage_step: seconds of which a pod's samples count as one, their maximum at the end of the step, as
            where the recommender reads them from a metric source; None to take every row as a sample.
    """
    return Measurements(
        pods=file.pods,
        resources={
            resource: _measured(column, most_plausible(resource, largest), usage_step)
            for resource, column in file.columns.items()
        },
    )


def _measured(column: Column, most: float, usage_step: float | None) -> Measured:
    kept, dropped = _sound(column.values, most)
    of, times, values = column.of[kept], column.times[kept], column.values[kept]
    if usage_step is not None:
        times = np.ceil(times / usage_step) * usage_step
    order = np.lexsort((times, of))
    of, times, values = of[order], times[order], values[order]
    begins = np.flatnonzero(np.append(True, (np.diff(of) != 0) | (np.diff(times) != 0))[: len(of)])
    # Of two GPUs the fullest counts; the row of the other is as good as one that is there twice.
    dropped[Outcome.DUPLICATE] = len(of) - len(begins)
    fullest = np.maximum.reduceat(values, begins) if len(begins) else values
    in_time = np.argsort(times[begins], kind="stable")
    return Measured(
        of=of[begins][in_time], times=times[begins][in_time], values=fullest[in_time], dropped=+dropped
    )


def _sound(values: FloatArray, most: float) -> tuple[IndexArray, Counter[Outcome]]:
    """Which values can be true, and how many cannot be, by reason."""
    finite = np.isfinite(values)
    negative = finite & (values < 0)
    implausible = finite & (values > most)
    dropped = Counter(
        {
            Outcome.NOT_FINITE: int(np.count_nonzero(~finite)),
            Outcome.NEGATIVE: int(np.count_nonzero(negative)),
            Outcome.IMPLAUSIBLE: int(np.count_nonzero(implausible)),
        }
    )
    return np.flatnonzero(finite & ~negative & ~implausible), dropped
