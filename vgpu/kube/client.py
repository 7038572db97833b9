"""The Kubernetes client of all services: typed reads, watches, writes and server-side apply.

Configuration (kubeconfig, service account, exec plugins) is kubernetes-asyncio's; requests go through one
aiohttp session; answers are decoded by msgspec straight from bytes into the fields of the type asked for.
"""
# ruff: noqa: A002 - `type` is what the caller asks to get, and reads better than any other word

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeAlias, TypeVar

import msgspec
import structlog

from vgpu.kube import readiness
from vgpu.kube.contact import Contact
from vgpu.kube.credentials import Credentials
from vgpu.kube.errors import Gone, MissingCrds
from vgpu.kube.objects import PartialObject
from vgpu.kube.patches import PatchOperation
from vgpu.kube.resources import PODS, ResourceType
from vgpu.kube.transport import JSON, Call, Transport, allow
from vgpu.kube.wire import Page, Unreadable, WatchEvent, decode, decode_event, decode_page

T = TypeVar("T")
Body = Mapping[str, Any]
Listing: TypeAlias = tuple[list[T], str]

_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
# kube-apiserver means to send a bookmark every minute, but for a type on which nothing happens the first was
# seen after two (1.37): only a longer silence tells of a dead connection.
_WATCH_SILENCE = 180.0

_DELETE_OPTIONS = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}

_log = structlog.get_logger(__name__)


