"""What of a wanted status does not stand in the object: withheld by us, or pruned by the operator's CRD.

Decisions go on from the last recommendation, and what is written is what has changed: both need the status
as it was wanted. So beside TensorFusion's operator what came back otherwise than it was sent
is remembered. That a field is pruned is learned from one write, for all workloads.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

import msgspec

from recommender.decisions.conditions import Status
from recommender.keys import WorkloadKey, key_of
from vgpu.kube.objects import CustomObject

# A status that kube-apiserver refuses is sent again when its object has changed, or after so many seconds.
PATIENCE: Final = 3600.0
_RECOMMENDATION: Final = "recommendation"


class _Absent(msgspec.Struct, frozen=True):
    """In place of a value: the field is not there."""


_ABSENT: Final = _Absent()


class Veil(Protocol):
    """What lies between the status that is wanted and the one that stands in the object."""

    def recall(self, live: CustomObject) -> CustomObject:
        """A workload with what is remembered of its status in it."""
        ...

    def lift(self, live: CustomObject, wanted: Status) -> tuple[Status, Status]:
        """The status as it stands in a recalled workload, and as it should stand there."""
        ...

    def in_step(self, live: CustomObject, wanted: Status) -> Status:
        """Take note that nothing is to be written; the status as decisions see it from now on."""
        ...

    def written(self, live: CustomObject, wanted: Status, stored: Status) -> None:
        """Take note of what came back of a status that was written."""
        ...

    def waits(self, live: CustomObject, now: float) -> bool:
        """Whether a write is of no use before the object has changed."""
        ...

    def refused(self, live: CustomObject, now: float) -> bool:
        """Take note that kube-apiserver refuses a status; returns whether that passes by itself."""
        ...

    def forget(self, key: WorkloadKey) -> None:
        """Drop a workload that is no more."""
        ...


class NoVeil:
    """The custom resource definition is ours: what is wanted is what stands there."""

    def recall(self, live: CustomObject) -> CustomObject:
        """The workload itself."""
        return live

    def lift(self, live: CustomObject, wanted: Status) -> tuple[Status, Status]:
        """Both as they are."""
        return live.status, wanted

    def in_step(self, live: CustomObject, wanted: Status) -> Status:
        """The status as it stands."""
        del wanted
        return live.status

    def written(self, live: CustomObject, wanted: Status, stored: Status) -> None:
        """Nothing needs to be remembered."""

    def waits(self, live: CustomObject, now: float) -> bool:
        """Nothing is waited for."""
        del live, now
        return False

    def refused(self, live: CustomObject, now: float) -> bool:
        """Nobody else is about to change anything."""
        del live, now
        return False

    def forget(self, key: WorkloadKey) -> None:
        """Nothing was remembered."""


class CompanionVeil:
    """Beside TensorFusion's operator.

    Args:
        recommends_only: whether nothing of a workload's recommendation is applied: the operator's own
            autoscaler would apply what it finds in the status.
    """

    def __init__(self, recommends_only: Callable[[WorkloadKey], bool]) -> None:
        self._recommends_only = recommends_only
        self._pruned: set[str] = set()
        # By field: what was wanted, and what stands there instead.
        self._remembered: dict[WorkloadKey, dict[str, tuple[object, object]]] = {}
        self._refused: dict[WorkloadKey, tuple[str, float]] = {}

    def recall(self, live: CustomObject) -> CustomObject:
        """A workload with what is remembered of its status in it, as far as the rest still stands."""
        remembered = self._remembered.get(key_of(live.metadata))
        if not remembered:
            return live
        status = dict(live.status)
        for field, (wanted, stands) in remembered.items():
            if status.get(field, _ABSENT) == stands:
                status[field] = wanted
        return msgspec.structs.replace(live, status=status)

    def lift(self, live: CustomObject, wanted: Status) -> tuple[Status, Status]:
        """The status without what is only remembered, and what of the wanted one is to stand there."""
        key, stands, shown = key_of(live.metadata), dict(live.status), dict(wanted)
        for field, (remembered, instead) in self._remembered.get(key, {}).items():
            _put(stands, field, instead, where=remembered)
            if instead is not _ABSENT:
                _put(shown, field, instead, where=remembered)
        for field in self._hidden(key):
            shown.pop(field, None)
        return stands, shown

    def in_step(self, live: CustomObject, wanted: Status) -> Status:
        """Remember what is wanted of the fields that do not stand there."""
        key = key_of(live.metadata)
        stands, _ = self.lift(live, wanted)
        remembered = dict(self._remembered.get(key, {}))
        for field in self._hidden(key):
            remembered.pop(field, None)
            if field in wanted:
                remembered[field] = (wanted[field], _ABSENT)
        self._remember(key, remembered)
        return {**stands, **{field: value for field, (value, _) in remembered.items()}}

    def written(self, live: CustomObject, wanted: Status, stored: Status) -> None:
        """Remember each field that came back otherwise than it was sent."""
        key = key_of(live.metadata)
        _, shown = self.lift(live, wanted)
        self._refused.pop(key, None)
        self._pruned.update(field for field in shown if field not in stored)
        remembered = dict(_otherwise(shown, stored))
        for field in self._hidden(key):
            if field in wanted:
                remembered[field] = (wanted[field], _ABSENT)
        self._remember(key, remembered)

    def waits(self, live: CustomObject, now: float) -> bool:
        """Whether this version of the object was refused a status, and not long ago."""
        version, since = self._refused.get(key_of(live.metadata), ("", 0.0))
        return version == live.metadata.resource_version and now - since < PATIENCE

    def refused(self, live: CustomObject, now: float) -> bool:
        """A status that lacks what the operator's CRD requires: it is waited for the operator's own write."""
        self._refused[key_of(live.metadata)] = (live.metadata.resource_version, now)
        return True

    def forget(self, key: WorkloadKey) -> None:
        """Drop a workload that is no more."""
        self._remembered.pop(key, None)
        self._refused.pop(key, None)

    def _hidden(self, key: WorkloadKey) -> Iterator[str]:
        yield from self._pruned
        if _RECOMMENDATION not in self._pruned and self._recommends_only(key):
            yield _RECOMMENDATION

    def _remember(self, key: WorkloadKey, remembered: dict[str, tuple[object, object]]) -> None:
        if remembered:
            self._remembered[key] = remembered
        else:
            self._remembered.pop(key, None)


def _put(status: dict[str, Any], field: str, value: object, *, where: object) -> None:
    """Set a field, or take it away, where it has a value."""
    if status.get(field, _ABSENT) != where:
        return
    if value is _ABSENT:
        del status[field]
    else:
        status[field] = value


def _otherwise(
    shown: Mapping[str, Any], stored: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[object, object]]]:
    for field, value in shown.items():
        if stored.get(field, _ABSENT) != value:
            yield field, (value, stored.get(field, _ABSENT))
