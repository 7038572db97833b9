"""Conditions in a status: ours are set, those of others stay as and where they are."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from recommender.keys import to_timestamp

# etcd holds a condition for ever: an essay belongs into the log.
_MAX_MESSAGE: Final = 1024

Status = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, without the time: that follows from what was there before.

    Its status is None where nobody can know: `Unknown`.
    """

    type: str
    reason: str
    message: str
    status: bool | None

    def to_json(self, transition: str) -> dict[str, str]:
        """The condition as documented, with the time at which its status changed."""
        return {
            "lastTransitionTime": transition,
            "message": self.message[:_MAX_MESSAGE],
            "reason": self.reason,
            "status": self.word(self.status),
            "type": self.type,
        }

    @staticmethod
    def word(status: bool | None) -> str:  # noqa: FBT001  one of three values, not a switch
        """How a status is written."""
        return "Unknown" if status is None else str(status)


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
        status = update.word(update.status)
        stays = old is not None and old.get("status") == status and old.get("lastTransitionTime")
        changed = update.to_json(stays or to_timestamp(now))
        merged[update.type] = {**(old or {}), **changed}
    return list(merged.values())
