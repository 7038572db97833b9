"""How the fake kube-apiserver understands requests and words answers; `fake_kube` is the server around it."""

import itertools
import re
from dataclasses import dataclass
from typing import Any

import jsonpatch

from tests.support.kube_store import Change, KubeStore, Manager, Object, Refused, merge_patch
from tests.support.selectors import field_predicate, label_predicate
from vgpu.kube import resources
from vgpu.kube.resources import ResourceType

_PATH = re.compile(
    r"^/(?:api|apis/(?P<group>[^/]+))/(?P<version>v[^/]+)"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/.))?/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<subresource>[^/]+))?$"
)


PDBS = ResourceType("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")


@dataclass(frozen=True)
class Request:
    """What a client asked; `body` is decoded JSON or None."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class KubeApi:
    """Reads and writes of the store, as the API words them."""

    def __init__(self, store: KubeStore) -> None:
        self.store = store
        self.served = {value for value in vars(resources).values() if isinstance(value, ResourceType)}
        self.pages: dict[str, list[Object]] = {}
        self._serial = itertools.count()

    def locate(self, path: str) -> tuple[ResourceType, str, str, str | None]:
        if (found := _PATH.match(path)) is not None:
            parts = found.groupdict()
            for resource in self.served:
                if (resource.group, resource.plural) == (parts["group"] or "", parts["plural"]):
                    return resource, parts["namespace"] or "", parts["name"] or "", parts["subresource"]
        raise Refused(404, "NotFound", "the server could not find the requested resource")

    def discovery(self, group: str, version: str) -> Object:
        found = [served for served in self.served if (served.group, served.version) == (group, version)]
        if not found:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        listed = [{"name": each.plural, "kind": each.kind, "namespaced": each.namespaced} for each in found]
        return {"kind": "APIResourceList", "groupVersion": version, "resources": listed}

    def answer(self, asked: Request) -> Object:
        """Everything but watches and discovery."""
        resource, namespace, name, subresource = self.locate(asked.path)
        if asked.method != "GET":
            return self._write(asked, resource, namespace, name, subresource)
        if not name:
            return self._list(asked, resource, namespace)
        return view(asked, self.store.read(resource, namespace, name))

    def _list(self, asked: Request, resource: ResourceType, namespace: str) -> Object:
        token, limit = asked.query.get("continue"), int(asked.query.get("limit", "0"))
        if token and token not in self.pages:
            raise Refused(410, "Expired", "the provided continue parameter is too old")
        if token:
            items, revision = self.pages.pop(token), int(token.split("-")[0])
        else:
            items, revision = self.store.list(resource, namespace), self.store.revision
            items = [view(asked, item) for item in items if selected(asked, item)]
        metadata: Object = {"resourceVersion": str(revision)}
        if limit and len(items) > limit:
            metadata["continue"] = f"{revision}-{next(self._serial)}"
            self.pages[metadata["continue"]] = items[limit:]
            items = items[:limit]
        return {"kind": f"{resource.kind}List", "apiVersion": "v1", "metadata": metadata, "items": items}

    def _write(
        self, asked: Request, resource: ResourceType, namespace: str, name: str, subresource: str | None
    ) -> Object:
        content_type = asked.headers.get("Content-Type", "")
        applying = content_type == "application/apply-patch+yaml"
        agent = asked.headers.get("User-Agent", "unknown").split("/")[0]
        who = asked.query.get("fieldManager", agent)
        manager: Manager = (who, "Apply" if applying else "Update", subresource or "")
        if asked.method == "POST" and resource is resources.PODS and subresource == "eviction":
            return evicted(self.store, namespace, name, asked.body)
        if asked.method == "POST":
            return self.store.create(resource, namespace, asked.body, manager)
        if asked.method == "DELETE":
            return self.store.delete(resource, namespace, name)
        if asked.method == "PUT":
            self.store.read(resource, namespace, name)
            return self.store.update(resource, namespace, asked.body, manager, subresource=subresource)
        if applying:
            force = asked.query.get("force") == "true"
            return self.store.apply(
                resource, namespace, name, asked.body, manager, force=force, subresource=subresource
            )
        old = self.store.read(resource, namespace, name)
        new = _patched(content_type, old, asked.body)
        return self.store.update(resource, namespace, new, manager, subresource=subresource)


def evicted(store: KubeStore, namespace: str, name: str, eviction: Object) -> Object:
    """Evict a pod as the real one does: no more than PodDisruptionBudgets allow."""
    pod = store.read(resources.PODS, namespace, name)
    wanted = eviction.get("deleteOptions", {}).get("preconditions", {}).get("uid")
    if wanted not in (None, pod["metadata"]["uid"]):
        raise Refused(409, "Conflict", f"the UID in the precondition ({wanted}) is another pod's")
    labels = pod["metadata"].get("labels", {})
    if not is_ready(pod):  # under the default policy of a budget those that are not healthy may go
        return store.delete(resources.PODS, namespace, name)
    budgets = store.list(PDBS, namespace)
    for budget in budgets:
        selector = budget["spec"]["selector"]["matchLabels"].items()
        if not selector <= labels.items():
            continue
        pods = [each for each in store.list(resources.PODS, namespace) if selector <= _labels(each).items()]
        healthy = sum(map(is_ready, pods))
        if healthy - 1 < budget["spec"]["minAvailable"]:
            message = "Cannot evict pod as it would violate the pod's disruption budget."
            raise Refused(429, "TooManyRequests", message)
    return store.delete(resources.PODS, namespace, name)


def _labels(obj: Object) -> Object:
    found: Object = obj["metadata"].get("labels", {})
    return found


def is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any((each["type"], each["status"]) == ("Ready", "True") for each in conditions)


def _patched(content_type: str, old: Object, patch: Any) -> Object:
    if content_type == "application/merge-patch+json":
        merged: Object = merge_patch(old, patch)
        return merged
    if content_type == "application/json-patch+json":
        try:
            result: Object = jsonpatch.apply_patch(old, patch)
        except jsonpatch.JsonPatchException as error:
            raise Refused(422, "Invalid", str(error)) from error
        return result
    raise Refused(
        415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {content_type}"
    )


def selected(asked: Request, obj: Object) -> bool:
    labels = obj["metadata"].get("labels") or {}
    if not label_predicate(asked.query.get("labelSelector", ""))(labels):
        return False
    return field_predicate(asked.query.get("fieldSelector", ""))(obj)


def view(asked: Request, obj: Object) -> Object:
    if "as=PartialObjectMetadata" not in asked.headers.get("Accept", ""):
        return obj
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def event(asked: Request, change: Change, namespace: str) -> Object | None:
    either = change.new or change.old or {}
    if namespace and either["metadata"].get("namespace") != namespace:
        return None
    before = change.old is not None and selected(asked, change.old)
    after = change.new is not None and selected(asked, change.new)
    if not before and not after:
        return None
    shown = dict((change.new if after else change.old) or {})
    shown["metadata"] = {**shown["metadata"], "resourceVersion": str(change.revision)}
    kind = ("MODIFIED" if before else "ADDED") if after else "DELETED"
    return {"type": kind, "object": view(asked, shown)}


# What the real one (1.37) encodes of an object that has nothing but its version: Go's zero values.
_ZERO: dict[ResourceType, Object] = {
    resources.PODS: {"spec": {"containers": None}, "status": {}},
    resources.JOBS: {"spec": {"template": {"metadata": {}, "spec": {"containers": None}}}, "status": {}},
    resources.HPAS: {
        "spec": {"scaleTargetRef": {"kind": "", "name": ""}, "maxReplicas": 0},
        "status": {"desiredReplicas": 0, "currentMetrics": None},
    },
}


def bookmark(asked: Request, resource: ResourceType, revision: int) -> Object:
    bare: Object = {"kind": resource.kind, "apiVersion": resource.api_version}
    bare["metadata"] = {"resourceVersion": str(revision)}
    return {"type": "BOOKMARK", "object": view(asked, {**bare, **_ZERO.get(resource, {})})}


def status_body(code: int, reason: str, message: str) -> Object:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
