"""How a workload is called inside the recommender, and small readings of object metadata."""

from datetime import UTC, datetime
from typing import Final, NamedTuple

from msgspec.structs import force_setattr

from vgpu.kube.objects import CustomObject, ObjectMeta

_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


class WorkloadKey(NamedTuple):
    """Namespace and name of a TensorFusionWorkload."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class WorkloadMeta(ObjectMeta, frozen=True, gc=False, rename="camel"):
    """Metadata with its key, so that all who keep something of a workload keep one key.

    The copy of the whole object that `kubectl apply` leaves in an annotation is not kept.
    """

    key: WorkloadKey | None = None

    def __post_init__(self) -> None:
        if self.annotations is not None:
            self.annotations.pop(_LAST_APPLIED, None)
        super().__post_init__()
        force_setattr(self, "key", WorkloadKey(self.namespace, self.name))


class Workload(CustomObject, frozen=True, gc=False, rename="camel"):
    """A TensorFusionWorkload as it is kept."""

    metadata: WorkloadMeta = WorkloadMeta()


def key_of(metadata: ObjectMeta) -> WorkloadKey:
    """The key under which an object's namespace and name are kept."""
    known = metadata.key if isinstance(metadata, WorkloadMeta) else None
    return known or WorkloadKey(metadata.namespace, metadata.name)


def to_epoch(text: str) -> float:
    """Seconds since the epoch of a Kubernetes timestamp such as `2025-10-09T09:16:46Z`."""
    return datetime.fromisoformat(text).timestamp()


def to_timestamp(now: float) -> str:
    """A Kubernetes timestamp, UTC, to the second."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
