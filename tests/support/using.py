"""Usage as the metric source brings it, without one."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from recommender.cluster.pods import TrackedPod
from recommender.keys import WorkloadKey
from recommender.usage.reading import Usage
from recommender.usage.samples import Samples
from tests.support.builders import pod_struct
from vgpu.naming import Owner

WEB, OTHER = WorkloadKey("default", "web"), WorkloadKey("default", "other")
NOW = 1_800_000_000.0
DAY = 86_400.0
GIB = 1 << 30

Taken = tuple[TrackedPod, Sequence[float], Sequence[float]]
"""A pod, times and values of its samples."""


def tracked(
    key: WorkloadKey = WEB, pod: str = "a", *, created: float = 0, limit: str | None = "16Gi"
) -> TrackedPod:
    """A running pod of a workload, with a limit of VRAM."""
    owner = Owner("apps/v1", "Deployment", key.name, "uid")
    return TrackedPod(pod_struct(f"{key.name}-{pod}", vram_limit=limit), key, owner, created)


def samples(*taken: Taken) -> Samples:
    """Samples of several pods."""
    return Samples(
        pods=tuple(pod for pod, _, _ in taken),
        of=np.repeat(np.arange(len(taken), dtype=np.intp), [len(times) for _, times, _ in taken]),
        times=np.array([time for _, times, _ in taken for time in times], dtype=np.float64),
        values=np.array([value for _, _, values in taken for value in values], dtype=np.float64),
    )


def usage(*, tflops: Sequence[Taken] = (), vram: Sequence[Taken] = (), until: float = NOW) -> Usage:
    """What a poll brings."""
    return Usage(samples(*tflops), samples(*vram), begin=until - 60, until=until, outcomes=Counter())


def minutes(pod: TrackedPod, *values: float, begin: float = NOW) -> Taken:
    """Values a minute apart."""
    return pod, [begin + 60 * index for index in range(len(values))], values
