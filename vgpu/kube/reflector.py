"""A local copy of all objects of a type, kept by list and watch: client-go's reflector with its store."""
# ruff: noqa: A002 - `type` as in `KubeClient.list`

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, ItemsView
from contextlib import aclosing
from typing import Generic, Protocol, TypeVar

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential
from tenacity.wait import WaitBaseT

from vgpu.kube.client import KubeClient, log_unreadable
from vgpu.kube.errors import ApiUnreachable, BadAnswer, Gone, KubeError, NotSynced
from vgpu.kube.objects import ObjectMeta
from vgpu.kube.resources import ResourceType
from vgpu.kube.wire import Unreadable, WatchEvent

# A watch that broke after it had worked for so long is resumed at once; one that broke sooner, with back-off.
_WORKED_SECONDS = 5.0

_BACKOFF = wait_random_exponential(multiplier=0.2, max=30)

_log = structlog.get_logger(__name__)


class HasMetadata(Protocol):
    """Any Kubernetes object."""

    @property
    def metadata(self) -> ObjectMeta:
        """The object's metadata."""


T = TypeVar("T", bound=HasMetadata)
OnChange = Callable[[str, T | None, T | None], None]


def object_key(metadata: ObjectMeta) -> str:
    """`namespace/name`, or `name` for what has no namespace."""
    return f"{metadata.namespace}/{metadata.name}" if metadata.namespace else metadata.name


