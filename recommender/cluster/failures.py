"""Keeps one workload's trouble from stopping another's, and sees to it that it is tried again."""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

import structlog

from recommender.cluster.changes import Changes
from recommender.errors import NotLeader, OwnerGone
from recommender.keys import WorkloadKey
from recommender.metrics import STAGES, RecommenderMetrics
from vgpu.kube.errors import KubeError

# At first short enough for a rule that has to take effect, then long enough for a server in trouble.
_FIRST_WAIT: Final = 5.0
_LONGEST_WAIT: Final = 300.0
_DOUBLINGS: Final = 6

T = TypeVar("T")

logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Trouble:
    """What has failed, so many times in a row, and is put in again at a time: once, so then never."""

    put_in: Callable[[], None]
    times: int = 0
    retry_at: float = math.inf


class Failures:
    """Contains errors of single pods and workloads, and has each tried again, ever less often.

    A workload is tried before its turn when anything else puts it in: a change in the cluster, a cron rule,
    news of its usage, or a new term, which begins with all workloads.

    Args:
        changes: where what failed is put in again.
        metrics: counts errors.
        clock: seconds on a monotonic clock: on one that somebody may set back all that has failed would be
            left alone until it comes to where it was.
        jitter: a number from 0 to 1, so that what failed together is not tried again together.
    """

    def __init__(
        self,
        *,
        changes: Changes,
        metrics: RecommenderMetrics,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._changes = changes
        self._metrics = metrics
        self._clock = clock
        self._jitter = jitter
        self._troubles: dict[tuple[str, tuple[str, str]], _Trouble] = {}

    @property
    def retry_at(self) -> float:
        """When the next is to be tried again, on the clock; infinite when nothing is."""
        return min((trouble.retry_at for trouble in self._troubles.values()), default=math.inf)

    def wait(self) -> float:
        """Seconds until the next is to be tried again, below 0 once it is; infinite when nothing is."""
        return self.retry_at - self._clock()

    @contextmanager
    def of_pod(self, namespace: str, name: str) -> Iterator[None]:
        """Contain an error in a pod's part of a pass."""
        put_in = partial(self._changes.pod, namespace, name)
        with self._contained("observe", ("pod", (namespace, name)), put_in):
            yield

    @contextmanager
    def of_workload(self, stage: str, key: WorkloadKey) -> Iterator[None]:
        """Contain an error in a workload's part of a pass."""
        with self._contained(stage, (stage, key), partial(self._changes.workload, key)):
            yield

    def retry_due(self) -> None:
        """Put in again what has failed, when it is time to."""
        now = self._clock()
        for trouble in self._troubles.values():
            if now >= trouble.retry_at:
                trouble.put_in()
                trouble.retry_at = math.inf

    def forget(self, key: WorkloadKey) -> None:
        """Drop a workload that is no more."""
        for stage in STAGES:
            self._troubles.pop((stage, key), None)

    @contextmanager
    def _contained(
        self, stage: str, what: tuple[str, tuple[str, str]], put_in: Callable[[], None]
    ) -> Iterator[None]:
        told = {"stage": stage, "object": "/".join(what[1])}
        try:
            yield
        except OwnerGone as error:
            # Not tried again: garbage collection is about to take the pods, and tells when it has.
            logger.info("owner is gone", **told, error=str(error))
            self._troubles.pop(what, None)
            return
        except NotLeader:
            raise  # not this workload's trouble: the term is over
        except KubeError as error:
            logger.warning("a workload is held up", **told, error=str(error))
        except Exception:  # a mistake of ours about one workload must not stop the others
            logger.exception("a workload cannot be worked on", **told)
        else:
            self._troubles.pop(what, None)
            return
        self._metrics.workload_errors.labels(stage).inc()
        self._wait(self._troubles.setdefault(what, _Trouble(put_in)))

    def _wait(self, trouble: _Trouble) -> None:
        longest = min(_FIRST_WAIT * 2**trouble.times, _LONGEST_WAIT)
        trouble.times = min(trouble.times + 1, _DOUBLINGS)
        # Half of the wait is left to chance.
        trouble.retry_at = self._clock() + longest * (1 + self._jitter()) / 2


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
