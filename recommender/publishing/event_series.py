"""Kubernetes Events as objects: what happens again becomes a series of one Event, as client-go has it.

The rules are those of client-go's `tools/events` and of kube-apiserver's validation of `events.k8s.io/v1`.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from recommender.publishing.happenings import Happening
from vgpu.annotations import GROUP
from vgpu.kube.objects import ObjectMeta
from vgpu.kube.resources import EVENTS, PODS, WORKLOADS, ResourceType
from vgpu.naming import MAX_NAME_LENGTH

CONTROLLER: Final = f"{GROUP}/vgpu-autoscaler"
"""Who tells, as `reportingController`."""

WINDOW: Final = 360.0
"""Seconds for which an Event waits to happen again, as with client-go; kube-apiserver keeps it for longer."""

_MOST_SERIES: Final = 10_000
_LONGEST_NOTE: Final = 1024
_LONGEST_INSTANCE: Final = 128
_DIGEST_LENGTH: Final = 16
_ELLIPSIS: Final = "..."

_Key = tuple[str, str, Happening]


@dataclass(slots=True)
class Series:
    """One Event, and how often it has happened.

    Attributes:
        happening: what happens.
        regarding: the workload that it happens to, as it was the first time.
        related: the pod that it is about, if it is about one.
        first: when it happened first, in seconds since the epoch.
        last: when it happened last.
        count: how often it has happened.
        created: whether kube-apiserver has been told of it.
        waiting: whether there is something that kube-apiserver is still to be told of.
    """

    happening: Happening
    regarding: ObjectMeta
    related: ObjectMeta | None
    first: float
    last: float
    count: int = 0
    created: bool = False
    waiting: bool = False

    @property
    def name(self) -> str:
        """The Event's name: the same whenever it is sent, and no other's."""
        said = repr((self.regarding.uid, self.related and self.related.uid, self.happening, self.first))
        digest = hashlib.sha256(said.encode(errors="replace")).hexdigest()[:_DIGEST_LENGTH]
        return f"{self.regarding.name[: MAX_NAME_LENGTH - 1 - _DIGEST_LENGTH].rstrip('-.')}.{digest}"

    def body(self, instance: str) -> dict[str, Any]:
        """The object to create.

        Args:
            instance: which process tells.
        """
        kind = self.happening.kind
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": self.name, "namespace": self.regarding.namespace},
            "eventTime": _micro_time(self.first),
            "reportingController": CONTROLLER,
            "reportingInstance": _cut(instance, _LONGEST_INSTANCE),
            "action": kind.action,
            "reason": kind.reason,
            "type": kind.type,
            "note": shortened(self.happening.note),
            "regarding": _reference(WORKLOADS, self.regarding),
            **({"related": _reference(PODS, self.related)} if self.related is not None else {}),
            **(self.patch() if self.count > 1 else {}),
        }

    def patch(self) -> dict[str, Any]:
        """The merge patch that tells how often it has happened by now; only once it has happened twice."""
        return {"series": {"count": self.count, "lastObservedTime": _micro_time(self.last)}}


class SeriesTable:
    """The Events that may happen again soon.

    Args:
        most: how many are remembered; beyond that the one that has not happened for longest is not.
    """

    def __init__(self, most: int = _MOST_SERIES) -> None:
        self._most = most
        # In the order in which they happened last.
        self._series: OrderedDict[_Key, Series] = OrderedDict()

    def __len__(self) -> int:
        return len(self._series)

    def observe(
        self, workload: ObjectMeta, happening: Happening, *, related: ObjectMeta | None, now: float
    ) -> Series:
        """Take in that something has happened.

        Args:
            workload: to which workload.
            happening: what.
            related: the pod that it is about, if it is about one.
            now: seconds since the epoch.

        Returns:
            The Event that tells of it: a new one, or one of which this is a repetition.
        """
        self._forget(now)
        key = (workload.uid, related.uid if related is not None else "", happening)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = Series(happening, workload, related, first=now, last=now)
        series.count += 1
        series.last = max(series.last, now)
        self._series.move_to_end(key)
        if len(self._series) > self._most:
            self._series.popitem(last=False)
        return series

    def _forget(self, now: float) -> None:
        while self._series:
            key, oldest = next(iter(self._series.items()))
            if now - oldest.last <= WINDOW:
                return
            del self._series[key]


def shortened(note: str) -> str:
    """A note that kube-apiserver takes: at most 1024 bytes, cut between two words if it has any."""
    if len(note.encode(errors="replace")) <= _LONGEST_NOTE:
        return _cut(note, _LONGEST_NOTE)
    head = _cut(note, _LONGEST_NOTE - len(_ELLIPSIS))
    words = head.rpartition(" ")[0]
    return f"{words if len(words) > len(head) // 2 else head}{_ELLIPSIS}"


def _cut(text: str, most: int) -> str:
    """The beginning of a text, of so many bytes of UTF-8 at most, and without half a character."""
    return text.encode(errors="replace")[:most].decode(errors="ignore")


def _reference(resource: ResourceType, metadata: ObjectMeta) -> dict[str, str]:
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "namespace": metadata.namespace,
        "name": metadata.name,
        "uid": metadata.uid,
        "resourceVersion": metadata.resource_version,
    }


def _micro_time(seconds: float) -> str:
    """A Kubernetes timestamp, UTC, to the microsecond."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
