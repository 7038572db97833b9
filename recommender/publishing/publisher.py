"""Writes status: only what changed, and only over the version that it was decided on."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random

from recommender.decisions.status import status_patch
from recommender.keys import WorkloadKey, key_of
from recommender.metrics import RecommenderMetrics
from recommender.publishing.veils import NoVeil, Veil
from vgpu.kube.client import KubeClient
from vgpu.kube.errors import Conflict, Invalid, KubeError, NotFound
from vgpu.kube.objects import CustomObject
from vgpu.kube.resources import WORKLOADS

# Others write a status as seldom as we do: who loses this often in a row tries again in the next pass.
_ATTEMPTS: Final = 4


@dataclass(frozen=True, slots=True)
class InStep:
    """A status that needs no write.

    Attributes:
        status: as it stands.
        estimation_written: when the estimation in it was written, in seconds since the epoch.
    """

    status: Mapping[str, Any]
    estimation_written: float


Compose = Callable[[CustomObject], Mapping[str, Any]]
OnWritten = Callable[[CustomObject, CustomObject], None]
"""Called with a workload before and after a write of its status, once for each that was made."""

logger = structlog.get_logger(__name__)


class StatusPublisher:
    """Patches the status subresource of TensorFusionWorkloads.

    Args:
        client: where they are patched.
        metrics: counts writes.
        turn: waits until another write may be made; asked before each that follows a conflict.
        on_written: called after each write.
        veil: what lies between the status that is wanted and the one that stands in the object.
    """

    def __init__(
        self,
        *,
        client: KubeClient,
        metrics: RecommenderMetrics,
        turn: Callable[[], Awaitable[None]],
        on_written: OnWritten = lambda _, __: None,
        veil: Veil | None = None,
    ) -> None:
        self._veil = NoVeil() if veil is None else veil
        self._client = client
        self._turn = turn
        self._on_written = on_written
        self._metrics = metrics
        self._estimation_written: dict[WorkloadKey, float] = {}
        self._written: dict[WorkloadKey, CustomObject] = {}

    def latest(self, known: CustomObject) -> CustomObject:
        """A workload with our own last write in it, which a watch may not have brought yet."""
        return self._veil.recall(self._written.get(key_of(known.metadata), known))

    def seen(self, key: WorkloadKey) -> None:
        """The watch has brought news of a workload: from now on what it brings counts again."""
        self._written.pop(key, None)

    def forget(self, key: WorkloadKey) -> None:
        """Drop a workload that is no more."""
        self._written.pop(key, None)
        self._estimation_written.pop(key, None)
        self._veil.forget(key)

    def compare(
        self, live: CustomObject, wanted: Mapping[str, Any], now: float
    ) -> InStep | Mapping[str, Any]:
        """Hold the status of a workload against the wanted one.

        Returns:
            The status, where it is in step; the merge patch that is worth a write, where it is not.
        """
        written = self._estimation_written.setdefault(key_of(live.metadata), now)
        stands, shown = self._veil.lift(live, wanted)
        patch = status_patch(stands, shown, now=now, estimation_written=written)
        if patch is None or self._veil.waits(live, now):
            return InStep(self._veil.in_step(live, wanted), written)
        return patch

    async def publish(self, live: CustomObject, compose: Compose, now: float) -> None:
        """Bring the status of a workload to what `compose` makes of it, if that is worth a write.

        Args:
            live: the workload as it is known.
            compose: the wanted status; called again with the newest object after a conflict.
            now: seconds since the epoch.

        Raises:
            KubeError: kube-apiserver does not answer, refuses, or has somebody else write faster than we do.
        """
        try:
            try:
                await self._write(live, compose(live), now)
            except Conflict as conflict:
                await self._write_over(live, conflict, compose, now)
        except NotFound:
            logger.debug(
                "workload is gone before its status was written", workload=str(key_of(live.metadata))
            )
        except Invalid as error:
            self._metrics.writes.labels("status", "invalid").inc()
            if not self._veil.refused(live, now):
                raise
            logger.warning("status refused", workload=str(key_of(live.metadata)), error=str(error))
        except KubeError as error:
            outcome = "conflict" if isinstance(error, Conflict) else "failed"
            self._metrics.writes.labels("status", outcome).inc()
            raise

    async def _write_over(self, live: CustomObject, conflict: Conflict, compose: Compose, now: float) -> None:
        """Go on after a first attempt: what makes retries possible costs as much as all the rest."""
        failures = [conflict]

        async def attempt() -> None:
            if failures:
                raise failures.pop()
            await self._turn()
            newest = await self._read(live)
            await self._write(newest, compose(newest), now)

        retrying = AsyncRetrying(
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_random(0.01, 0.1),
            retry=retry_if_exception_type(Conflict),
            reraise=True,
        )
        await retrying(attempt)

    async def _read(self, live: CustomObject) -> CustomObject:
        namespace, name = key_of(live.metadata)
        newest = await self._client.get(WORKLOADS, name, namespace=namespace, type=CustomObject)
        return self._veil.recall(newest)

    async def _write(self, live: CustomObject, wanted: Mapping[str, Any], now: float) -> None:
        key, patch = key_of(live.metadata), self.compare(live, wanted, now)
        if isinstance(patch, InStep):
            return
        body = {"metadata": {"resourceVersion": live.metadata.resource_version}, "status": patch}
        stored = await self._client.merge_patch(
            WORKLOADS, key.name, body, namespace=key.namespace, subresource="status"
        )
        after = self._written[key] = msgspec.convert(stored, CustomObject)
        if "estimation" in patch:
            self._estimation_written[key] = now
        self._metrics.writes.labels("status", "written").inc()
        logger.info("status written", workload=str(key), fields=sorted(patch))
        self._veil.written(live, wanted, after.status)
        self._on_written(live, self._veil.recall(after))
