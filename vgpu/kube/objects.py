"""The Kubernetes objects that are read, reduced to the fields that are used.

Everything else in an object is skipped while decoding: that is what keeps a cache of ten thousand pods small.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from sys import intern
from typing import Any, Final

import msgspec
from msgspec.structs import force_setattr

from vgpu.kube.documents import Document
from vgpu.naming import Owner

MOST_LEVELS: Final = 100
"""How deep the spec or status of a custom resource may be nested: less than code that walks it by recursion
can take, and far more than anything that is meant."""

# Labels and annotations are kept once for all objects that have the same, if they come close together.
_MOST_SHARED: Final = 4096


def _intern(struct: msgspec.Struct, *names: str) -> None:
    """Keep once what thousands of objects have in common."""
    for name in names:
        force_setattr(struct, name, intern(getattr(struct, name)))


def shared_texts(texts: dict[str, str] | None) -> dict[str, str] | None:
    """These labels or annotations, or equal ones that other objects have too."""
    return texts and _shared_texts(tuple(texts.items()))


@lru_cache(maxsize=_MOST_SHARED)
def _shared_texts(items: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return dict(items)


class OwnerReference(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Who owns an object; at most one owner of an object has `controller` set."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None

    def __post_init__(self) -> None:
        _intern(self, "api_version", "kind")


class ObjectMeta(msgspec.Struct, frozen=True, gc=False, rename="camel"):
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

    def __post_init__(self) -> None:
        _intern(self, "namespace")
        force_setattr(self, "labels", shared_texts(self.labels))
        force_setattr(self, "annotations", shared_texts(self.annotations))


class PartialObject(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Any object, of which only the metadata matters."""

    metadata: ObjectMeta = ObjectMeta()


class PodResourceClaim(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A dynamic resource allocation claim; pods that have one are left alone."""

    name: str = ""


class PodSpec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What a pod shall be."""

    node_name: str = ""
    resource_claims: list[PodResourceClaim] | None = None

    def __post_init__(self) -> None:
        _intern(self, "node_name")


class WaitingState(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Why a container does not run yet."""

    reason: str | None = None


class TerminatedState(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """How a container ended."""

    finished_at: str | None = None
    exit_code: int = 0
    reason: str | None = None


class ContainerState(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What a container does: it waits, or has ended; neither is there while it runs."""

    waiting: WaitingState | None = None
    terminated: TerminatedState | None = None


_NO_STATE: Final = ContainerState()


class ContainerStatus(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One container of a pod as the kubelet sees it; `last_state` is how it ended before it was restarted."""

    name: str = ""
    ready: bool = False
    restart_count: int = 0
    state: ContainerState = _NO_STATE
    last_state: ContainerState = _NO_STATE


class PodStatus(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What a pod is."""

    phase: str = ""
    start_time: str | None = None
    container_statuses: list[ContainerStatus] | None = None

    def __post_init__(self) -> None:
        _intern(self, "phase")


class Pod(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A pod, as stored or as it stands in an admission review."""

    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class NodeStatus(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What a node offers: resource name to quantity."""

    capacity: dict[str, str] | None = None
    allocatable: dict[str, str] | None = None


class Node(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A node; its labels name the GPU model."""

    metadata: ObjectMeta = ObjectMeta()
    status: NodeStatus = NodeStatus()


class ConfigMap(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A ConfigMap; texts are in `data`, bytes in `binary_data`."""

    metadata: ObjectMeta = ObjectMeta()
    data: dict[str, str] | None = None
    binary_data: dict[str, bytes] | None = None


class LeaseSpec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Who holds a lease, and for how many seconds after a sign of life; times are by the holder's clock."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A `coordination.k8s.io/v1` Lease."""

    metadata: ObjectMeta = ObjectMeta()
    spec: LeaseSpec = LeaseSpec()


class CustomObject(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A TensorFusionWorkload or WorkloadProfile; `vgpu.api` knows what its spec means.

    Its user can nest unknown fields as deep as kube-apiserver lets them; such an object cannot be read.
    """

    metadata: ObjectMeta = ObjectMeta()
    spec: Mapping[str, Any] = {}
    status: Mapping[str, Any] = {}

    def __post_init__(self) -> None:
        spec, status = Document(self.spec), Document(self.status)
        if _is_deep(spec) or _is_deep(status):
            raise ValueError(f"its spec or status is nested deeper than {MOST_LEVELS} levels")
        force_setattr(self, "spec", spec.shared())
        force_setattr(self, "status", status)


class HorizontalPodAutoscaler(msgspec.Struct, frozen=True, gc=False, rename="camel"):
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


def _is_deep(document: Document) -> bool:
    if document.brackets < MOST_LEVELS:  # nearly always
        return False
    level: list[object] = [dict(document)]
    for _ in range(MOST_LEVELS):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return False
    return True


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
