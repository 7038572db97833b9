"""What is written before all else: what pods and autoscalers go by, and what a person waits for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from recommender.decisions.conditions import Status

# Each alone may be due for all workloads at once, as when the metric source is back.
_UNHURRIED_FIELDS: Final = frozenset({"estimation", "observedGeneration"})
_UNHURRIED_CONDITIONS: Final = frozenset({"MetricsAvailable"})


@dataclass(frozen=True, slots=True)
class Due:
    """Something of a workload is to be written.

    Attributes:
        urgent: whether it comes before what is not.
    """

    urgent: bool


def is_urgent(status: Status, patch: Mapping[str, Any]) -> bool:
    """Whether a patch of a status tells more than how usage is doing."""
    if patch.keys() - _UNHURRIED_FIELDS - {"conditions"}:
        return True
    return _weighty(patch.get("conditions", status.get("conditions"))) != _weighty(status.get("conditions"))


def _weighty(conditions: Any) -> list[Any]:  # noqa: ANN401  JSON, as stored
    return [each for each in conditions or () if each.get("type") not in _UNHURRIED_CONDITIONS]
