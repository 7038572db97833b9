"""Which pods of a workload are evicted now, and why no others are. Pure: the time is an argument.

What is never evicted comes first, then what has to wait. A pod in trouble takes no capacity with it and goes
before all others. One that is only not Ready yet may be loading its model, and holds the others up until it
is: a Ready one goes only while all the others are.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from recommender.updating.members import Limits, Member, Progress, Situation
from recommender.updating.progress import REPLACEMENT_TIMEOUT
from recommender.updating.reasons import Reason
from vgpu.kube.resources import DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS

EVICTABLE_KINDS: Final = {
    (kind.api_version, kind.kind): kind for kind in (DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS)
}
"""The root controllers that make another pod of the same kind at once, and of which we know how to tell a
rollout. All others are left alone, those that nobody knows yet too."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done about a workload.

    Attributes:
        evict: the pods to evict now.
        held: why no others are evicted; None where no other is to be.
        member: the pod that this is about, if it is about one.
        again: when to look again although nothing changes, in seconds since the epoch; infinite for never.
    """

    evict: tuple[Member, ...] = ()
    held: Reason | None = None
    member: Member | None = None
    again: float = math.inf


def plan(situation: Situation, progress: Progress, limits: Limits, now: float) -> Plan:
    """What is to be done about one workload.

    Args:
        situation: the workload.
        progress: what has become of its last eviction, as `progress.settled` says.
        limits: what the operator allows.
        now: seconds since the epoch.
    """
    if progress.evicted:
        return Plan(held=Reason.REPLACEMENT, again=progress.at + REPLACEMENT_TIMEOUT)
    differing = [member for member in situation.members if member.differs]
    if not differing:
        return Plan()
    held = _held_altogether(situation)
    if held is not None:
        return Plan(held=held)
    allowed, first = [], None
    for member in differing:
        reason = _excluded(member, situation)
        if reason is None:
            allowed.append(member)
        elif first is None:
            first = Plan(held=reason, member=member)
    if not allowed:
        return first or Plan()
    if now < progress.until:
        return Plan(held=progress.reason, again=progress.until)
    return _planned(allowed, situation, limits, now)


def _held_altogether(situation: Situation) -> Reason | None:
    if situation.invalid:
        return Reason.CONFIGURATION
    return Reason.CRON_RULE if situation.rule_holds else None


def _excluded(member: Member, situation: Situation) -> Reason | None:
    """Why a pod is not evicted whenever that may be."""
    kind = (member.root.api_version, member.root.kind)
    alone = not any(other.root == member.root and other.uid != member.uid for other in situation.members)
    excluded = {
        Reason.NO_CONTROLLER: member.controller is None,
        Reason.OWNER_KIND: kind not in EVICTABLE_KINDS,
        Reason.GANG: member.gang is not None,
        Reason.OPTED_OUT: member.opted_out,
        Reason.WITHDRAWN: situation.withdrawn and not member.troubled,
        Reason.SINGLE_REPLICA: alone and not situation.single_allowed,
    }
    return next((reason for reason, holds in excluded.items() if holds), None)


def _planned(allowed: Sequence[Member], situation: Situation, limits: Limits, now: float) -> Plan:
    # What frees a pod of a recommendation that does harm is done once: the next pod has its own slice.
    least = 0.0 if situation.withdrawn else limits.minimum_age
    old_enough = [member for member in allowed if now >= member.created + least]
    if not old_enough:
        again = min(member.created for member in allowed) + limits.minimum_age
        return Plan(held=Reason.TOO_YOUNG, again=again)
    made = {(member.root, member.controller) for member in situation.members}
    if len(made) > len({root for root, _ in made}):
        return Plan(held=Reason.ROLLOUT)  # several ReplicaSets of one Deployment
    chosen = tuple(_chosen(old_enough, situation, limits))
    return Plan(evict=chosen) if chosen else Plan(held=Reason.NOT_READY)


def _chosen(candidates: Sequence[Member], situation: Situation, limits: Limits) -> Iterator[Member]:
    """As many as may go at a time: those in trouble first, then the oldest."""
    room = max(1, int(limits.fraction * len(situation.members)))
    waiting = {member.uid for member in situation.members if not member.ready}
    left = Counter(member.root for member in situation.members)
    movable = (each for each in candidates if each.ready or each.troubled)
    for member in sorted(movable, key=lambda each: (each.ready, each.created, each.name)):
        waiting.discard(member.uid)
        last = left[member.root] == 1 and not situation.single_allowed
        if room == 0 or last or (member.ready and waiting):
            return
        yield member
        room -= 1
        left[member.root] -= 1
