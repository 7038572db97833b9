"""Stands for a shard's Lease, keeps it and lets go of it.

The rules are client-go's. The election that kubernetes-asyncio brings goes by the wall clock, waits for
requests without end, goes down with a broken connection, releases nothing and knows no other shards.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Protocol

import structlog

from recommender.errors import NotLeader
from recommender.leadership.leases import LeaseStore, SignsOfLife
from vgpu.kube.errors import AlreadyExists, Conflict, KubeError, NotFound
from vgpu.kube.objects import Lease

logger = structlog.get_logger(__name__)


class Held(Protocol):
    """Leave to write."""

    def remaining(self) -> float:
        """Seconds for which writing is surely allowed; 0 once it is not, and from then on."""
        ...


class Tenure:
    """One time as the holder of a Lease. Once it has run out it stays so, whatever is renewed later.

    Args:
        clock: seconds on a monotonic clock.
        until: when it runs out.
    """

    def __init__(self, *, clock: Callable[[], float], until: float) -> None:
        self._clock = clock
        self._until = until

    def remaining(self) -> float:
        """Seconds for which writing is surely allowed; 0 once it is not, and from then on."""
        remaining = self._until - self._clock()
        if remaining > 0:
            return remaining
        self.end()
        return 0.0

    def prolong(self, until: float) -> None:
        """Let it run out later, if it has not yet."""
        if self.remaining() > 0:
            self._until = max(self._until, until)

    def end(self) -> None:
        """Let it run out now."""
        self._until = -math.inf


def fence(held: Held) -> Callable[[], None]:
    """The check of a guarded client: raises NotLeader once writing is no longer surely allowed."""

    def check() -> None:
        if held.remaining() <= 0:
            raise NotLeader

    return check


class Election:
    """A candidate for one shard's Lease.

    A holder reckons from before it sent its last renewal that succeeded, all others from when they first saw
    it, and for longer: so nobody else holds the Lease while a tenure remains, however long requests take and
    processes stand still.

    The Leases of another count of shards are other divisions of the same workloads. A candidate claims its
    Lease only while nobody holds one of those, and then looks again: of two that claimed at the same time at
    least one sees the other, and none goes on while it sees one. The division of fewer shards gives way.

    Args:
        store: the shard's Lease, and those of others.
        clock: seconds on a monotonic clock.
        jitter: a number from 0 to 1, so that candidates do not all try at the same time.
    """

    def __init__(self, *, store: LeaseStore, clock: Callable[[], float], jitter: Callable[[], float]) -> None:
        self._store = store
        self._timing = store.timing
        self._clock = clock
        self._jitter = jitter
        self._own = SignsOfLife(clock=clock, duration=self._timing.duration)
        self._others = SignsOfLife(clock=clock, duration=self._timing.duration)
        self._live: Lease | None = None
        self._outdated: list[Lease] = []
        self._free_at = -math.inf
        self._told = ""

    @property
    def name(self) -> str:
        """The Lease's name."""
        return self._store.name

    def pause(self) -> float:
        """Seconds until the next try: sooner when what is waited for ends sooner."""
        pause = self._timing.retry * (1 - self._jitter() / 4)
        wait = self._free_at - self._clock()
        return min(pause, wait + self._jitter() * self._timing.retry / 10) if wait > 0 else pause

    async def stand(self) -> Tenure | None:
        """Take the Lease if nobody has it; None when somebody does, or was faster.

        Raises:
            KubeError: kube-apiserver does not let it.
            MissingNamespace: there is no place for it.
        """
        asked = self._clock()
        live = await self._store.read()
        if not self._is_free(live, asked) or await self._rivals():
            return None
        sent = self._clock()
        try:
            self._live = await self._store.claim(live)
        except (AlreadyExists, Conflict, NotFound):
            return None
        tenure = Tenure(clock=self._clock, until=sent + self._timing.renew_deadline)
        alone = False
        try:
            alone = await self._is_alone(tenure)
        finally:
            if not alone:
                await self.resign(tenure)
        return tenure if alone else None

    async def renew(self, tenure: Tenure) -> None:
        """Prolong a tenure; it is over when the Lease turns out to be gone or another's.

        For one that is over nothing is sent: this process may have stood still since it meant to renew.

        Raises:
            KubeError: it may be tried again.
        """
        if tenure.remaining() <= 0:
            return
        live, self._live = self._live, None
        live = live or await self._store.read()
        if live is None or live.spec.holder_identity != self._store.identity:
            tenure.end()
            return
        sent = self._clock()
        try:
            self._live = await self._store.claim(live)
        except NotFound:
            tenure.end()
            return
        tenure.prolong(sent + self._timing.renew_deadline)
        await self._tidy(tenure)

    async def resign(self, tenure: Tenure) -> None:
        """Let go of the Lease, so that another may take it at once; failing that, it runs out by itself."""
        tenure.end()
        live, self._live = self._live, None
        for attempt in (live, None):
            try:
                lease = attempt or await self._store.read()
                if lease is None or lease.spec.holder_identity != self._store.identity:
                    return
                await self._store.release(lease)
            except (Conflict, NotFound):  # a last renewal was faster
                continue
            except KubeError as error:
                logger.warning(
                    "lease could not be released and has to run out", lease=self.name, error=str(error)
                )
            else:
                logger.info("lease released", lease=self.name)
            return

    def _is_free(self, live: Lease | None, asked: float) -> bool:
        self._own.note([live] if live else [])
        if live is None or live.spec.holder_identity == self._store.identity:
            return True
        self._free_at = self._own.end_of(live)
        # Not the present time: the answer may be old, and a renewal on its way since it was asked for.
        free = self._free_at <= asked
        if not free:
            self._tell("another replica leads", holder=live.spec.holder_identity)
        return free

    async def _rivals(self) -> list[int]:
        """The counts of shards by which somebody else divides the workloads now."""
        asked = self._clock()
        others = [
            (shard, lease)
            for shard, lease in await self._store.of_all_shards()
            if shard.count != self._store.shard.count
        ]
        self._others.note(lease for _, lease in others)
        ends = [(self._others.end_of(lease), shard.count, lease) for shard, lease in others]
        rivals = [(end, count) for end, count, _ in ends if end > asked]
        self._outdated = [lease for end, _, lease in ends if end <= asked]
        if rivals:
            self._free_at = max(end for end, _ in rivals)
            counts = sorted({count for _, count in rivals})
            self._tell("the workloads are divided in another way still", shard_counts=counts)
        return [count for _, count in rivals]

    async def _is_alone(self, tenure: Tenure) -> bool:
        """Whether nobody divides the workloads in another way, now that all can see that we do."""
        patience = self._clock() + self._timing.duration
        while rivals := await self._rivals():
            if max(rivals) > self._store.shard.count or self._clock() > patience:
                return False
            await asyncio.sleep(self.pause())
            await self.renew(tenure)
        return tenure.remaining() > 0

    async def _tidy(self, tenure: Tenure) -> None:
        """Delete one Lease of another division: while we lead, nobody can come to lead by it."""
        if not self._outdated or self._store.shard.index:
            return
        try:
            await self._store.remove(self._outdated.pop(), check=fence(tenure))
        except (KubeError, NotLeader) as error:
            logger.warning("outdated lease could not be deleted", error=str(error))

    def _tell(self, message: str, **told: object) -> None:
        if str(told) != self._told:
            self._told = str(told)
            logger.info(message, lease=self.name, **told)
