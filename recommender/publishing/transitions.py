"""What has happened to a workload, read off its status before and after a write.

Nothing is remembered for it: after a restart, a change of leader or a conflict the status itself tells what
was told before.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from recommender.decisions.availability import METRICS_AVAILABLE, AvailabilityReason
from recommender.decisions.status import (
    CONFIGURATION_VALID as CONFIGURATION,
)
from recommender.decisions.status import (
    HORIZONTAL_SCALING,
    RECOMMENDATION_PROVIDED,
    find_condition,
)
from recommender.histories.preallocation import VRAM_LEFT_ALONE
from recommender.publishing.happenings import (
    CONFIGURATION_INVALID,
    CONFIGURATION_VALID,
    CRON_RULE_ENDED,
    CRON_RULE_STARTED,
    HORIZONTAL_SCALING_BLOCKED,
    HORIZONTAL_SCALING_RESTORED,
    HPA_CREATED,
    HPA_DELETED,
    RECOMMENDATION_CHANGED,
    USAGE_BACK,
    USAGE_MISSING,
    VRAM_FOLLOWS_USE,
    VRAM_PREALLOCATION_FOUND,
    Happening,
    Kind,
)
from recommender.publishing.horizontal import HorizontalReason
from vgpu.quantities import QuantityError
from vgpu.slices import Amounts, Resource, VgpuSlice, format_amount

Status = Mapping[str, Any]

_MISSING: Final[AvailabilityReason] = "NoSamples"
_OFF: Final[HorizontalReason] = "Disabled"
# It could not be created, changed or deleted: whatever there was is still there.
_FAILED: Final[HorizontalReason] = "AutoscalerFailed"
# For these reasons an autoscaler of ours is deleted.
_WITHOUT: Final[frozenset[HorizontalReason]] = frozenset(
    {_OFF, "AnotherWorkload", "NotScalable", "ForeignAutoscaler", "ForeignAutoscalerOnCpu"}
)


def transitions(before: Status, after: Status) -> Iterator[Happening]:
    """What a write of a workload's status makes known.

    Args:
        before: the status that was written over.
        after: the status as it is stored now.
    """
    yield from _rules(before, after)
    yield from _recommendation(before, after)
    yield from _configuration(before, after)
    yield from _horizontal(before, after)
    yield from _preallocation(before, after)
    yield from _usage(before, after)


def _rules(before: Status, after: Status) -> Iterator[Happening]:
    old, new = _mapping(before, "activeCronScalingRule"), _mapping(after, "activeCronScalingRule")
    if old.get("name") == new.get("name"):
        return
    if old:
        yield Happening(CRON_RULE_ENDED, f'Cron scaling rule "{old.get("name")}" has ended')
    if new:
        window = f'from "{new.get("start")}" to "{new.get("end")}"'
        zone = f" ({new['timeZone']})" if new.get("timeZone") else ""
        note = f'Cron scaling rule "{new.get("name")}" has started: active {window}{zone}'
        yield Happening(CRON_RULE_STARTED, note)


def _recommendation(before: Status, after: Status) -> Iterator[Happening]:
    if before.get("recommendation") == after.get("recommendation"):
        return  # as with most writes: parsing takes longer than all the rest
    old, new = _slice(before), _slice(after)
    if new == VgpuSlice() or old == new:
        return
    changes = (_change(resource, old, new) for resource in Resource)
    told = "; ".join(change for change in changes if change)
    why = _condition(after, RECOMMENDATION_PROVIDED).get("message")
    yield Happening(RECOMMENDATION_CHANGED, f"{told}: {why}" if why else told)


def _change(resource: Resource, old: VgpuSlice, new: VgpuSlice) -> str:
    """How request and limit of a resource have changed; empty where they have not."""
    parts = {
        "request": _from_to(resource, old.requests, new.requests),
        "limit": _from_to(resource, old.limits, new.limits),
    }
    changed = ", ".join(f"{name} {change}" for name, change in parts.items() if change)
    return f"{resource.upper()} {changed}" if changed else ""


def _from_to(resource: Resource, old: Amounts, new: Amounts) -> str:
    before, after = old.get(resource), new.get(resource)
    if before == after:
        return ""
    shown = "none" if after is None else format_amount(resource, after)
    return shown if before is None else f"{format_amount(resource, before)} -> {shown}"


def _configuration(before: Status, after: Status) -> Iterator[Happening]:
    old, new = _condition(before, CONFIGURATION), _condition(after, CONFIGURATION)
    if new.get("status") == "False" and _told(old) != _told(new):
        yield _as_told(CONFIGURATION_INVALID, new)
    elif old.get("status") == "False" and new.get("status") == "True":
        yield _as_told(CONFIGURATION_VALID, new)


def _horizontal(before: Status, after: Status) -> Iterator[Happening]:
    old, new = _condition(before, HORIZONTAL_SCALING), _condition(after, HORIZONTAL_SCALING)
    scaled, scales = old.get("status") == "True", new.get("status") == "True"
    if scales and not scaled:
        kind = HORIZONTAL_SCALING_RESTORED if old.get("reason") == _FAILED else HPA_CREATED
        yield _as_told(kind, new)
    if scaled and not scales and new.get("reason") in _WITHOUT:
        yield _as_told(HPA_DELETED, new)
    blocked = new.get("status") == "False" and new.get("reason") != _OFF
    if blocked and (scaled or old.get("reason") != new.get("reason")):
        yield _as_told(HORIZONTAL_SCALING_BLOCKED, new)


def _preallocation(before: Status, after: Status) -> Iterator[Happening]:
    old, new = _condition(before, VRAM_LEFT_ALONE), _condition(after, VRAM_LEFT_ALONE)
    left_alone, leaves_alone = old.get("status") == "True", new.get("status") == "True"
    if leaves_alone and not left_alone:
        yield _as_told(VRAM_PREALLOCATION_FOUND, new)
    if left_alone and not leaves_alone and new:
        yield _as_told(VRAM_FOLLOWS_USE, new)


def _usage(before: Status, after: Status) -> Iterator[Happening]:
    """Usage of this workload alone: an outage of the metric source is not told of each."""
    missed, misses = (
        _condition(each, METRICS_AVAILABLE).get("reason") == _MISSING for each in (before, after)
    )
    new = _condition(after, METRICS_AVAILABLE)
    if misses and not missed:
        yield _as_told(USAGE_MISSING, new)
    if missed and new.get("status") == "True":
        yield _as_told(USAGE_BACK, new)


def _as_told(kind: Kind, condition: Status) -> Happening:
    return Happening(kind, str(condition.get("message") or condition.get("reason") or ""))


def _told(condition: Status) -> tuple[object, object]:
    return condition.get("status"), condition.get("message")


def _condition(status: Status, type_: str) -> Status:
    return find_condition(status, type_) or {}


def _mapping(status: Status, key: str) -> Status:
    found = status.get(key)
    return found if isinstance(found, Mapping) else {}


def _slice(status: Status) -> VgpuSlice:
    """The recommendation; one that somebody has written and that cannot be read is none."""
    try:
        return VgpuSlice.from_json(_mapping(status, "recommendation"))
    except QuantityError:
        return VgpuSlice()