class Reflector(Generic[T]):
    """Lists all objects of a type, then follows their changes for ever.

    While kube-apiserver is away the last known objects stay. When it is back the watch goes on where it was
    or, if that is too long ago (410 Gone), a new list is compared with them: `on_change` misses no deletion.
    Intermediate states can be skipped; the last one never is. An object that cannot be read (one that holds
    something the type cannot) is as if it were not there: logged, counted, and no hindrance to the others.
    """

    def __init__(
        self,
        client: KubeClient,
        resource: ResourceType,
        *,
        type: type[T],
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        on_change: OnChange[T] | None = None,
        backoff: WaitBaseT = _BACKOFF,
    ) -> None:
        """Prepare; nothing is asked before `run`.

        Args:
            client: the connection to kube-apiserver.
            resource: what to list and watch.
            type: what to decode the objects into: only the fields that it has are kept.
            namespace: None for all namespaces.
            label_selector: which objects, by label.
            field_selector: which objects, by field, such as `metadata.name=x`.
            on_change: called as (key, old, new) after each change, in the event loop; must be quick. `old` is
                None for a new object, `new` for a deleted one. What it raises ends `run`.
            backoff: how long to wait after which failure.
        """
        self.resource = resource
        self.last_error: KubeError | None = None
        self.interruptions: Counter[str] = Counter()
        """How often list and watch failed, by the name of the error."""
        self._last_contact = time.monotonic()
        self._client = client
        self._type = type
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._on_change = on_change
        self._backoff = backoff
        self._objects: dict[str, T] = {}
        self._unreadable: set[str] = set()
        self._revision: str | None = None
        self._synced = asyncio.Event()

    @property
    def synced(self) -> bool:
        """Whether all objects were listed once; `silence` says how current they are."""
        return self._synced.is_set()

    def silence(self) -> float:
        """Seconds since kube-apiserver last told of these objects; before the first time, since the start.

        Bookmarks come about once a minute, after a quiet start after two.
        """
        return time.monotonic() - self._last_contact

    def unreadable(self) -> int:
        """How many objects there are that cannot be read, and so are left out."""
        return len(self._unreadable)

    async def wait_synced(self, timeout: float) -> None:
        """Wait for the first complete list.

        Raises:
            NotSynced: it did not come within `timeout` seconds; carries the last error.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._synced.wait()
        except TimeoutError as error:
            raise NotSynced(self.resource.full_name, timeout, self.last_error) from error

    def get(self, namespace: str, name: str) -> T | None:
        """One object, or None; the namespace is empty for what has none."""
        return self._objects.get(f"{namespace}/{name}" if namespace else name)

    def values(self) -> Collection[T]:
        """All objects: a live view, not to be held across an await."""
        return self._objects.values()

    def items(self) -> ItemsView[str, T]:
        """All keys and objects: a live view, not to be held across an await."""
        return self._objects.items()

    async def run(self) -> None:
        """List and watch until cancelled."""
        while True:
            # A new one each time: what worked starts over with the shortest back-off.
            retrying = AsyncRetrying(
                wait=self._backoff,
                # A server that is back after minutes is not left alone for the rest of a long wait.
                sleep=self._client.contact.rest,
                retry=retry_if_exception_type(KubeError),
                before_sleep=self._log_failure,
            )
            await retrying(self._follow)

    async def _follow(self) -> None:
        if self._revision is None:
            await self._relist()
        started = time.monotonic()
        try:
            changed = await self._watch_once()
        except KubeError as error:
            if isinstance(error, Gone | BadAnswer):  # from this revision on there is nothing to be had
                self._revision = None
            if time.monotonic() - started < _WORKED_SECONDS:
                raise
            self.interruptions[type(error).__name__] += 1
            _log.info("watch is resumed", resource=self.resource.full_name, error=str(error))
            return
        if not changed and time.monotonic() - started < 1.0:
            raise ApiUnreachable(self._client.server, f"a watch of {self.resource.full_name} ended at once")

    async def _relist(self) -> None:
        unreadable: list[Unreadable] = []
        objects, revision = await self._client.list(
            self.resource,
            type=self._type,
            namespace=self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            on_unreadable=unreadable.append,
        )
        listed = {object_key(each.metadata): each for each in objects}
        for key in [key for key in self._objects if key not in listed]:
            self._remove(key)
        for key, new in listed.items():
            self._put(key, new)
        self._unreadable.clear()
        for each in unreadable:
            self._leave_out(each)
        self._revision = revision
        self._touch()
        self._synced.set()

    async def _watch_once(self) -> bool:
        """Follow one watch to its end; whether anything changed."""
        changed = False
        events = self._client.watch(
            self.resource,
            type=self._type,
            resource_version=self._revision or "",
            namespace=self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
        )
        async with aclosing(events):
            async for event in events:
                self._touch()
                changed |= event.type != "BOOKMARK"
                self._take(event)
        return changed

    def _take(self, event: WatchEvent[T]) -> None:
        key = object_key(event.metadata)
        if event.type == "DELETED":
            self._unreadable.discard(key)
            self._remove(key)
        elif event.object is not None:
            self._unreadable.discard(key)
            self._put(key, event.object)
        elif event.type != "BOOKMARK":
            self._leave_out(Unreadable(event.metadata, event.problem))
        self._revision = event.metadata.resource_version

    def _put(self, key: str, new: T) -> None:
        old = self._objects.get(key)
        if old is not None and old.metadata.resource_version == new.metadata.resource_version:
            return
        if old is not None and old.metadata.uid != new.metadata.uid:
            self._remove(key)
            old = None
        self._objects[key] = new
        if self._on_change is not None:
            self._on_change(key, old, new)

    def _remove(self, key: str) -> None:
        old = self._objects.pop(key, None)
        if old is not None and self._on_change is not None:
            self._on_change(key, old, None)

    def _leave_out(self, unreadable: Unreadable) -> None:
        log_unreadable(self.resource, unreadable)
        key = object_key(unreadable.metadata)
        self._unreadable.add(key)
        self._remove(key)

    def _touch(self) -> None:
        self._last_contact = time.monotonic()
        self.last_error = None

    def _log_failure(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self.last_error = error if isinstance(error, KubeError) else None
        self.interruptions[type(error).__name__] += 1
        _log.warning(
            "list and watch is interrupted",
            resource=self.resource.full_name,
            attempt=state.attempt_number,
            wait_seconds=round(state.upcoming_sleep, 3),
            error=str(error),
        )
