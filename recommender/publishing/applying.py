"""Server-side apply of an object of ours, in which a person's fields stay a person's."""

import copy
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from recommender.keys import WorkloadKey
from vgpu.annotations import GROUP
from vgpu.kube.client import KubeClient
from vgpu.kube.errors import Conflict
from vgpu.kube.objects import ObjectMeta
from vgpu.kube.ownership import MANAGED_BY, MANAGER
from vgpu.kube.resources import ResourceType
from vgpu.naming import Owner

APPLIED_DIGEST: Final = f"{GROUP}/applied-configuration"
"""Annotation on our objects: digest of what was applied last, so that a restart applies nothing again."""

# What kube-apiserver's conflict message lists: `.spec.minReplicas`, `.spec.rules[name="night"].start`.
_CONFLICTING_FIELD = re.compile(r"\.((?:spec|metadata)[^\s,]*)")


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of an apply.

    Attributes:
        object: the object as kube-apiserver stores it now.
        foreign_fields: the fields that were left to whoever owns them.
    """

    object: Mapping[str, Any]
    foreign_fields: tuple[str, ...]


def owned_object(
    resource: ResourceType, key: WorkloadKey, *, root: Owner, spec: Mapping[str, Any]
) -> dict[str, Any]:
    """The body to apply: owned by the root controller, marked as ours and with the digest of its content."""
    owner = {"apiVersion": root.api_version, "kind": root.kind, "name": root.name, "uid": root.uid}
    content = {"ownerReferences": [{**owner, "controller": True}], "spec": spec}
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": key.name,
            "namespace": key.namespace,
            "labels": {MANAGED_BY: MANAGER},
            "annotations": {APPLIED_DIGEST: _digest(content)},
            "ownerReferences": content["ownerReferences"],
        },
        "spec": spec,
    }


def foreign_object(resource: ResourceType, key: WorkloadKey, *, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The body to apply to an object that a person has made: nothing that would make it ours."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": key.name, "namespace": key.namespace},
        "spec": spec,
    }


def is_up_to_date(live: ObjectMeta, body: Mapping[str, Any]) -> bool:
    """Whether exactly this body, of `owned_object`, was what was applied last."""
    wanted = body["metadata"]["annotations"][APPLIED_DIGEST]
    [owner] = body["metadata"]["ownerReferences"]
    return (live.annotations or {}).get(APPLIED_DIGEST) == wanted and is_owned_by(live, owner["uid"])


def is_owned_by(live: ObjectMeta, uid: str) -> bool:
    """Whether garbage collection takes the object with the owner of this UID."""
    return any(reference.uid == uid for reference in live.owner_references or ())


async def apply_politely(client: KubeClient, resource: ResourceType, body: Mapping[str, Any]) -> Applied:
    """Apply without force; a field that somebody else owns with another value is left out.

    Raises:
        Conflict: the fields in conflict cannot be told from kube-apiserver's message.
        KubeError: kube-apiserver does not answer or refuses the object.
    """
    return await _apply(client, resource, copy.deepcopy(dict(body)), foreign=())


async def _apply(
    client: KubeClient, resource: ResourceType, body: dict[str, Any], *, foreign: tuple[str, ...]
) -> Applied:
    metadata = body["metadata"]
    try:
        stored = await client.apply(
            resource, metadata["name"], body, namespace=metadata["namespace"], field_manager=MANAGER
        )
    except Conflict as error:
        found = tuple(_CONFLICTING_FIELD.findall(error.message))
        # Every round names a field that no round before did, so this ends.
        if set(found) <= set(foreign):
            raise
        for field in found:
            _remove(body, field)
        return await _apply(client, resource, body, foreign=(*foreign, *found))
    return Applied(stored, foreign)


def _remove(part: dict[str, Any], field: str) -> None:
    """Take one field out; of a list with a selector in the path, the whole list.

    Names of labels and annotations have dots in them too: so a name is what the object has, not what stands
    between two dots.
    """
    name = next((name for name in part if field == name or field.startswith((f"{name}.", f"{name}["))), None)
    if name is None:
        return
    rest = field.removeprefix(name).removeprefix(".")
    if rest and isinstance(part[name], dict):
        _remove(part[name], rest)
    if not rest or not isinstance(part[name], dict) or not part[name]:
        del part[name]


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
