"""Tells workloads that take a fixed share of the VRAM they are given from those that use what they need.

Frameworks like vLLM take their share of the card, nine tenths by default, when they start. Their use says
nothing about their need: a recommendation by it would ask for a little more each time, up to the whole card.
They give themselves away where pods have run under different limits: peak / limit stays the same, but for a
constant part that is theirs whatever the limit, the CUDA context and the framework itself: up to 2 GiB.

What could be mistaken for it, and why it is not: a use that needs no more under a larger limit has another
share there, whatever constant part is taken off; the fixed share must be at least half of each peak, or next
to a small use everything could be called a constant; pods that differ under one limit follow their work; a
peak of zero is no share; one limit alone proves nothing, and limits closer than a tenth count as one; a pod
that still loads its model has no peak yet. A workload that fills whatever it gets, because it starves, looks
the same: for that the annotation `tensor-fusion.ai/vram-preallocated: "false"` is there.
"""

from dataclasses import dataclass
from itertools import product
from typing import Final, Literal, NamedTuple

import numpy as np

from recommender.bank.buckets import FloatArray
from recommender.histories.estimators import BoolArray
from vgpu.annotations import VRAM_PREALLOCATED
from vgpu.dialects import dialect_of
from vgpu.kube.objects import Pod
from vgpu.slices import Resource, format_amount

VRAM_LEFT_ALONE: Final = "VramPreallocated"
"""Type of the condition that tells of it."""

_SAME_SHARE: Final = 0.02
"""Shares that differ by no more than this part of the larger one are the same (design: product)."""

_MOST_CONSTANT: Final = 2.0 * (1 << 30)
"""What frameworks take besides their share: contexts, libraries and graphs, measured at 0.5 to 2 GiB."""

_LEAST_FIXED: Final = 0.5
"""The fixed share is at least this part of each peak; where it is less, use nears its end by itself."""

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


def holds(peaks: FloatArray) -> BoolArray:
    """Whether peaks under two limits have the same share of them, but for a constant part.

    Args:
        peaks: limit, peak, limit, peak of each workload, NaN where there is none, shape (n, 4).

    Returns:
        Shape (n,).
    """
    return all_hold(peaks[:, [0, 1, 1, 2, 3, 3]])


def all_hold(table: FloatArray) -> BoolArray:
    """Whether all peaks under two limits have the same share of them, but for one constant part.

    Args:
        table: limit, smallest and largest peak under it, and the same of another limit, NaN where there is
            none, shape (n, 6). Where only the smallest peak is missing the largest stands for it.

    Returns:
        Shape (n,).
    """
    known = table[:, [0, 2, 3, 5]]
    # One limit alone is no proof, and nothing is no share.
    there = (np.isfinite(known) & (known > 0)).all(axis=1)
    least, most = constants(table)
    return np.asarray(there & (least <= most))


def constants(table: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The constant parts, from the first to the second, that leave the same share of both limits, in bytes.

    Shares (peak - c) / limit are the same if none is below (1 - tolerance) times another. For each largest
    peak and each smallest one that is a linear inequality of c; there is such a c if the first is no larger
    than the second.

    Args:
        table: as in `all_hold`, shape (n, 6).
    """
    limits, high = table[:, 0::3], table[:, 2::3]
    low = np.where(np.isnan(table[:, 1::3]), high, table[:, 1::3])
    least = np.zeros(len(table))
    with np.errstate(all="ignore"):
        most = np.minimum(_MOST_CONSTANT, (1 - _LEAST_FIXED) * low.min(axis=1))
        for larger, smaller in product((0, 1), repeat=2):
            kept = (1 - _SAME_SHARE) / limits[:, larger]
            slope = 1 / limits[:, smaller] - kept
            bound = (low[:, smaller] / limits[:, smaller] - kept * high[:, larger]) / slope
            most = np.where(slope > 0, np.minimum(most, bound), most)
            least = np.where(slope < 0, np.maximum(least, bound), least)
    return least, most


def expected(table: FloatArray, limit: FloatArray) -> FloatArray:
    """What a pod takes of a limit where all peaks so far hold, in bytes, shape (n,); else NaN.

    Args:
        table: as in `all_hold`, shape (n, 6).
        limit: of the pod, in bytes, shape (n,).
    """
    with np.errstate(all="ignore"):
        constant, _ = constants(table)
        taken = (table[:, 5] - constant) / table[:, 3] * limit + constant
        return np.where(all_hold(table), taken, np.nan)


def elsewhere(peak: FloatArray, limit: FloatArray, other: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The least and the most that pods with this peak would take of another limit, in bytes, each (n,).

    In proportion if all is a fixed share, and nearer to the peak as far as some of it may be constant.
    """
    constant = np.minimum(_MOST_CONSTANT, (1 - _LEAST_FIXED) * peak)
    ends = peak * other / limit, (peak - constant) * other / limit + constant
    return np.minimum(*ends), np.maximum(*ends)


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
    older, newer = (format_amount(Resource.VRAM, round(limit)) for limit in (shares[0], shares[2]))
    parts = [f"{peak / limit:.0%}" for limit, peak in (shares[:2], shares[2:])]
    taken = (
        f"{parts[1]} of their VRAM under limits of {older} and {newer} alike"
        if parts[0] == parts[1]
        else f"{parts[0]} of a VRAM limit of {older} and {parts[1]} of {newer}, a fixed share and a constant"
    )
    return (
        f"Pods take {taken}, "
        "which tells nothing about their need: VRAM stays as the template asks for it. "
        f'Change it there, or have it follow use by the pod annotation {VRAM_PREALLOCATED}: "false"'
    )
