"""The Kubernetes objects that are read, reduced to the fields that are used.

Everything else in an object is skipped while decoding: that is what keeps a cache of ten thousand pods small.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from vgpu.naming import Owner

MOST_LEVELS: Final = 100
"""How deep the spec or status of a custom resource may be nested: less than code that walks it by recursion
can take, and far more than anything that is meant."""


class OwnerReference(msgspec.Struct, frozen=True, rename="camel"):
    """Who owns an object; at most one owner of an object has `controller` set."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None


class ObjectMeta(msgspec.Struct, frozen=True, rename="camel"):
    """Object metadata. `labels` and `annotations` are None where the object has no such map at all."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    generate_name: str | None = None
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[OwnerReference] | None = None


class PartialObject(msgspec.Struct, frozen=True, rename="camel"):
    """Any object, of which only the metadata matters."""

    metadata: ObjectMeta = ObjectMeta()


class ResourceRequirements(msgspec.Struct, frozen=True, rename="camel"):
    """What a container asks for: resource name to quantity, as written."""

    limits: dict[str, str] | None = None
    requests: dict[str, str] | None = None


class Container(msgspec.Struct, frozen=True, rename="camel"):
    """One container of a pod."""

    name: str = ""
    resources: ResourceRequirements = ResourceRequirements()


class PodResourceClaim(msgspec.Struct, frozen=True, rename="camel"):
    """A dynamic resource allocation claim; pods that have one are left alone."""

    name: str = ""


class PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    """What a pod shall be."""

    node_name: str = ""
    containers: list[Container] | None = None
    resource_claims: list[PodResourceClaim] | None = None


class Condition(msgspec.Struct, frozen=True, rename="camel"):
    """A condition in any object's status."""

    type: str
    status: str
    reason: str | None = None
    message: str | None = None
    last_transition_time: str | None = None


class TerminatedState(msgspec.Struct, frozen=True, rename="camel"):
    """How a container ended."""

    finished_at: str | None = None


class ContainerState(msgspec.Struct, frozen=True, rename="camel"):
    """What a container does; `terminated` is missing while it waits or runs."""

    terminated: TerminatedState | None = None


class ContainerStatus(msgspec.Struct, frozen=True, rename="camel"):
    """One container of a pod as the kubelet sees it."""

    state: ContainerState = ContainerState()


class PodStatus(msgspec.Struct, frozen=True, rename="camel"):
    """What a pod is."""

    phase: str = ""
    start_time: str | None = None
    pod_ip: str = msgspec.field(name="podIP", default="")
    conditions: list[Condition] | None = None
    container_statuses: list[ContainerStatus] | None = None


class Pod(msgspec.Struct, frozen=True, rename="camel"):
    """A pod, as stored or as it stands in an admission review."""

    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class NodeStatus(msgspec.Struct, frozen=True, rename="camel"):
    """What a node offers: resource name to quantity."""

    capacity: dict[str, str] | None = None
    allocatable: dict[str, str] | None = None


class Node(msgspec.Struct, frozen=True, rename="camel"):
    """A node; its labels name the GPU model."""

    metadata: ObjectMeta = ObjectMeta()
    status: NodeStatus = NodeStatus()


class ConfigMap(msgspec.Struct, frozen=True, rename="camel"):
    """A ConfigMap."""

    metadata: ObjectMeta = ObjectMeta()
    data: dict[str, str] | None = None


class LeaseSpec(msgspec.Struct, frozen=True, rename="camel"):
    """Who holds a lease, and for how many seconds after a sign of life; times are by the holder's clock."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(msgspec.Struct, frozen=True, rename="camel"):
    """A `coordination.k8s.io/v1` Lease."""

    metadata: ObjectMeta = ObjectMeta()
    spec: LeaseSpec = LeaseSpec()


class CustomObject(msgspec.Struct, frozen=True, rename="camel"):
    """A TensorFusionWorkload or WorkloadProfile; `vgpu.api` knows what its spec means.

    Its user can nest unknown fields as deep as kube-apiserver lets them; such an object cannot be read.
    """

    metadata: ObjectMeta = ObjectMeta()
    spec: dict[str, Any] = {}
    status: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if _is_deep(self.spec) or _is_deep(self.status):
            raise ValueError(f"its spec or status is nested deeper than {MOST_LEVELS} levels")


class HorizontalPodAutoscaler(msgspec.Struct, frozen=True, rename="camel"):
    """An `autoscaling/v2` HorizontalPodAutoscaler."""

    metadata: ObjectMeta = ObjectMeta()
    spec: dict[str, Any] = {}
    status: dict[str, Any] = {}


def controller_of(metadata: ObjectMeta) -> Owner | None:
    """The owner that manages the object (its reference has `controller: true`), or None."""
    for reference in metadata.owner_references or ():
        if reference.controller:
            return Owner(
                api_version=reference.api_version, kind=reference.kind, name=reference.name, uid=reference.uid
            )
    return None


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(MOST_LEVELS):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return False
    return True


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
