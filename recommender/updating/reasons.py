"""Why a pod that should be made anew is left alone."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """What holds an eviction back; the value is a label in /metrics."""

    CONFIGURATION = "configuration"
    CRON_RULE = "cron_rule"
    WITHDRAWN = "withdrawn"
    NO_CONTROLLER = "no_controller"
    OWNER_KIND = "owner_kind"
    GANG = "gang"
    OPTED_OUT = "opted_out"
    TOO_YOUNG = "too_young"
    SINGLE_REPLICA = "single_replica"
    ROLLOUT = "rollout"
    NOT_READY = "not_ready"
    REPLACEMENT = "replacement"
    COOL_DOWN = "cool_down"
    NOT_APPLIED = "not_applied"
    BUDGET = "budget"
    FORBIDDEN = "forbidden"
    FAILED = "failed"


WORTH_TELLING: Final[Mapping[Reason, str]] = {
    Reason.NO_CONTROLLER: "they have no controller that would make another",
    Reason.OWNER_KIND: "only pods of Deployments, ReplicaSets and StatefulSets are evicted",
    Reason.GANG: "they are scheduled as a group",
    Reason.OPTED_OUT: "an annotation forbids it",
    Reason.SINGLE_REPLICA: "there is only one; evictSingleReplica in the profile allows it",
    Reason.NOT_APPLIED: "the last replacement came without the recommended slice; is the webhook running?",
    Reason.BUDGET: "a PodDisruptionBudget does not allow it now",
    Reason.FORBIDDEN: "the recommender may not create pods/eviction",
}
"""Those over which a user would wonder, in words; all others pass by themselves, or are told otherwise."""
