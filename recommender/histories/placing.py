"""Samples beside the rows that they belong to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np

from recommender.bank.buckets import FloatArray, IndexArray
from recommender.cluster.pods import TrackedPod
from recommender.histories.estimators import BoolArray
from recommender.keys import WorkloadKey
from recommender.usage.samples import Samples

Counts = Callable[[TrackedPod], bool]
"""Whether a pod's samples count; asked once for each pod and resource, maybe in another thread."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Samples of which each has a row.

    Attributes:
        pods: p pods.
        pod_rows: the row of each, -1 where its samples are not wanted, shape (p,).
        of: which pod a sample is of, shape (n,).
        rows: the row of each sample, shape (n,).
        times: seconds since the epoch, shape (n,).
        values: TFLOPS or bytes, shape (n,).
    """

    pods: tuple[TrackedPod, ...]
    pod_rows: IndexArray
    of: IndexArray
    rows: IndexArray
    times: FloatArray
    values: FloatArray

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.of)

    def select(self, kept: BoolArray) -> "Placed":
        """Some of the samples."""
        return replace(
            self, of=self.of[kept], rows=self.rows[kept], times=self.times[kept], values=self.values[kept]
        )


class Seen:
    """The pods among those of samples that have any, and whose samples count.

    Args:
        samples: of any pods.
        counts: whether a pod's do; None for all.

    Attributes:
        keys: the workload of each of the s pods.
    """

    def __init__(self, samples: Samples, counts: Counts | None) -> None:
        self._samples = samples
        self._indices = np.flatnonzero(np.bincount(samples.of, minlength=len(samples.pods)))
        pods = [samples.pods[index] for index in self._indices.tolist()]
        if counts is not None:
            kept = np.fromiter(map(counts, pods), dtype=np.bool_, count=len(pods))
            self._indices, pods = self._indices[kept], list(compress(pods, kept.tolist()))
        self.keys: list[WorkloadKey] = [pod.workload for pod in pods]

    def placed(self, rows: Sequence[int]) -> Placed:
        """Their samples, beside the row of each pod, shape (s,)."""
        samples = self._samples
        pod_rows = np.full(len(samples.pods), -1, dtype=np.intp)
        pod_rows[self._indices] = rows
        sample_rows = pod_rows[samples.of]
        placed = Placed(samples.pods, pod_rows, samples.of, sample_rows, samples.times, samples.values)
        return placed.select(sample_rows >= 0)
