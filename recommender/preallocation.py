"""Tells workloads that take a fixed share of the VRAM they are given from those that use what they need.

Frameworks like vLLM take their share of the card, nine tenths by default, when they start. Their use says
nothing about their need: a recommendation by it would ask for a little more each time, up to the whole card.
They give themselves away where pods have run under different limits: peak / limit stays the same.

What could be mistaken for it, and why it is not: a use that needs no more under a larger limit has another
share there; a peak of zero is no share; one limit alone proves nothing, and limits closer than a tenth count
as one; a pod that still loads its model has no peak yet. A workload that fills whatever it gets, because it
starves, looks the same: for that the annotation `tensor-fusion.ai/vram-preallocated: "false"` is there.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np

from recommender.buckets import FloatArray
from recommender.estimators import BoolArray
from vgpu.annotations import VRAM_PREALLOCATED
from vgpu.dialects import dialect_of
from vgpu.kube.objects import Pod
from vgpu.slices import Resource, format_amount

VRAM_LEFT_ALONE: Final = "VramPreallocated"
"""Type of the condition that tells of it."""

_SAME_SHARE: Final = 0.02
"""Shares that differ by no more than this part of the larger one are the same (design: product)."""

SAME_LIMIT: Final = 0.1
"""Limits that differ by no more than this part of the larger one prove nothing by the same share."""

Reason = Literal["FixedShare", "Annotated", "SwitchedOff", "SharesDiffer"]

_SAID: Final = {"true": True, "false": False}
_SAID_BEFORE: Final[dict[str | None, bool]] = {"Annotated": True, "SwitchedOff": False}


class Shares(NamedTuple):
    """The peaks of VRAM under two limits, in bytes."""

    older_limit: float
    older_peak: float
    newer_limit: float
    newer_peak: float


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether VRAM is to be left alone.

    Attributes:
        holds: whether it is.
        reason: of the condition.
        message: of the same condition: why, and what to do.
    """

    holds: bool
    reason: Reason
    message: str


def holds(table: FloatArray) -> BoolArray:
    """Whether peaks under two limits have the same share of them.

    Args:
        table: limit, peak, limit, peak of each workload, NaN where there is none, shape (n, 4).

    Returns:
        Shape (n,).
    """
    with np.errstate(all="ignore"):
        shares = table[:, 1::2] / table[:, 0::2]
        largest = shares.max(axis=1)
        # What is not a number compares as false: one limit alone is no proof.
        return np.asarray((largest > 0) & (largest - shares.min(axis=1) <= _SAME_SHARE * largest))


def contradicted_from_below(table: FloatArray, share: FloatArray) -> BoolArray:
    """Where peaks tell of a fixed share, and a pod takes less than that, shape (n,).

    Args:
        table: as in `holds`, shape (n, 4).
        share: peak / limit of one pod of each workload, shape (n,).
    """
    with np.errstate(all="ignore"):
        return holds(table) & (share < (1 - _SAME_SHARE) * (table[:, 3] / table[:, 2]))


def vram_limit(pod: Pod) -> float:
    """The VRAM limit that a pod runs with, in bytes; NaN where it has none that can be read."""
    dialect = dialect_of(pod)
    limit = dialect.read(pod).slice.limits.get(Resource.VRAM) if dialect is not None else None
    return float(limit) if limit else float("nan")


def rule_on(pod: Pod | None, shares: Shares | None, told: str | None) -> Ruling | None:
    """Whether VRAM is left alone, and why; None when there is nothing to say.

    Args:
        pod: the workload's newest pod, whose annotation counts before everything else.
        shares: what its pods took under two limits, where these are the same share.
        told: the reason that the condition VramPreallocated has; while there are no pods, what the last of
            them said goes on.
    """
    said = _said(pod) if pod is not None else _SAID_BEFORE.get(told)
    if said:
        return Ruling(holds=True, reason="Annotated", message=_ANNOTATED)
    if said is False and (shares is not None or told is not None):
        return Ruling(holds=False, reason="SwitchedOff", message=_SWITCHED_OFF)
    if said is None and shares is not None:
        return Ruling(holds=True, reason="FixedShare", message=_fixed_share(shares))
    return Ruling(holds=False, reason="SharesDiffer", message=_DIFFERENT) if told is not None else None


def _said(pod: Pod) -> bool | None:
    return _SAID.get((pod.metadata.annotations or {}).get(VRAM_PREALLOCATED, "").strip().lower())


_ANNOTATED: Final = (
    f'The pods\' annotation {VRAM_PREALLOCATED} is "true": VRAM stays as the template asks for it; '
    "remove the annotation to have it follow use"
)
_SWITCHED_OFF: Final = (
    f'The pods\' annotation {VRAM_PREALLOCATED} is "false": VRAM follows use, '
    "even if pods take the same share of whatever they are given"
)
_DIFFERENT: Final = "Pods do not take the same share of different VRAM limits: VRAM follows use"


def _fixed_share(shares: Shares) -> str:
    limits = " and ".join(
        format_amount(Resource.VRAM, round(limit)) for limit in (shares.older_limit, shares.newer_limit)
    )
    share = shares.newer_peak / shares.newer_limit
    return (
        f"Pods take {share:.0%} of their VRAM under limits of {limits} alike, "
        "which tells nothing about their need: VRAM stays as the template asks for it. "
        f'Change it there, or have it follow use by the pod annotation {VRAM_PREALLOCATED}: "false"'
    )
