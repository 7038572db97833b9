"""How a workload is called inside the recommender, and small readings of object metadata."""

from datetime import UTC, datetime
from typing import NamedTuple

from vgpu.kube.objects import ObjectMeta


class WorkloadKey(NamedTuple):
    """Namespace and name of a TensorFusionWorkload."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def key_of(metadata: ObjectMeta) -> WorkloadKey:
    """The key under which an object's namespace and name are kept."""
    return WorkloadKey(metadata.namespace, metadata.name)


def to_epoch(text: str) -> float:
    """Seconds since the epoch of a Kubernetes timestamp such as `2025-10-09T09:16:46Z`."""
    return datetime.fromisoformat(text).timestamp()


def to_timestamp(now: float) -> str:
    """A Kubernetes timestamp, UTC, to the second."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
