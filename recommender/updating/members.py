"""What an eviction depends on: a workload's pods, and what has become of its last eviction. Pure data."""

from collections.abc import Hashable
from dataclasses import dataclass

from recommender.updating.reasons import Reason
from vgpu.naming import Owner


@dataclass(frozen=True, slots=True)
class Member:
    """A pod of a workload that is neither finished nor being deleted.

    Attributes:
        name: its name.
        uid: what tells it from another of the same name.
        root: the controller at the root of its owners.
        controller: what made it; None where a person did.
        created: when, in seconds since the epoch.
        ready: whether it is Ready.
        troubled: whether it crashes again and again, or no node is found for it.
        gang: the label or annotation by which it is scheduled together with others; None where there is none.
        opted_out: whether an annotation says that it is not to be evicted.
        differs: whether a new pod would get a slice that differs enough to make this one anew.
        unwritten: whether the webhook has not written on it what it has for every new pod.
    """

    name: str
    uid: str
    root: Owner
    controller: Owner | None
    created: float
    ready: bool = True
    troubled: bool = False
    gang: str | None = None
    opted_out: bool = False
    differs: bool = False
    unwritten: bool = False


@dataclass(frozen=True, slots=True)
class Situation:
    """A workload that wants its pods made anew.

    Attributes:
        members: its pods.
        wanted: what decides about new pods' slices; as long as it is equal, these get the same.
        invalid: whether its configuration has a mistake.
        rule_holds: whether a cron rule is active and the workload does not want evictions for rules.
        withdrawn: whether its recommendation is withdrawn.
        single_allowed: whether its only pod may be evicted.
    """

    members: tuple[Member, ...]
    wanted: Hashable
    invalid: bool = False
    rule_holds: bool = False
    withdrawn: bool = False
    single_allowed: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """What the operator allows.

    Attributes:
        cool_down: seconds from when a replacement is Ready to the next eviction of the workload.
        minimum_age: seconds in which a new pod is left alone.
        fraction: part of a workload's pods that may be evicted at a time; one may always be.
    """

    cool_down: float
    minimum_age: float
    fraction: float = 0.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the updating of a workload is.

    Attributes:
        evicted: UIDs of the pods that were evicted last and whose replacements are waited for.
        known: UIDs of all pods that there were then.
        at: when that was, in seconds since the epoch.
        wanted: what decided about new pods' slices then.
        until: nothing is evicted before this time.
        reason: why not.
        failures: how often in a row that was because something went wrong.
    """

    evicted: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()
    at: float = 0.0
    wanted: Hashable = None
    until: float = 0.0
    reason: Reason = Reason.COOL_DOWN
    failures: int = 0


NO_PROGRESS = Progress()
