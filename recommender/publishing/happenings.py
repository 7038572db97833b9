"""What is told about workloads as Kubernetes Events: all the reasons that there are."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of thing that happens.

    Attributes:
        reason: why the Event is there, CamelCase, at most 128 characters.
        action: what was being done, likewise.
        warning: whether somebody should do something about it.
    """

    reason: str
    action: str
    warning: bool = False

    @property
    def type(self) -> str:
        """What stands in an Event's `type`."""
        return "Warning" if self.warning else "Normal"


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that has happened to a workload.

    Attributes:
        kind: what kind of thing.
        note: what exactly, for people; the same thing is told in the same words each time.
    """

    kind: Kind
    note: str


RECOMMENDATION_CHANGED: Final = Kind("RecommendationChanged", "Recommend")
CRON_RULE_STARTED: Final = Kind("CronRuleStarted", "SwitchCronRule")
CRON_RULE_ENDED: Final = Kind("CronRuleEnded", "SwitchCronRule")
CONFIGURATION_INVALID: Final = Kind("ConfigurationInvalid", "ReadConfiguration", warning=True)
CONFIGURATION_VALID: Final = Kind("ConfigurationValid", "ReadConfiguration")
HPA_CREATED: Final = Kind("HorizontalPodAutoscalerCreated", "ScaleHorizontally")
HPA_DELETED: Final = Kind("HorizontalPodAutoscalerDeleted", "ScaleHorizontally")
HORIZONTAL_SCALING_BLOCKED: Final = Kind("HorizontalScalingBlocked", "ScaleHorizontally", warning=True)
HORIZONTAL_SCALING_RESTORED: Final = Kind("HorizontalScalingRestored", "ScaleHorizontally")
POD_EVICTED: Final = Kind("PodEvicted", "UpdatePods")
UPDATE_HELD: Final = Kind("UpdateHeld", "UpdatePods", warning=True)
VRAM_PREALLOCATION_FOUND: Final = Kind("VramPreallocationFound", "JudgeVram")
VRAM_FOLLOWS_USE: Final = Kind("VramFollowsUse", "JudgeVram")
USAGE_MISSING: Final = Kind("UsageMissing", "ReadUsage", warning=True)
USAGE_BACK: Final = Kind("UsageBack", "ReadUsage")

KINDS: Final = (
    RECOMMENDATION_CHANGED,
    CRON_RULE_STARTED,
    CRON_RULE_ENDED,
    CONFIGURATION_INVALID,
    CONFIGURATION_VALID,
    HPA_CREATED,
    HPA_DELETED,
    HORIZONTAL_SCALING_BLOCKED,
    HORIZONTAL_SCALING_RESTORED,
    POD_EVICTED,
    UPDATE_HELD,
    VRAM_PREALLOCATION_FOUND,
    VRAM_FOLLOWS_USE,
    USAGE_MISSING,
    USAGE_BACK,
)
"""All of them."""
