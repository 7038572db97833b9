"""Between the external scalers and the decisions: how things stand with a workload's scaler."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Protocol

from recommender.decisions.conditions import Condition, Status, find_condition
from recommender.decisions.external import NO_ADVICE, Advice
from recommender.decisions.standing import Published
from recommender.keys import WorkloadKey
from vgpu.api import WorkloadSpec
from vgpu.kube.objects import CustomObject
from vgpu.quantities import QuantityError
from vgpu.slices import Amounts, Resource, parse_amount

EXTERNAL_SCALER_AVAILABLE: Final = "ExternalScalerAvailable"
ScalerReason = Literal["Answered", "NotAllowed", "SecretUnusable", "Unreachable", "InvalidAnswer", "Disabled"]
"""Of this condition."""
SOURCE: Final = "source"
"""The field of an estimation in the status that tells where it is from; one that is from usage has none."""
EXTERNAL_SCALER: Final = "ExternalScaler"
"""What stands in it."""


@dataclass(frozen=True, slots=True)
class Consultation:
    """What is known of a workload's external scaler at one time.

    Attributes:
        advice: what it recommends, while that counts.
        condition: how things stand with it; None when there is nothing to tell.
        asked: whether it is one that is asked; what it has recommended before stays only then.
    """

    advice: Advice = NO_ADVICE
    condition: Condition | None = None
    asked: bool = False


NOT_ASKED: Final = Consultation()


class Advisor(Protocol):
    """Knows what external scalers say."""

    def consult(self, live: CustomObject, spec: WorkloadSpec, now: float) -> Consultation:
        """What the external scaler of a workload says; one that is not known yet will be asked."""
        ...

    def forget(self, key: WorkloadKey) -> None:
        """Drop a workload that is no more."""
        ...


class NoAdvisor:
    """There are no external scalers."""

    def consult(self, live: CustomObject, spec: WorkloadSpec, now: float) -> Consultation:
        """Nothing."""
        del live, spec, now
        return NOT_ASKED

    def forget(self, key: WorkloadKey) -> None:
        """Nothing is known of any."""


def scaler_condition(live: Status, consultation: Consultation) -> list[Condition]:
    """The condition ExternalScalerAvailable: there while a scaler is configured, and ever after."""
    if consultation.condition is not None:
        return [consultation.condition]
    if consultation.asked or find_condition(live, EXTERNAL_SCALER_AVAILABLE) is None:
        return []
    return [Condition(EXTERNAL_SCALER_AVAILABLE, "Disabled", "No external scaler is enabled", status=False)]


def without(
    published: Published, left_alone: Collection[Resource], status: Status, consultation: Consultation
) -> Published:
    """What was decided last, without what nothing stands behind any more.

    Args:
        published: what was decided last.
        left_alone: the resources of which usage means nothing.
        status: tells what of it an external scaler has recommended. As long as that is asked, it stays.
        consultation: whether it is.
    """
    former = Advice(advice_in_status(status)).resources
    gone = frozenset(left_alone) - former if consultation.asked else former.union(left_alone)
    return replace(published, measured=published.measured - gone) if gone else published


def advice_in_status(status: Mapping[str, Any]) -> Amounts:
    """What an external scaler recommended last, over a restart; nothing where that cannot be read."""
    amounts = Amounts()
    estimation = status.get("estimation")
    for resource in Resource:
        entry = estimation.get(resource.value) if isinstance(estimation, Mapping) else None
        if isinstance(entry, Mapping) and entry.get(SOURCE) == EXTERNAL_SCALER:
            amounts = amounts.replace(resource, _amount(resource, entry.get("target")))
    return amounts


def _amount(resource: Resource, written: object) -> int | None:
    try:
        return parse_amount(resource, written) or None
    except QuantityError:
        return None
