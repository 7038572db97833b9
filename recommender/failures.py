"""Keeps one workload's trouble from stopping another's, and sees to it that it is tried again."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import structlog

from recommender.changes import Changes
from recommender.errors import OwnerGone
from recommender.keys import WorkloadKey
from recommender.metrics import RecommenderMetrics
from vgpu.kube.errors import KubeError

# Long enough not to hammer a server in trouble, short enough for a rule that has to take effect.
_RETRY_SECONDS: Final = 5.0

T = TypeVar("T")

logger = structlog.get_logger(__name__)


class Failures:
    """Contains errors of single pods and workloads.

    Args:
        changes: where what failed is put in again.
        metrics: counts errors.
        clock: seconds since the epoch.
    """

    def __init__(self, *, changes: Changes, metrics: RecommenderMetrics, clock: Callable[[], float]) -> None:
        self._changes = changes
        self._metrics = metrics
        self._clock = clock
        self._pods: set[tuple[str, str]] = set()
        self._workloads: set[WorkloadKey] = set()
        self.retry_at = math.inf

    @contextmanager
    def of_pod(self, namespace: str, name: str) -> Iterator[None]:
        """Contain an error in a pod's part of a pass."""
        with self._contained("observe", f"{namespace}/{name}", lambda: self._pods.add((namespace, name))):
            yield

    @contextmanager
    def of_workload(self, stage: str, key: WorkloadKey) -> Iterator[None]:
        """Contain an error in a workload's part of a pass."""
        with self._contained(stage, str(key), lambda: self._workloads.add(key)):
            yield

    def retry_due(self, now: float) -> None:
        """Put in again what has failed, when it is time to."""
        if now < self.retry_at:
            return
        for namespace, name in self._pods:
            self._changes.pod(namespace, name)
        for key in self._workloads:
            self._changes.workload(key)
        self._pods, self._workloads, self.retry_at = set(), set(), math.inf

    @contextmanager
    def _contained(self, stage: str, name: str, remember: Callable[[], None]) -> Iterator[None]:
        try:
            yield
        except OwnerGone as error:
            # Not tried again: garbage collection is about to take the pods, and tells when it has.
            logger.info("owner is gone", stage=stage, object=name, error=str(error))
            return
        except KubeError as error:
            logger.warning("a workload is held up", stage=stage, object=name, error=str(error))
        except Exception:  # a mistake of ours about one workload must not stop the others
            logger.exception("a workload cannot be worked on", stage=stage, object=name)
        else:
            return
        self._metrics.workload_errors.labels(stage).inc()
        remember()
        self.retry_at = min(self.retry_at, self._clock() + _RETRY_SECONDS)


async def in_parallel(work: Callable[[T], Awaitable[None]], items: Iterable[T], *, limit: int = 16) -> None:
    """Do something with each item, with so many at a time; the first error ends it all."""
    remaining = iter(items)

    async def worker() -> None:
        for item in remaining:
            await work(item)
            # Work that needs no waiting would otherwise keep probes and feeding from their turn.
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as workers:
        for _ in range(limit):
            workers.create_task(worker())
