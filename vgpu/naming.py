"""How a pod finds its TensorFusionWorkload: by the name of the controller at the root of its owners.

A workload outlives the pods and the rollouts of its owner, so its name is made from nothing that a rollout
changes.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vgpu import annotations as keys

POD_TEMPLATE_HASH_LABEL = "pod-template-hash"

# Object names are DNS subdomains of at most 253 characters (RFC 1123).
MAX_NAME_LENGTH = 253
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_DIGEST_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Owner:
    """An owner reference that is the object's controller."""

    api_version: str
    kind: str
    name: str
    uid: str


def _no_owner(_job_name: str) -> Owner | None:
    return None


def is_object_name(name: str) -> bool:
    """Whether Kubernetes takes this as the name of an object."""
    return len(name) <= MAX_NAME_LENGTH and _SUBDOMAIN.fullmatch(name) is not None


def workload_name(
    *,
    pod_name: str | None,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    controller: Owner | None,
    job_owner: Callable[[str], Owner | None] = _no_owner,
) -> str | None:
    """The name of the workload that a pod belongs to.

    Args:
        pod_name: the pod's own name; None or empty while it only has a generateName.
        labels: the pod's labels.
        annotations: the pod's annotations; one that names the workload wins over everything else.
        controller: the pod's controller, if it has one.
        job_owner: the controller of the Job (of group batch) of this name in the pod's namespace, if any.

    Returns:
        The name, always one that Kubernetes accepts; None for a pod that is left alone: one without an owner
        and a name, or one whose annotation is no object name.
    """
    annotated = annotations.get(keys.WORKLOAD)
    if annotated:
        return annotated if is_object_name(annotated) else None
    if controller is None:
        return pod_name or None
    if _is(controller, "apps", "ReplicaSet"):
        return _of_replica_set(controller, labels)
    if _is(controller, "batch", "Job"):
        return _of_kind(job_owner(controller.name) or controller)
    return _of_kind(controller)


def _is(owner: Owner, group: str, kind: str) -> bool:
    """Whether the owner is Kubernetes' own: others have a Job and a Deployment too (batch.volcano.sh)."""
    return owner.kind == kind and owner.api_version.partition("/")[0] == group


def _of_replica_set(replica_set: Owner, labels: Mapping[str, str]) -> str:
    template_hash = labels.get(POD_TEMPLATE_HASH_LABEL)
    deployment = replica_set.name.removesuffix(f"-{template_hash}") if template_hash else replica_set.name
    # A ReplicaSet that somebody made by hand has no hash in its name: it is its own root.
    return deployment if deployment != replica_set.name else _of_kind(replica_set)


def _of_kind(owner: Owner) -> str:
    if _is(owner, "apps", "Deployment"):
        return owner.name
    suffix = f"-{owner.kind.lower()}"
    name = owner.name + suffix
    if len(name) <= MAX_NAME_LENGTH:
        return name
    return _shortened(owner.name, suffix)


def _shortened(name: str, suffix: str) -> str:
    """The name cut to fit, told apart from others with the same beginning by a digest of the whole."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_LENGTH]
    room = MAX_NAME_LENGTH - len(suffix) - _DIGEST_LENGTH - 1
    return f"{name[:room].rstrip('-.')}-{digest}{suffix}"
