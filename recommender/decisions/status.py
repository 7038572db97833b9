"""What stands in the status of a TensorFusionWorkload, and when it is written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal

from recommender.decisions.advising import EXTERNAL_SCALER, SOURCE, scaler_condition
from recommender.decisions.availability import availability_condition
from recommender.decisions.conditions import Condition, Status, find_condition, merge_conditions
from recommender.decisions.configurations import rule_to_json
from recommender.decisions.recommendation import Decision
from recommender.decisions.verdicts import Verdict
from recommender.histories.preallocation import VRAM_LEFT_ALONE
from vgpu.kube.objects import CustomObject
from vgpu.quantities import QuantityError, parse_quantity
from vgpu.slices import format_amount

RECOMMENDATION_PROVIDED: Final = "RecommendationProvided"
CONFIGURATION_VALID: Final = "ConfigurationValid"
HORIZONTAL_SCALING: Final = "HorizontalScaling"

ConfigurationReason = Literal["InvalidConfiguration", "ConfigurationInForce"]
"""Reasons of the condition ConfigurationValid."""
_INVALID: Final[ConfigurationReason] = "InvalidConfiguration"
_IN_FORCE: Final[ConfigurationReason] = "ConfigurationInForce"

# An estimation alone is written when a value has moved by more than this, or was not written for so long.
ESTIMATION_MOVE: Final = Decimal("0.1")
ESTIMATION_AGE: Final = 3600.0

__all__ = [
    "CONFIGURATION_VALID",
    "ESTIMATION_AGE",
    "ESTIMATION_MOVE",
    "HORIZONTAL_SCALING",
    "RECOMMENDATION_PROVIDED",
    "Condition",
    "ConfigurationReason",
    "configuration_condition",
    "find_condition",
    "merge_conditions",
    "status_patch",
    "wanted_status",
]


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
    updates = [
        *_provided(live.status, verdict),
        *_preallocated(live.status, verdict),
        *availability_condition(live.status, verdict.usage),
        *(scaler_condition(live.status, verdict.consultation) if verdict.decision is not None else ()),
        *conditions,
    ]
    if updates:
        wanted["conditions"] = merge_conditions(live.status.get("conditions") or (), updates, now)
    if verdict.recommendation is not None:
        wanted["recommendation"] = verdict.recommendation.to_json()
    if verdict.decision is not None:
        wanted["estimation"] = {**_kept(live.status, verdict.decision), **_estimation(verdict)}
        if not wanted["estimation"]:
            del wanted["estimation"]
        wanted.pop("activeCronScalingRule", None)
        if verdict.configuration.rule is not None:
            wanted["activeCronScalingRule"] = rule_to_json(verdict.configuration.rule)
    return {**wanted, "appliedRecommendedReplicas": applied, "observedGeneration": live.metadata.generation}


def configuration_condition(live: Status, problems: Sequence[str]) -> Iterator[Condition]:
    """The condition ConfigurationValid: there while something is wrong, and ever after."""
    if problems:
        yield Condition(CONFIGURATION_VALID, _INVALID, "; ".join(problems), status=False)
    elif find_condition(live, CONFIGURATION_VALID) is not None:
        message = "The configuration is in force"
        yield Condition(CONFIGURATION_VALID, _IN_FORCE, message, status=True)


def _provided(live: Status, verdict: Verdict) -> Iterator[Condition]:
    """The condition RecommendationProvided, if it has anything new to say.

    Once there is a recommendation, the condition tells how it came about until the next one.
    """
    decision, there = verdict.decision, find_condition(live, RECOMMENDATION_PROVIDED)
    explains = there is not None and there.get("status") == "True" and verdict.recommendation is not None
    if decision is not None and (decision.changed or not explains):
        provided = verdict.recommendation is not None
        yield Condition(RECOMMENDATION_PROVIDED, decision.reason, decision.message, status=provided)


def _preallocated(live: Status, verdict: Verdict) -> Iterator[Condition]:
    """The condition VramPreallocated: there once VRAM was left alone, and told again only for another reason.

    The shares in its message are those of the time at which it was found out.
    """
    ruling, there = verdict.preallocation, find_condition(live, VRAM_LEFT_ALONE)
    if ruling is None:
        return
    status = "True" if ruling.holds else "False"
    if there is None or (there.get("status"), there.get("reason")) != (status, ruling.reason):
        yield Condition(VRAM_LEFT_ALONE, ruling.reason, ruling.message, status=ruling.holds)


def _kept(live: Status, decision: Decision) -> dict[str, Any]:
    """What stays of an estimation for as long as the recommendation rests on it, as after a restart.

    It tells the next pass which resources usage has spoken for.
    """
    written = live.get("estimation") or {}
    return {resource: said for resource, said in written.items() if resource in decision.measured}


def _estimation(verdict: Verdict) -> dict[str, Any]:
    external = {SOURCE: EXTERNAL_SCALER}
    advised = verdict.consultation.advice.resources
    return {
        resource.value: {
            "target": format_amount(resource, estimate.target),
            "lowerBound": format_amount(resource, estimate.lower_bound),
            "upperBound": format_amount(resource, estimate.upper_bound),
            "confidence": f"{estimate.confidence:.3g}",
            **(external if resource in advised else {}),
        }
        for resource, estimate in verdict.estimates.items()
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
    return age >= ESTIMATION_AGE or _has_moved(live.get("estimation"), wanted.get("estimation"))


def _has_moved(old: object, new: object) -> bool:
    """Whether a target or bound of the new estimation differs from the old one by more than a tenth."""
    if old == new:
        return False
    if isinstance(new, Mapping):
        known = old if isinstance(old, Mapping) else {}
        # Confidence grows for ever; where that means anything it moves the bounds.
        return any(_has_moved(known.get(key), new[key]) for key in new.keys() - {"confidence"})
    before, after = _number(old), _number(new)
    if before is None or after is None:
        return old != new
    return abs(after - before) > ESTIMATION_MOVE * abs(before)


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
