"""What the recommender says about a workload, as it stands in the TensorFusionWorkload's status."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vgpu.quantities import QuantityError
from vgpu.schedule import Rule
from vgpu.slices import Resource, VgpuSlice


@dataclass(frozen=True, slots=True)
class Published:
    """The part of a status that decides what a new pod gets.

    Attributes:
        recommendation: None where there is none, or none that makes sense.
        rule: name of the cron rule that was active when the recommendation was made.
        withdrawn: the recommendation made things worse; new pods keep their own slice.
        problem: what is wrong with the recommendation, if something is.
    """

    recommendation: VgpuSlice | None = None
    rule: str | None = None
    withdrawn: bool = False
    problem: str | None = None

    def usable(self, active: Rule | None) -> VgpuSlice | None:
        """The recommendation, where it still holds.

        One that was made under a rule has that rule's size in it, so it ends when the rule does, whether or
        not the recommender is there to say so. One made before the active rule began is the histogram's.
        """
        if self.withdrawn or (self.rule is not None and (active is None or active.name != self.rule)):
            return None
        return self.recommendation

    def without_rules(self) -> VgpuSlice | None:
        """The recommendation where no rule can be evaluated: what was published last stays in force."""
        return None if self.withdrawn else self.recommendation


def read_status(status: Mapping[str, Any]) -> Published:
    """What a status says; a part of it that makes no sense is left out and named in `problem`."""
    rule = _rule_name(status.get("activeCronScalingRule"))
    withdrawn = _is_true(status.get("conditions"), "RecommendationWithdrawn")
    value = status.get("recommendation")
    if not isinstance(value, Mapping) or not value:
        problem = None if value is None or value == {} else f"recommendation {value!r} is not an object"
        return Published(rule=rule, withdrawn=withdrawn, problem=problem)
    try:
        recommendation = _consistent(VgpuSlice.from_json(value))
    except QuantityError as error:
        return Published(rule=rule, withdrawn=withdrawn, problem=f"recommendation: {error}")
    return Published(recommendation=recommendation, rule=rule, withdrawn=withdrawn)


def _consistent(slice_: VgpuSlice) -> VgpuSlice:
    for resource in Resource:
        request, limit = slice_.requests.get(resource), slice_.limits.get(resource)
        if request is not None and limit is not None and request > limit:
            raise QuantityError(f"requests.{resource} exceeds limits.{resource}")
    return slice_


def _rule_name(value: object) -> str | None:
    """The rule's name; TensorFusion itself writes the whole rule there."""
    if isinstance(value, Mapping):
        value = value.get("name")
    return value if isinstance(value, str) and value else None


def _is_true(conditions: object, kind: str) -> bool:
    if not isinstance(conditions, Sequence):
        return False
    return any(
        isinstance(condition, Mapping) and condition.get("type") == kind and condition.get("status") == "True"
        for condition in conditions
    )
