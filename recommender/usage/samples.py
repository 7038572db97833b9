"""Samples of usage by pod, and what became of those that were read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from recommender.bank.buckets import FloatArray, IndexArray
from recommender.cluster.pods import TrackedPod
from recommender.keys import WorkloadKey

PodFinder = Callable[[str, str], TrackedPod | None]
"""The tracked pod of a namespace and name, or the last one that had the name."""

FormerPods = Callable[[TrackedPod], Sequence[TrackedPod]]
"""The pods that had a pod's name before it, as far as they still count, the latest first."""

Wanted = Mapping[WorkloadKey, tuple[float, float]]
"""Whose samples are wanted, and of which times: after the first and up to the second."""


class Outcome(StrEnum):
    """What became of a sample. One of which several are true counts under that which stands first here."""

    NO_POD = "no_pod"
    """Its series names no pod."""
    UNKNOWN_POD = "unknown_pod"
    """There is no such pod, or it went too long ago, or it is not one of ours."""
    FINISHED_POD = "finished_pod"
    """It was taken after the pod's end, or nobody knows when a finished pod ended."""
    UNKNOWN_CARD = "unknown_card"
    """It is a part of a card of which nobody knows what it can do."""
    SHARED = "shared"
    """It is all use of a card that several pods have."""
    NOT_FINITE = "not_finite"
    NEGATIVE = "negative"
    IN_FUTURE = "in_future"
    STALE = "stale"
    """It lies outside of the stretch that was asked for."""
    OFF_GRID = "off_grid"
    """It does not lie at the end of a step, so that two polls might count it twice."""
    IMPLAUSIBLE = "implausible"
    """It is more than the pod's card can do."""
    BEFORE_CREATION = "before_creation"
    """It belongs to an earlier pod of that name."""
    UNMEASURED = "unmeasured"
    """It is 0 of a pod that has never shown more, by an exporter that shows 0 where it does not measure."""
    DUPLICATE = "duplicate"
    """Another series has the same GPU of the same pod at the same time."""
    ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Use of one resource by n samples: of each pod at each time the fullest of its GPUs.

    No two are of the same pod and time. Those of a pod stand together, in the order of their times.

    Attributes:
        pods: the pods that have samples.
        of: which of the pods a sample is of, shape (n,).
        times: seconds since the epoch, shape (n,).
        values: TFLOPS or bytes, shape (n,).
    """

    pods: tuple[TrackedPod, ...]
    of: IndexArray
    times: FloatArray
    values: FloatArray


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is asked for: the ends of whole steps, after `begin` and up to `until`.

    Attributes:
        begin: a step, counted since the epoch.
        until: the last step, counted likewise.
        step: seconds.
        latest: seconds since the epoch; a later sample comes from the future.
        wanted: of which workloads samples are wanted; others are not even counted. None for all.
    """

    begin: int
    until: int
    step: float
    latest: float
    wanted: Wanted | None = None
