"""A kube-apiserver in one process, with behaviour: versions, conflicts, watches, patches and faults.

async with FakeKube() as fake, fake.client() as client:
    fake.put(PODS, pod(name="a"))
    ...
    assert fake.get(WORKLOADS, "default", "a")["status"] == ...
"""

import asyncio
import base64
import contextlib
import json
import re
import ssl
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import yaml
from aiohttp import web

from tests.support.kube_http import KubeApi, Request, bookmark, event, status_body
from tests.support.kube_store import KubeStore, Manager, Object, Refused
from vgpu.kube.client import KubeClient
from vgpu.kube.resources import ResourceType

_ADMIN: Manager = ("test", "Update", "")


@dataclass
class _Fault:
    path: str
    method: str
    times: int
    code: int = 0
    reason: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drop: bool = False


class FakeKube:
    """The server; an async context manager, to be used from one event loop."""

    def __init__(
        self, *, token: str = "", ssl_context: ssl.SSLContext | None = None, ca_pem: bytes = b""
    ) -> None:
        self.token = token
        self.requests: list[Request] = []
        self.bookmark_interval = 0.05
        self.watch_seconds: float | None = None  # ends watches sooner than they ask for
        self.store = KubeStore()
        self.api = KubeApi(self.store)
        self._ssl_context, self._ca_pem = ssl_context, ca_pem
        self._faults: list[_Fault] = []
        self._watches: dict[asyncio.Transport, web.StreamResponse] = {}
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=8 * 1024**2)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._directory = tempfile.TemporaryDirectory(prefix="fake-kube-")
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._ssl_context)
        await site.start()
        self.port: int = self._runner.addresses[0][1]
        self.url = f"{'https' if self._ssl_context else 'http'}://127.0.0.1:{self.port}"
        self.kubeconfig = Path(self._directory.name) / "kubeconfig"
        self.write_kubeconfig()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        self._directory.cleanup()

    async def stop(self) -> None:
        """Be away from now on: connections are refused."""
        self.drop_watches()
        await self._runner.cleanup()

    @contextlib.asynccontextmanager
    async def client(self, *, timeout: float = 5.0) -> AsyncIterator[KubeClient]:
        async with await KubeClient.connect(
            kubeconfig=self.kubeconfig, user_agent="test", timeout=timeout
        ) as client:
            yield client

    # What tests do to the cluster.

    def put(self, resource: ResourceType, obj: Object) -> Object:
        """Create or replace an object with all that is in it, status too."""
        metadata = obj["metadata"]
        namespace = metadata.get("namespace", "default") if resource.namespaced else ""
        if self.store.find(resource, namespace, metadata.get("name", "")) is None:
            stored = self.store.create(resource, namespace, obj, _ADMIN, with_status=True)
        else:
            unlocked = {k: v for k, v in metadata.items() if k not in ("uid", "resourceVersion")}
            obj = {**obj, "metadata": unlocked}
            stored = self.store.update(resource, namespace, obj, _ADMIN, with_status=True)
        self._notify()
        return stored

    def get(self, resource: ResourceType, namespace: str, name: str) -> Object:
        """The object as stored; `Refused` when there is none."""
        return self.store.read(resource, namespace, name)

    def find(self, resource: ResourceType, namespace: str, name: str) -> Object | None:
        return self.store.find(resource, namespace, name)

    def objects(self, resource: ResourceType) -> list[Object]:
        return self.store.list(resource)

    def delete(self, resource: ResourceType, namespace: str, name: str) -> None:
        self.store.delete(resource, namespace, name)
        self._notify()

    def writes(self) -> list[Request]:
        """The requests so far that could change something."""
        return [request for request in self.requests if request.method != "GET"]

    def unserve(self, resource: ResourceType) -> None:
        """Stop serving a type, as when its CRD is not installed."""
        self.api.served.discard(resource)

    # Trouble.

    def fail(
        self,
        path: str,
        *,
        code: int,
        times: int = 1,
        method: str = "",
        reason: str = "",
        retry_after: int | None = None,
    ) -> None:
        """Answer the next `times` requests whose path matches the expression with an error."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self._faults.append(_Fault(path, method, times, code=code, reason=reason, headers=headers))

    def drop(self, path: str, *, times: int = 1, method: str = "") -> None:
        """Cut the connection of the next `times` requests whose path matches, without an answer."""
        self._faults.append(_Fault(path, method, times, drop=True))

    def delay(self, path: str, seconds: float, *, times: int = 1, method: str = "") -> None:
        """Let the next `times` requests whose path matches wait before they are answered."""
        self._faults.append(_Fault(path, method, times, delay=seconds))

    def drop_watches(self) -> None:
        """Cut every open watch in the middle."""
        for transport in self._watches:
            transport.abort()

    async def tell_watches(self, line: bytes) -> None:
        """Send a line of the test's own to every open watch."""
        for response in self._watches.values():
            await response.write(line + b"\n")

    def compact(self) -> None:
        """Forget the history: resumed watches and pages are answered with 410 Gone."""
        self.store.compact()
        self.api.pages.clear()

    def open_watches(self) -> int:
        return len(self._watches)

    def write_kubeconfig(self) -> None:
        """Write the kubeconfig anew, for instance after `token` was changed."""
        cluster = {"server": self.url}
        if self._ca_pem:
            cluster["certificate-authority-data"] = base64.b64encode(self._ca_pem).decode()
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
            "clusters": [{"name": "fake", "cluster": cluster}],
            "users": [{"name": "fake", "user": {"token": self.token} if self.token else {}}],
        }
        self.kubeconfig.write_text(yaml.safe_dump(config))

    # How it answers.

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        asked = Request(
            request.method,
            request.path,
            dict(request.query),
            dict(request.headers),
            json.loads(body) if body else None,
        )
        self.requests.append(asked)
        if (fault := self._next_fault(asked)) is not None:
            await asyncio.sleep(fault.delay)
            if fault.drop and request.transport is not None:
                request.transport.abort()
            if fault.code:
                return _status(fault.code, fault.reason or "InternalError", "fault", fault.headers)
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized", "Unauthorized")
        try:
            return await self._answer(request, asked)
        except Refused as refused:
            return _status(refused.code, refused.reason, str(refused))

    def _next_fault(self, asked: Request) -> _Fault | None:
        for fault in self._faults:
            if fault.times and fault.method in ("", asked.method) and re.search(fault.path, asked.path):
                fault.times -= 1
                return fault
        return None

    async def _answer(self, request: web.Request, asked: Request) -> web.StreamResponse:
        if asked.path in ("/readyz", "/livez", "/healthz"):
            return web.Response(text="ok")
        if (found := re.fullmatch(r"/(?:api|apis/([^/]+))/([^/]+)", asked.path)) is not None:
            return web.json_response(self.api.discovery(found.group(1) or "", found.group(2)))
        if asked.method == "GET" and asked.query.get("watch") == "true":
            return await self._watch(request, asked)
        answer = self.api.answer(asked)
        self._notify()
        return web.json_response(answer, status=201 if asked.method == "POST" else 200)

    async def _watch(self, request: web.Request, asked: Request) -> web.StreamResponse:
        resource, namespace, *_ = self.api.locate(asked.path)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        seconds = float(asked.query["timeoutSeconds"]) if self.watch_seconds is None else self.watch_seconds
        ends = asyncio.get_running_loop().time() + seconds
        revision = int(asked.query["resourceVersion"])
        transport = request.transport
        if transport is None:  # the client went away before it was answered
            return response
        self._watches[transport] = response
        try:
            while asyncio.get_running_loop().time() < ends:
                changed, newest = self._changed, self.store.revision
                for change in self.store.changes(resource, revision):
                    if (told := event(asked, change, namespace)) is not None:
                        await response.write(_line(told))
                revision = newest
                try:
                    await asyncio.wait_for(changed.wait(), self.bookmark_interval)
                except TimeoutError:
                    await response.write(_line(bookmark(asked, resource, revision)))
        except Refused as refused:
            told = {"type": "ERROR", "object": status_body(refused.code, refused.reason, str(refused))}
            await response.write(_line(told))
        except ConnectionError:
            pass  # the client went away, or drop_watches cut the line
        finally:
            self._watches.pop(transport, None)
        return response

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _line(told: Object) -> bytes:
    return json.dumps(told).encode() + b"\n"


def _status(code: int, reason: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(status_body(code, reason, message), status=code, headers=headers)
