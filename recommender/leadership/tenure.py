"""Lets one replica of a shard work at a time: whoever holds its Lease."""

import asyncio
import math
import random
import socket
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, Self

import structlog
from prometheus_client import Counter, Gauge

from recommender.errors import StuckTerm, TermOver
from recommender.leadership.election import Election, Held, Tenure
from recommender.leadership.leases import LeaseStore, LeaseTiming
from recommender.leadership.shards import Shard
from recommender.settings import RecommenderSettings
from vgpu.kube.client import KubeClient
from vgpu.kube.errors import KubeError

# A pod has 30 s from SIGTERM to SIGKILL by default, and the Lease is to be released in them too.
_GRACE: Final = 20.0
# Between two terms of a replica that has no others to wait for.
_PAUSE: Final = 2.0

Term = Callable[[Held], Awaitable[None]]
"""What a leader does, until it is cancelled."""

logger = structlog.get_logger(__name__)


class LeaderMetrics(Protocol):
    """What Prometheus is told of leadership."""

    leader: Gauge
    """1 while this replica leads, else 0."""
    leader_transitions: Counter
    """Times that this replica began to lead."""
    lease_failures: Counter
    """Requests about the Lease that failed."""


class _Always:
    """Leave to write for a replica that is alone by its configuration."""

    def remaining(self) -> float:
        return math.inf


class Leadership:
    """Waits for the Lease, works while it is held, and waits again.

    Args:
        election: the candidate; None for a replica that works always.
        metrics: told who leads, and of failures.
        grace: seconds for the work to end in once it is told to.
    """

    def __init__(self, *, election: Election | None, metrics: LeaderMetrics, grace: float = _GRACE) -> None:
        self._election = election
        self._metrics = metrics
        self._grace = grace

    @classmethod
    def from_settings(
        cls, settings: RecommenderSettings, *, identity: str, client: KubeClient, metrics: LeaderMetrics
    ) -> Self:
        """The leadership that the settings ask for, in the name of `identity`, which no other process has."""
        if not settings.leader_election:
            return cls(election=None, metrics=metrics)
        store = LeaseStore(
            client=client,
            namespace=settings.namespace,
            shard=Shard(settings.shard_index, settings.shard_count),
            identity=identity,
            timing=LeaseTiming(
                duration=settings.lease_duration,
                renew_deadline=settings.lease_renew_deadline,
                retry=settings.lease_retry,
            ),
            wall=time.time,
        )
        return cls(
            election=Election(store=store, clock=time.monotonic, jitter=random.random), metrics=metrics
        )

    async def run(self, term: Term) -> None:
        """Run a term whenever the Lease is held, until one ends by itself or this is cancelled.

        A term is cancelled before anybody else can hold the Lease, and awaited before the Lease is stood for
        again. When this is cancelled, so is the term, whose last writes may still go out: the Lease is kept
        until it has ended, and released then. A term that ends with TermOver, as when the Lease is lost, is
        followed by another.

        Raises:
            StuckTerm: a term did not end in time.
            MissingNamespace: there is no place for the Lease.
            Exception: whatever ended a term, or came of its being cancelled.
        """
        if self._election is None:
            await self._alone(term)
            return
        election = self._election
        while True:
            tenure = await self._win(election)
            if not await self._lead(election, tenure, term):
                return
            # Another replica may be in a better state than this one.
            await asyncio.sleep(election.pause())

    async def _alone(self, term: Term) -> None:
        while True:
            self._begin()
            try:
                return await term(_Always())
            except Exception as error:
                if not _is_over(error):
                    raise
            finally:
                self._metrics.leader.set(0)
            await asyncio.sleep(_PAUSE)

    def _begin(self) -> None:
        self._metrics.leader.set(1)
        self._metrics.leader_transitions.inc()

    async def _win(self, election: Election) -> Tenure:
        while True:
            try:
                if (tenure := await election.stand()) is not None:
                    return tenure
            except KubeError as error:
                self._failed("lease could not be taken", election, error)
            await asyncio.sleep(election.pause())

    async def _lead(self, election: Election, tenure: Tenure, term: Term) -> bool:
        """Whether the Lease was lost before the term ended by itself."""
        logger.info("leading", lease=election.name)
        self._begin()
        keeping = asyncio.ensure_future(self._keep(election, tenure))
        work = asyncio.ensure_future(term(tenure))
        lost = False
        try:
            await asyncio.wait((work, keeping), return_when=asyncio.FIRST_COMPLETED)
            lost = not work.done()
        finally:
            await self._end(election, tenure, work=work, keeping=keeping)
        return lost or _failure_of(work) is not None

    async def _keep(self, election: Election, tenure: Tenure) -> None:
        """Renew the Lease until it is lost."""
        while (remaining := tenure.remaining()) > 0:
            await asyncio.sleep(min(election.pause(), remaining))
            try:
                async with asyncio.timeout(tenure.remaining()):
                    await election.renew(tenure)
            except (KubeError, TimeoutError) as error:
                self._failed("lease could not be renewed", election, error)
        logger.warning("lease lost", lease=election.name)

    async def _end(
        self, election: Election, tenure: Tenure, *, work: asyncio.Future[None], keeping: asyncio.Future[None]
    ) -> None:
        """End the work while the Lease is kept if it can be, then let go of the Lease.

        Raises:
            StuckTerm: the work does not end; the Lease is left to run out.
            Exception: what the work, or the keeping of the Lease, ended with.
        """
        try:
            work.cancel()
            await asyncio.wait((work,), timeout=self._grace)
        finally:
            keeping.cancel()
            self._metrics.leader.set(0)
        await asyncio.wait((keeping,))
        tenure.end()
        if not work.done():
            raise StuckTerm(election.name, self._grace)
        await election.resign(tenure)
        for each in (work, keeping):
            failure = _failure_of(each)
            if failure is not None and not _is_over(failure):
                raise failure

    def _failed(self, message: str, election: Election, error: Exception) -> None:
        self._metrics.lease_failures.inc()
        logger.warning(message, lease=election.name, error=str(error) or "no answer in time")


def new_identity(name: str | None) -> str:
    """How a process is called as the holder of a Lease: its name, else its host's, and what no other has.

    Two replicas that were given the same name must not take each other for themselves.
    """
    return f"{name or socket.gethostname()}_{uuid.uuid4()}"


def _failure_of(work: asyncio.Future[None]) -> BaseException | None:
    return None if work.cancelled() else work.exception()


def _is_over(error: BaseException) -> bool:
    """Whether a term ended with nothing that another one cannot put right."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(TermOver)[1] is None
    return isinstance(error, TermOver)
