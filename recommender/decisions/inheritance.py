"""What a workload that somebody deleted by mistake leaves to the one that is made in its place.

The last decision stands in the status, which goes with the object. Without it usage that is within its bounds
would be taken for a reason to recommend nothing, or something else than pods run with.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from recommender.keys import WorkloadKey, key_of
from vgpu.kube.objects import CustomObject

# What a status of our own has, whether or not it recommends anything.
_OWN: Final = frozenset({"recommendation", "observedGeneration"})


class Inheritance:
    """Statuses of workloads that went while their pods run, until those that follow have their own."""

    def __init__(self) -> None:
        self._left: dict[WorkloadKey, Mapping[str, Any]] = {}

    def leave(self, key: WorkloadKey, status: Mapping[str, Any]) -> None:
        """Keep the status of a workload that was deleted; one without a recommendation says nothing."""
        if "recommendation" in status:
            self._left[key] = status

    def as_heir(self, live: CustomObject) -> CustomObject:
        """A workload with the status to judge it by: its predecessor's as long as it has none."""
        if not self._left:
            return live
        key = key_of(live.metadata)
        if live.status.keys() & _OWN:
            self._left.pop(key, None)
        left = self._left.get(key)
        return live if left is None else msgspec.structs.replace(live, status=left)

    def forget(self, key: WorkloadKey) -> None:
        """Drop what a workload has left whose pods are gone too."""
        self._left.pop(key, None)
