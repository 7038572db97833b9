"""A kube-apiserver for benches: objects are bytes, so that it costs little, and every request is counted.

It lists, watches, reads and writes any kind; it knows versions and conflicts, but of server-side apply only
that it makes an object or replaces its spec.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from uuid import uuid4

import msgspec
from aiohttp import web

from tests.bench.population import Member
from tests.support.builders import STARTED
from tests.support.kube_http import status_body
from tests.support.kube_store import merge_patch
from tests.support.selectors import label_predicate
from vgpu.kube.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    HPAS,
    LEASES,
    NODES,
    PODS,
    PROFILES,
    REPLICA_SETS,
    STATEFUL_SETS,
    WORKLOADS,
    ResourceType,
)

COUNTS: Final = "/bench/counts"
"""Answers with the number of requests by verb and what they were about, since the start."""
NEWEST: Final = "/bench/newest"
"""Answers with namespace, name and version of the workload that was written last."""
UPLOAD: Final = "/bench/workloads"
"""Takes a list of workloads, as they are."""

_SERVED: Final = {
    kind.plural: kind
    for kind in (
        *(PODS, NODES, CONFIG_MAPS, LEASES, HPAS, WORKLOADS, PROFILES),
        *(DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS),
    )
}
_BOOKMARKS: Final = 30.0

Json = dict[str, Any]
Name = tuple[str, str]


class _Refused(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class _Stored(NamedTuple):
    version: int
    text: bytes


class _OnlyMetadata(msgspec.Struct):
    metadata: msgspec.Raw


@dataclass(frozen=True, slots=True)
class _Path:
    kind: ResourceType
    namespace: str
    name: str
    subresource: str

    @classmethod
    def of(cls, path: str) -> "_Path":
        parts = path.strip("/").split("/")[2 if path.startswith("/api/") else 3 :]
        namespace = parts[1] if parts[0] == "namespaces" and len(parts) > 2 else ""
        plural, name, subresource = [*(parts[2:] if namespace else parts), "", ""][:3]
        if plural not in _SERVED:
            raise _Refused(404, "NotFound")
        return cls(_SERVED[plural], namespace, name, subresource)

    def counted(self, verb: str) -> str:
        """How a request is counted; writes of status also by the group of the workload."""
        if not self.subresource:
            return f"{verb} {self.kind.plural}"
        return f"{verb} {self.kind.plural}/{self.subresource} {self.name.rpartition('-')[0]}"


class KubeServer:
    """The objects, and the handler of requests for them.

    Args:
        members: the workloads whose pods and controllers are there from the start.
    """

    def __init__(self, members: Iterable[Member]) -> None:
        self.counts: Counter[str] = Counter()
        self._version = 1000
        self._stored: defaultdict[str, dict[Name, _Stored]] = defaultdict(dict)
        self._history: defaultdict[str, list[_Stored]] = defaultdict(list)
        self._changed = asyncio.Event()
        self._newest: Json = {}
        for member in members:
            between = member.replica_set()
            self._put(PODS, member.pod())
            self._put(member.kind, member.root())
            if between is not None:
                self._put(REPLICA_SETS, between)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer."""
        path = request.path
        if path.startswith("/bench/"):
            return await self._control(request)
        if path.count("/") == 3 and path.startswith("/apis/"):
            return web.json_response(_discovery(*path.split("/")[2:]))
        try:
            at = _Path.of(path)
            if request.method != "GET":
                self.counts[at.counted(request.method)] += 1
                return _json(self._write(at, request, await request.read()), request.method)
            if request.query.get("watch"):
                return await self._watch(at, request)
            self.counts[f"{'get' if at.name else 'list'} {at.kind.plural}"] += 1
            return _json(self._read(at, request))
        except _Refused as refused:
            body = status_body(refused.code, refused.reason, f"{refused.reason}: {path}")
            return web.json_response(body, status=refused.code)

    async def _control(self, request: web.BaseRequest) -> web.Response:
        if request.path == UPLOAD:
            for workload in msgspec.json.decode(await request.read(), type=list[Json]):
                self._put(WORKLOADS, workload)
        return web.json_response(self._newest if request.path == NEWEST else self.counts)

    def _read(self, at: _Path, request: web.BaseRequest) -> bytes:
        only_metadata = "as=PartialObjectMetadata" in request.headers.get("Accept", "")
        if at.name:
            text = self._found(at).text
            return _partial(text) if only_metadata else text
        stored = self._stored[at.kind.plural].items()
        texts = [each.text for name, each in stored if at.namespace in {"", name[0]}]
        if at.kind is CONFIG_MAPS:
            texts = list(_selected(texts, request.query.get("labelSelector", "")))
        begin, limit = int(request.query.get("continue", 0)), int(request.query.get("limit", 0)) or len(texts)
        page = texts[begin : begin + limit]
        more = str(begin + limit) if begin + limit < len(texts) else ""
        items = b",".join(map(_partial, page) if only_metadata else page)
        return b'{"metadata":{"resourceVersion":"%d","continue":"%s"},"items":[%s]}' % (
            *(self._version, more.encode()),
            items,
        )

    def _write(self, at: _Path, request: web.BaseRequest, body: bytes) -> bytes:
        if request.method == "DELETE":
            del self._stored[at.kind.plural][at.namespace, self._name_of(at)]
            return b"{}"
        given = msgspec.json.decode(body, type=Json)
        given.setdefault("metadata", {}).update({"namespace": at.namespace} if at.namespace else {})
        there = self._stored[at.kind.plural].get((at.namespace, at.name or given["metadata"]["name"]))
        if request.method == "POST" and there is not None:
            raise _Refused(409, "AlreadyExists")
        if there is None:
            if at.subresource or request.method == "PUT":
                raise _Refused(404, "NotFound")
            return self._put(at.kind, given)
        expected = given["metadata"].get("resourceVersion")
        if expected and expected != str(there.version):
            raise _Refused(409, "Conflict")
        if request.method == "PUT":
            return self._put(at.kind, given)
        return self._put(at.kind, merge_patch(msgspec.json.decode(there.text), given))

    def _name_of(self, at: _Path) -> str:
        self._found(at)
        return at.name

    def _found(self, at: _Path) -> _Stored:
        found = self._stored[at.kind.plural].get((at.namespace, at.name))
        if found is None:
            raise _Refused(404, "NotFound")
        return found

    def _put(self, kind: ResourceType, obj: Json) -> bytes:
        self._version += 1
        metadata = obj["metadata"]
        metadata["resourceVersion"] = str(self._version)
        made = {"uid": str(uuid4()), "generation": 1, "creationTimestamp": STARTED}
        obj["metadata"] = metadata = made | metadata
        name = metadata.get("namespace", ""), metadata["name"]
        is_new = name not in self._stored[kind.plural]
        stored = _Stored(self._version, msgspec.json.encode(obj))
        self._stored[kind.plural][name] = stored
        if kind is WORKLOADS:
            self._newest = {"namespace": name[0], "name": name[1], "version": str(self._version)}
        event = b'{"type":"%s","object":%s}\n' % (b"ADDED" if is_new else b"MODIFIED", stored.text)
        self._history[kind.plural].append(_Stored(self._version, event))
        self._changed.set()
        self._changed = asyncio.Event()
        return stored.text

    async def _watch(self, at: _Path, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        history, since = self._history[at.kind.plural], int(request.query["resourceVersion"])
        told = len(history)
        while told and history[told - 1].version > since:
            told -= 1
        while True:
            changed, new = self._changed, history[told:]
            told += len(new)
            try:
                if new:
                    await response.write(b"".join(each.text for each in new))
                elif not await _happens(changed):
                    await response.write(_bookmark(at.kind, self._version))
            except ConnectionError:  # the client went away
                return response


async def _happens(changed: asyncio.Event) -> bool:
    """Whether something changes before it is time for a bookmark."""
    try:
        async with asyncio.timeout(_BOOKMARKS):
            return await changed.wait()
    except TimeoutError:
        return False


def _bookmark(kind: ResourceType, version: int) -> bytes:
    bare = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"resourceVersion": str(version)}}
    return msgspec.json.encode({"type": "BOOKMARK", "object": bare}) + b"\n"


def _discovery(group: str, version: str) -> Json:
    found = [kind for kind in _SERVED.values() if (kind.group, kind.version) == (group, version)]
    return {"resources": [{"name": kind.plural, "kind": kind.kind} for kind in found]}


def _selected(texts: Iterable[bytes], selector: str) -> Iterator[bytes]:
    matches = label_predicate(selector)
    for text in texts:
        if matches(msgspec.json.decode(text)["metadata"].get("labels") or {}):
            yield text


def _partial(text: bytes) -> bytes:
    return b'{"metadata":%s}' % bytes(msgspec.json.decode(text, type=_OnlyMetadata).metadata)


def _json(body: bytes, verb: str = "GET") -> web.Response:
    return web.Response(body=body, status=201 if verb == "POST" else 200, content_type="application/json")
