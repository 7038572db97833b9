"""Follows objects of a kind that not every cluster has."""

import asyncio
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from vgpu.kube.client import KubeClient
from vgpu.kube.errors import Forbidden, KubeError, MissingCrds, NotSynced
from vgpu.kube.objects import PartialObject
from vgpu.kube.reflector import HasMetadata, Reflector
from vgpu.kube.resources import ResourceType

_BACKOFF: Final = wait_random_exponential(multiplier=0.2, max=30)

logger = structlog.get_logger(__name__)

T = TypeVar("T", bound=HasMetadata)


class OptionalReflector(Generic[T]):
    """A reflector that starts only where its kind is served and may be listed.

    That is asked once, when it begins to run: who installs the kind later restarts the service.

    Args:
        client: the connection to kube-apiserver.
        resource: the kind.
        type: what its objects are read into.
        on_change: called with key, old and new, as a reflector does.
        without: what is done where they may not be listed, for the log.
    """

    def __init__(
        self,
        client: KubeClient,
        resource: ResourceType,
        *,
        type: type[T],  # noqa: A002 - the reflector's own word
        on_change: Callable[[str, T | None, T | None], None],
        without: str,
    ) -> None:
        self._client = client
        self._resource = resource
        self._without = without
        self._asked = asyncio.Event()
        self.followed = False
        self.objects = Reflector(client, resource, type=type, on_change=on_change)

    async def run(self) -> None:
        """Find out whether there is anything to follow, and follow it until cancelled."""
        asking = AsyncRetrying(
            wait=_BACKOFF, retry=retry_if_exception_type(KubeError), before_sleep=self._log_unanswered
        )
        self.followed = await asking(self._may_follow)
        self._asked.set()
        if self.followed:
            await self.objects.run()

    async def wait_synced(self, timeout: float) -> None:
        """Wait until all have been listed once, or it is known that there are none to list.

        Raises:
            NotSynced: neither happens within so many seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._asked.wait()
        except TimeoutError as error:
            raise NotSynced(self._resource.full_name, timeout, None) from error
        if self.followed:
            await self.objects.wait_synced(timeout)

    async def _may_follow(self) -> bool:
        try:
            await self._client.require_crds(self._resource)
            await self._client.list(self._resource, type=PartialObject)
        except MissingCrds:
            return False
        except Forbidden as error:
            logger.warning(self._without, error=str(error))
            return False
        return True

    def _log_unanswered(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        logger.warning(
            "not known yet whether a kind is served", resource=self._resource.full_name, error=str(error)
        )
