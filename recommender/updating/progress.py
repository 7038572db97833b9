"""What comes after an eviction: a replacement, a rest, and after failures a longer one. Pure."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from recommender.updating.members import Limits, Member, Progress, Situation
from recommender.updating.reasons import Reason

REPLACEMENT_TIMEOUT: Final = 600.0
"""Seconds after which a replacement that has not come or is not Ready is waited for no longer: replicas may
have been reduced meanwhile. A pod that is not Ready holds up all others anyway."""

# By what went wrong: the first wait and the longest, in seconds; it doubles in between.
_REFUSED: Final = (30.0, 600.0)
_NOT_APPLIED: Final = (600.0, 86_400.0)
_MOST_DOUBLINGS: Final = 16


def after_eviction(
    progress: Progress, situation: Situation, evicted: Iterable[Member], now: float
) -> Progress:
    """The progress of a workload of which pods have just been evicted."""
    return replace(
        progress,
        evicted=frozenset(member.uid for member in evicted),
        known=frozenset(member.uid for member in situation.members),
        at=now,
        wanted=situation.wanted,
        until=0.0,
    )


def after_refusal(
    progress: Progress, reason: Reason, now: float, *, retry_after: float | None = None
) -> Progress:
    """The progress of a workload of which a pod could not be evicted.

    Args:
        progress: how far it was.
        reason: why it could not.
        now: seconds since the epoch.
        retry_after: seconds that kube-apiserver wants us to wait at least, if it says so.
    """
    failures = progress.failures if progress.reason is reason else 0
    wait = min(max(_doubled(_REFUSED, failures), retry_after or 0.0), _REFUSED[1])
    return replace(progress, until=now + wait, reason=reason, failures=failures + 1)


def settled(progress: Progress, situation: Situation, limits: Limits, now: float) -> Progress:
    """The progress of a workload, once it is seen what has become of its last eviction."""
    if not progress.evicted:
        return progress
    new = [member for member in situation.members if member.uid not in progress.known]
    if any(_is_misfit(member, progress, situation) for member in new):
        failures = progress.failures if progress.reason is Reason.NOT_APPLIED else 0
        wait = _doubled(_NOT_APPLIED, failures)
        return Progress(until=now + wait, reason=Reason.NOT_APPLIED, failures=failures + 1)
    gone = progress.evicted.isdisjoint(member.uid for member in situation.members)
    replaced = gone and len(new) >= len(progress.evicted) and all(member.ready for member in new)
    if replaced or now >= progress.at + REPLACEMENT_TIMEOUT:
        return Progress(until=now + limits.cool_down)
    return progress


def _is_misfit(member: Member, progress: Progress, situation: Situation) -> bool:
    """Whether a replacement is not what it was to be: to evict more would go on for ever."""
    return member.unwritten or (member.differs and progress.wanted == situation.wanted)


def _doubled(waits: tuple[float, float], failures: int) -> float:
    first, longest = waits
    return min(first * 2.0 ** min(failures, _MOST_DOUBLINGS), longest)