class KubeClient:
    """A connection to one kube-apiserver; an async context manager.

    Every request has a timeout. Idempotent requests are repeated a bounded number of times when the server is
    throttling, in trouble or cut off. All methods raise `vgpu.kube.errors.KubeError`.
    """

    def __init__(self, transport: Transport, *, check: Callable[[], None] = allow) -> None:
        self._transport = transport
        self._check = check

    @classmethod
    async def connect(
        cls,
        *,
        kubeconfig: Path | None = None,
        user_agent: str,
        timeout: float = 10.0,
    ) -> Self:
        """Load the credentials; nothing is sent yet (see `wait_reachable`).

        Args:
            kubeconfig: None for $KUBECONFIG, the pod's service account or ~/.kube/config, whichever is there.
            user_agent: how kube-apiserver's audit log and metrics name this client.
            timeout: seconds for each request.

        Raises:
            KubeConfigError: naming the file, and what is wrong with it.
        """
        credentials = await Credentials.load(kubeconfig)
        return cls(Transport(credentials, user_agent=user_agent, timeout=timeout))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transport.close()

    def guarded(self, check: Callable[[], None]) -> "KubeClient":
        """A client on the same connection, which stays this one's to close, whose writes are checked.

        Args:
            check: called right before a write is sent, each time that it is. It raises whatever error its
                author likes, and then nothing is sent and the error goes to whoever wanted to write.
        """
        return KubeClient(self._transport, check=check)

    @property
    def server(self) -> str:
        """The address of kube-apiserver."""
        return self._transport.credentials.server

    @property
    def contact(self) -> Contact:
        """Whether kube-apiserver answers, and what it has refused."""
        return self._transport.contact

    async def get(
        self,
        resource: ResourceType,
        name: str,
        *,
        namespace: str | None = None,
        type: type[T],
        metadata_only: bool = False,
    ) -> T:
        """One object; `metadata_only` keeps the rest from being sent (always so for PartialObject)."""
        accept = _METADATA if metadata_only or type is PartialObject else JSON
        call = Call("GET", resource.path(namespace, name), accept=accept)
        return decode(call, type, await self._transport.send(call))

    async def list(
        self,
        resource: ResourceType,
        *,
        type: type[T],
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        metadata_only: bool = False,
        page_size: int = 500,
        on_unreadable: Callable[[Unreadable], None] | None = None,
    ) -> Listing[T]:
        """All objects, and the resource version to watch from; `metadata_only` as in `get`.

        Objects that cannot be read are left out, and told to `on_unreadable`; without it, logged.
        """
        call = Call(
            "GET",
            resource.path(namespace),
            _selection(label_selector, field_selector),
            accept=_METADATA_LIST if metadata_only or type is PartialObject else JSON,
        )
        try:
            listed = await self._list_pages(call, type, page_size)
        except Gone:  # a later page expired: take all at once instead, as client-go does
            listed = await self._list_pages(call, type, 0)
        for each in listed.unreadable:
            (on_unreadable or partial(log_unreadable, resource))(each)
        return listed.items, listed.metadata.resource_version

    async def watch(
        self,
        resource: ResourceType,
        *,
        type: type[T],
        resource_version: str,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        timeout: float = 300.0,
    ) -> AsyncGenerator[WatchEvent[T], None]:
        """Events after a resource version, until the server ends the watch after `timeout` seconds.

        Raises:
            Gone: the resource version is too old; list again.
            ApiUnreachable: the connection broke, or fell silent for longer than bookmarks let it.
        """
        params = {
            **_selection(label_selector, field_selector),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, round(timeout))),
        }
        accept = _METADATA if type is PartialObject else JSON
        call = Call("GET", resource.path(namespace), params, accept=accept)
        silence = min(_WATCH_SILENCE, timeout + self._transport.timeout)
        async with aclosing(self._transport.lines(call, silence=silence)) as lines:
            async for line in lines:
                if line:
                    yield decode_event(call, type, line)

    async def create(
        self, resource: ResourceType, body: Body, *, namespace: str | None = None
    ) -> dict[str, Any]:
        """Create an object; AlreadyExists when there is one."""
        return await self._write("POST", resource.path(namespace), body)

    async def replace(
        self,
        resource: ResourceType,
        name: str,
        body: Body,
        *,
        namespace: str | None = None,
        subresource: str | None = None,
    ) -> dict[str, Any]:
        """Replace an object; Conflict when `body` carries a resource version that is no longer the newest."""
        return await self._write("PUT", resource.path(namespace, name, subresource), body)

    async def delete(self, resource: ResourceType, name: str, *, namespace: str | None = None) -> None:
        """Delete an object, and in the background what it owns; NotFound when there is none."""
        await self._write("DELETE", resource.path(namespace, name), _DELETE_OPTIONS)

    async def evict(self, name: str, *, namespace: str, uid: str) -> None:
        """Evict a pod, once: what stands against it is for the caller to wait for.

        Args:
            name: the pod.
            namespace: its namespace.
            uid: which one of that name.

        Raises:
            Throttled: a PodDisruptionBudget does not allow it now.
            NotFound: there is no such pod any more.
            Conflict: another one has its name.
        """
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": uid}},
        }
        path, encoded = PODS.path(namespace, name, "eviction"), msgspec.json.encode(body)
        call = Call("POST", path, {}, encoded, content_type=JSON, check=self._check)
        await self._transport.send_once(call, timeout=self._transport.timeout)

    async def apply(
        self,
        resource: ResourceType,
        name: str,
        body: Body,
        *,
        namespace: str | None = None,
        field_manager: str,
        force: bool = False,
        subresource: str | None = None,
    ) -> dict[str, Any]:
        """Server-side apply: `body` is all that `field_manager` wants to own; the object is made when absent.

        Raises:
            Conflict: another manager owns one of the fields with another value, and `force` is not set.
        """
        metadata = {**body.get("metadata", {}), "name": name}
        body = {**body, "apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
        params = {"fieldManager": field_manager, "force": "true" if force else "false"}
        path = resource.path(namespace, name, subresource)
        return await self._write("PATCH", path, body, "application/apply-patch+yaml", params)

    async def merge_patch(
        self,
        resource: ResourceType,
        name: str,
        body: Body,
        *,
        namespace: str | None = None,
        subresource: str | None = None,
    ) -> dict[str, Any]:
        """JSON merge patch (RFC 7386); a resource version in `body` makes an outdated one a Conflict."""
        path = resource.path(namespace, name, subresource)
        return await self._write("PATCH", path, body, "application/merge-patch+json")

    async def json_patch(
        self,
        resource: ResourceType,
        name: str,
        operations: Sequence[PatchOperation],
        *,
        namespace: str | None = None,
        subresource: str | None = None,
    ) -> dict[str, Any]:
        """JSON patch (RFC 6902)."""
        path = resource.path(namespace, name, subresource)
        return await self._write("PATCH", path, operations, "application/json-patch+json")

    async def raw_get(self, path: str) -> bytes:
        """The body of any path, such as `/version` or an aggregated API's."""
        return await self._transport.send(Call("GET", path))

    async def wait_reachable(self, *, timeout: float) -> None:
        """Wait until kube-apiserver says that it is ready.

        Raises:
            ApiUnreachable: it did not within `timeout` seconds.
            Unauthorized: it is there, but refuses the credentials.
        """
        await readiness.wait_reachable(self._transport, timeout=timeout)

    async def require_crds(self, *resources: ResourceType) -> None:
        """Make sure that kube-apiserver serves these types (by discovery, which needs no permission).

        Raises:
            MissingCrds: naming those that it does not.
        """
        if missing := await readiness.missing_types(self._transport, resources):
            raise MissingCrds([resource.full_name for resource in missing])

    async def _list_pages(self, call: Call, type: type[T], page_size: int) -> Page[T]:
        """All pages as one."""
        items: list[T] = []
        unreadable: list[Unreadable] = []
        params = dict(call.params)
        if page_size:
            params["limit"] = str(page_size)
        while True:
            answer = await self._transport.send(Call("GET", call.path, params, accept=call.accept))
            page = decode_page(call, type, answer)
            items += page.items
            unreadable += page.unreadable
            if not page.metadata.continue_:
                return Page(page.metadata, items, unreadable)
            params["continue"] = page.metadata.continue_

    async def _write(
        self,
        method: str,
        path: str,
        body: Body | Sequence[PatchOperation],
        content_type: str = JSON,
        params: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        encoded = msgspec.json.encode(body)
        call = Call(method, path, params or {}, encoded, content_type=content_type, check=self._check)
        return decode(call, dict, await self._transport.send(call))


def log_unreadable(resource: ResourceType, unreadable: Unreadable) -> None:
    """Warn that an object is left out."""
    metadata = unreadable.metadata
    _log.warning(
        "object cannot be read and is left out",
        resource=resource.full_name,
        namespace=metadata.namespace,
        name=metadata.name,
        problem=unreadable.problem,
    )


def _selection(label_selector: str | None, field_selector: str | None) -> dict[str, str]:
    selectors = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {key: value for key, value in selectors.items() if value}
