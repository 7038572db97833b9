"""The store behind the fake kube-apiserver: versions, conflicts, field ownership and a history to watch.

Simpler than the real thing in these ways: lists are atomic (as in a CRD without list types), there is no
admission and no garbage collection, objects conform to a schema only where `schemas` has one, and every
resource type has a status subresource.
"""

import copy
import itertools
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vgpu.kube.resources import ResourceType

Object = dict[str, Any]
Path = tuple[str, ...]
# Who owns a field: manager, operation (Apply or Update) and subresource, as in managedFields.
Manager = tuple[str, str, str]

_SERVER_METADATA = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields")
_UNOWNED = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")} | {
    ("metadata", key) for key in _SERVER_METADATA
}


class Refused(Exception):
    """An answer with an error code."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


@dataclass(frozen=True)
class Change:
    """One step of the history; `old` is None when the object was created, `new` when it was deleted."""

    revision: int
    resource: ResourceType
    old: Object | None
    new: Object | None


@dataclass
class _Stored:
    object: Object
    owners: dict[Path, set[Manager]]


class KubeStore:
    """Objects of all types under one revision counter."""

    def __init__(self) -> None:
        self.revision = 100
        self.compacted = 0
        self.history: list[Change] = []
        self.schemas: dict[ResourceType, Object] = {}
        self._stored: dict[tuple[ResourceType, str, str], _Stored] = {}
        self._suffixes = itertools.count()

    def find(self, resource: ResourceType, namespace: str, name: str) -> Object | None:
        found = self._stored.get((resource, namespace, name))
        return copy.deepcopy(found.object) if found else None

    def read(self, resource: ResourceType, namespace: str, name: str) -> Object:
        return copy.deepcopy(self._existing(resource, namespace, name).object)

    def list(self, resource: ResourceType, namespace: str = "") -> list[Object]:
        keys = sorted(key[1:] for key in self._stored if key[0] == resource)
        return [self.read(resource, *key) for key in keys if namespace in ("", key[0])]

    def changes(self, resource: ResourceType, after: int) -> Iterator[Change]:
        """The changes of one type after a revision; refused with 410 when they are no longer known."""
        if after < self.compacted:
            raise Refused(410, "Expired", f"too old resource version: {after} ({self.compacted})")
        return (change for change in self.history if change.revision > after and change.resource == resource)

    def compact(self) -> None:
        """Forget the history, so that every older resource version is Gone."""
        self.revision += 1
        self.compacted = self.revision
        self.history.clear()

    def create(
        self,
        resource: ResourceType,
        namespace: str,
        body: Object,
        manager: Manager,
        *,
        with_status: bool = False,
    ) -> Object:
        obj = copy.deepcopy(body)
        metadata = obj.setdefault("metadata", {})
        if not metadata.get("name"):
            if not metadata.get("generateName"):
                raise Refused(422, "Invalid", f"{resource.kind} is invalid: metadata.name: Required value")
            metadata["name"] = f"{metadata['generateName']}{next(self._suffixes):05d}"
        if (resource, namespace, metadata["name"]) in self._stored:
            raise Refused(409, "AlreadyExists", f"{resource.full_name} {metadata['name']!r} already exists")
        if metadata.get("resourceVersion"):
            raise Refused(400, "BadRequest", "resourceVersion should not be set on objects to be created")
        if not with_status:  # only what a test puts in place can say these itself
            obj.pop("status", None)
            metadata.pop("uid", None)
            metadata.pop("creationTimestamp", None)
        obj |= {"apiVersion": resource.api_version, "kind": resource.kind}
        metadata |= {
            "uid": metadata.get("uid") or str(uuid.uuid4()),
            "generation": 1,
            "creationTimestamp": metadata.get("creationTimestamp") or "2026-01-01T00:00:00Z",
            **({"namespace": namespace} if resource.namespaced else {}),
        }
        owners = {path: {manager} for path in leaves(obj)}
        return self._commit(resource, None, _Stored(obj, owners))

    def update(
        self,
        resource: ResourceType,
        namespace: str,
        body: Object,
        manager: Manager,
        *,
        subresource: str | None = None,
        with_status: bool = False,
    ) -> Object:
        """Replace an object (or only its status), with optimistic locking where the body has a version."""
        old = self._existing(resource, namespace, body.get("metadata", {}).get("name", ""))
        _check_version(resource, old.object, body)
        new = _merged(old.object, body, subresource=subresource, with_status=with_status)
        before, after = leaves(old.object), leaves(new)
        owners = {path: set(managers) for path, managers in old.owners.items() if path in after}
        owners |= {path: {manager} for path in after if path not in before or before[path] != after[path]}
        return self._commit(resource, old, _Stored(new, owners))

    def apply(
        self,
        resource: ResourceType,
        namespace: str,
        name: str,
        body: Object,
        manager: Manager,
        *,
        force: bool,
        subresource: str | None = None,
    ) -> Object:
        """Server-side apply: own the fields given, drop those given before, conflict with other owners."""
        old = self._stored.get((resource, namespace, name))
        if old is None and not subresource:
            named = {**body, "metadata": {**body.get("metadata", {}), "name": name}}
            return self.create(resource, namespace, named, manager)
        old = old or self._existing(resource, namespace, name)
        _check_version(resource, old.object, body)
        applied = {
            path: value for path, value in leaves(body).items() if (path[0] == "status") == bool(subresource)
        }
        self._check_owners(old, applied, manager, force=force)
        new, owners = copy.deepcopy(old.object), {path: set(has) for path, has in old.owners.items()}
        for path in [path for path, has in owners.items() if manager in has and path not in applied]:
            owners[path].discard(manager)
            if not owners[path]:
                del owners[path]
                _remove(new, path)
        present = leaves(old.object)
        for path, value in applied.items():
            _assign(new, path, value)
            same = present.get(path) == value
            owners[path] = {*(owners.get(path, set()) if same else ()), manager}
        return self._commit(resource, old, _Stored(new, owners))

    def delete(self, resource: ResourceType, namespace: str, name: str) -> Object:
        old = self._existing(resource, namespace, name).object
        del self._stored[resource, namespace, name]
        self.revision += 1
        self.history.append(Change(self.revision, resource, old, None))
        return copy.deepcopy(old)

    def _existing(self, resource: ResourceType, namespace: str, name: str) -> _Stored:
        found = self._stored.get((resource, namespace, name))
        if found is None:
            raise Refused(404, "NotFound", f'{resource.full_name} "{name}" not found')
        return found

    def _check_owners(
        self, old: _Stored, applied: Mapping[Path, Any], manager: Manager, *, force: bool
    ) -> None:
        present = leaves(old.object)
        others = {
            other[0]: path
            for path, value in applied.items()
            if path in present and present[path] != value
            for other in old.owners.get(path, set()) - {manager}
        }
        if others and not force:
            text = ", ".join(f'conflict with "{name}": .{".".join(path)}' for name, path in others.items())
            raise Refused(409, "Conflict", f"Apply failed with {len(others)} conflict(s): {text}")

    def _commit(self, resource: ResourceType, old: _Stored | None, new: _Stored) -> Object:
        if resource in self.schemas:
            new.object = conform(new.object, self.schemas[resource])
        metadata = new.object["metadata"]
        metadata["managedFields"] = [
            {"manager": name, "operation": operation, **({"subresource": sub} if sub else {})}
            for name, operation, sub in sorted(set().union(*new.owners.values()))
        ]
        if old is not None and _specification(old.object) != _specification(new.object):
            metadata["generation"] = old.object["metadata"]["generation"] + 1
        key = (resource, metadata.get("namespace", ""), metadata["name"])
        if old is None or old.object != new.object:
            self.revision += 1
            metadata["resourceVersion"] = str(self.revision)
            before = old.object if old else None
            self.history.append(Change(self.revision, resource, before, copy.deepcopy(new.object)))
        self._stored[key] = new
        return copy.deepcopy(new.object)


def leaves(value: Any, path: Path = ()) -> dict[Path, Any]:
    """The fields of an object that can have an owner, by path; lists count as one field."""
    if path in _UNOWNED:
        return {}
    if isinstance(value, dict) and (value or not path):
        return {
            key: leaf for name, part in value.items() for key, leaf in leaves(part, (*path, name)).items()
        }
    return {path: value}


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def conform(value: Any, schema: Object, path: str = "") -> Any:
    """A value without what its schema does not know.

    Raises:
        Refused: a required field is missing.
    """
    if isinstance(value, list) and "items" in schema:
        return [conform(item, schema["items"], f"{path}[{index}]") for index, item in enumerate(value)]
    known = schema.get("properties")
    if not isinstance(value, dict) or known is None:
        return value
    for field in schema.get("required", ()):
        if field not in value:
            raise Refused(422, "Invalid", f"{path}.{field}: Required value")
    return {key: conform(part, known[key], f"{path}.{key}") for key, part in value.items() if key in known}


def _check_version(resource: ResourceType, old: Object, body: Object) -> None:
    for key, text in (("resourceVersion", "the object has been modified"), ("uid", "the UID differs")):
        given = body.get("metadata", {}).get(key)
        if given and given != old["metadata"][key]:
            name = old["metadata"]["name"]
            raise Refused(
                409, "Conflict", f'Operation cannot be fulfilled on {resource.full_name} "{name}": {text}'
            )


def _merged(old: Object, body: Object, *, subresource: str | None, with_status: bool) -> Object:
    new = copy.deepcopy(old if subresource else body)
    if subresource == "status" or not with_status:
        source = body if subresource == "status" else old
        new.pop("status", None)
        if "status" in source:
            new["status"] = copy.deepcopy(source["status"])
    new |= {"apiVersion": old["apiVersion"], "kind": old["kind"]}
    kept = {key: old["metadata"][key] for key in ("namespace", *_SERVER_METADATA) if key in old["metadata"]}
    new["metadata"] = {**new.get("metadata", {}), **copy.deepcopy(kept)}
    return new


def _specification(obj: Object) -> Object:
    return {key: value for key, value in obj.items() if key not in ("metadata", "status")}


def _assign(obj: Object, path: Path, value: Any) -> None:
    for key in path[:-1]:
        if not isinstance(obj.get(key), dict):
            obj[key] = {}
        obj = obj[key]
    obj[path[-1]] = copy.deepcopy(value)


def _remove(obj: Object, path: Path) -> None:
    parents = [obj]
    for key in path[:-1]:
        parents.append(parents[-1][key])
    parents[-1].pop(path[-1], None)
    for parent, key in zip(parents[-2::-1], path[-2::-1], strict=True):
        if parent[key] == {}:
            del parent[key]
