"""What stands in the status of a TensorFusionWorkload, and when it is written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from recommender.configurations import rule_to_json
from recommender.histories import Estimates
from recommender.keys import to_timestamp
from recommender.recommendation import Decision
from recommender.verdicts import Verdict
from vgpu.kube.objects import CustomObject
from vgpu.quantities import QuantityError, parse_quantity
from vgpu.slices import format_amount

RECOMMENDATION_PROVIDED: Final = "RecommendationProvided"
CONFIGURATION_VALID: Final = "ConfigurationValid"
HORIZONTAL_SCALING: Final = "HorizontalScaling"

# An estimation alone is written when a value has moved by more than this, or was not written for so long.
_ESTIMATION_MOVE: Final = Decimal("0.1")
_ESTIMATION_AGE: Final = 3600.0
# etcd holds a condition for ever: an essay belongs into the log.
_MAX_MESSAGE: Final = 1024

Status = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, without the time: that follows from what was there before."""

    type: str
    reason: str
    message: str
    status: bool

    def to_json(self, transition: str) -> dict[str, str]:
        """The condition as documented, with the time at which its status changed."""
        return {
            "lastTransitionTime": transition,
            "message": self.message[:_MAX_MESSAGE],
            "reason": self.reason,
            "status": "True" if self.status else "False",
            "type": self.type,
        }


def find_condition(status: Status, type_: str) -> Mapping[str, Any] | None:
    """The condition of a type in a status, or None."""
    found = (item for item in status.get("conditions") or () if item.get("type") == type_)
    return next(found, None)


def merge_conditions(
    existing: Sequence[Mapping[str, Any]], updates: Iterable[Condition], now: float
) -> list[Mapping[str, Any]]:
    """Conditions after ours have changed: those of others stay as they are, and all stay in their order.

    Args:
        existing: the conditions in the status.
        updates: ours; one whose status does not change keeps its `lastTransitionTime` (API conventions).
        now: seconds since the epoch.
    """
    merged = {item.get("type"): item for item in existing}
    for update in updates:
        old = merged.get(update.type)
        status = "True" if update.status else "False"
        stays = old is not None and old.get("status") == status and old.get("lastTransitionTime")
        changed = update.to_json(stays or to_timestamp(now))
        merged[update.type] = {**(old or {}), **changed}
    return list(merged.values())


def wanted_status(
    live: CustomObject, verdict: Verdict, *, applied: int, conditions: Iterable[Condition], now: float
) -> dict[str, Any]:
    """The status as it should be: that of others as it is, ours by the verdict.

    Args:
        live: the workload.
        verdict: what was found out about it.
        applied: how many running pods carry the recommendation.
        conditions: those that are not the verdict's.
        now: seconds since the epoch.
    """
    wanted = dict(live.status)
    updates = [*_provided(live.status, verdict), *conditions]
    if updates:
        wanted["conditions"] = merge_conditions(live.status.get("conditions") or (), updates, now)
    if verdict.recommendation is not None:
        wanted["recommendation"] = verdict.recommendation.to_json()
    if verdict.decision is not None:
        wanted["estimation"] = {**_kept(live.status, verdict.decision), **_estimation(verdict.estimates)}
        if not wanted["estimation"]:
            del wanted["estimation"]
        wanted.pop("activeCronScalingRule", None)
        if verdict.configuration.rule is not None:
            wanted["activeCronScalingRule"] = rule_to_json(verdict.configuration.rule)
    return {**wanted, "appliedRecommendedReplicas": applied, "observedGeneration": live.metadata.generation}


def configuration_condition(live: Status, problems: Sequence[str]) -> Iterator[Condition]:
    """The condition ConfigurationValid: there while something is wrong, and ever after."""
    if problems:
        yield Condition(CONFIGURATION_VALID, "InvalidConfiguration", "; ".join(problems), status=False)
    elif find_condition(live, CONFIGURATION_VALID) is not None:
        message = "The configuration is in force"
        yield Condition(CONFIGURATION_VALID, "ConfigurationInForce", message, status=True)


def _provided(live: Status, verdict: Verdict) -> Iterator[Condition]:
    """The condition RecommendationProvided, if it has anything new to say.

    Once there is a recommendation, the condition tells how it came about until the next one.
    """
    decision, there = verdict.decision, find_condition(live, RECOMMENDATION_PROVIDED)
    explains = there is not None and there.get("status") == "True" and verdict.recommendation is not None
    if decision is not None and (decision.changed or not explains):
        provided = verdict.recommendation is not None
        yield Condition(RECOMMENDATION_PROVIDED, decision.reason, decision.message, status=provided)


def _kept(live: Status, decision: Decision) -> dict[str, Any]:
    """What stays of an estimation for as long as the recommendation rests on it, as after a restart.

    It tells the next pass which resources usage has spoken for.
    """
    written = live.get("estimation") or {}
    return {resource: said for resource, said in written.items() if resource in decision.measured}


def _estimation(estimates: Estimates) -> dict[str, Any]:
    return {
        resource.value: {
            "target": format_amount(resource, estimate.target),
            "lowerBound": format_amount(resource, estimate.lower_bound),
            "upperBound": format_amount(resource, estimate.upper_bound),
            "confidence": f"{estimate.confidence:.3g}",
        }
        for resource, estimate in estimates.items()
    }


def status_patch(
    live: Status, wanted: Status, *, now: float, estimation_written: float
) -> dict[str, Any] | None:
    """The merge patch that turns a status into the wanted one, or None when nothing is worth a write.

    Args:
        live: the status as it stands.
        wanted: all of ours and all of others; a key that it lacks is removed.
        now: seconds since the epoch.
        estimation_written: when the estimation was last written.
    """
    patch = _difference(live, wanted)
    if patch and (set(patch) != {"estimation"} or _is_due(live, wanted, now - estimation_written)):
        return patch
    return None


def _is_due(live: Status, wanted: Status, age: float) -> bool:
    return age >= _ESTIMATION_AGE or _has_moved(live.get("estimation"), wanted.get("estimation"))


def _has_moved(old: object, new: object) -> bool:
    """Whether a target or bound of the new estimation differs from the old one by more than a tenth."""
    if isinstance(new, Mapping):
        known = old if isinstance(old, Mapping) else {}
        # Confidence grows for ever; where that means anything it moves the bounds.
        return any(_has_moved(known.get(key), new[key]) for key in new.keys() - {"confidence"})
    before, after = _number(old), _number(new)
    if before is None or after is None:
        return old != new
    return abs(after - before) > _ESTIMATION_MOVE * abs(before)


def _number(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return parse_quantity(value)
    except QuantityError:
        return None


def _difference(old: Status, new: Status) -> dict[str, Any]:
    """The JSON merge patch (RFC 7386) from one object to another: null removes, lists are replaced."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if inner := _difference(before, value):
                patch[key] = inner
        elif value != before or key not in old:
            patch[key] = value
    return patch
