"""The histories of all workloads, one piece of work on them at a time, and none of it on the event loop."""

import asyncio
from collections.abc import Callable, Collection, Container, Iterable, Sequence
from typing import TypeVar

from recommender.checkpoints.snapshot import PendingBackfill, Snapshot
from recommender.errors import TornHistories
from recommender.histories.estimation import Estimation
from recommender.histories.histories import Fed, Histories
from recommender.histories.pacing import to_the_end
from recommender.histories.placing import Counts
from recommender.keys import WorkloadKey
from recommender.usage.reading import Usage
from vgpu.api import AutoSetResources

T = TypeVar("T")

Pending = Sequence[PendingBackfill]


class Memory:
    """Histories together with how far usage has been read into them: what a checkpoint holds.

    Numpy work on a hundred thousand rows takes longer than probes and watches may wait, so each piece runs in
    a thread, behind one lock. Where usage ends, and what is pending of the past, move in the same piece of
    work that takes the samples in: no snapshot has the one without the other, even when who waits for the
    work is cancelled in the middle of it.

    Args:
        histories: the usage of all workloads.
        cursor: the time up to which usage is in them; None where there is none yet.
        pending: what is still to be read of the past.
        counts: whether the usage of a pod still counts, after it was read; called from another thread. None:
            that of all pods does.
    """

    def __init__(
        self,
        histories: Histories,
        *,
        cursor: float | None = None,
        pending: Pending = (),
        counts: Counts | None = None,
    ) -> None:
        self._histories = histories
        self._counts = counts
        self._cursor = cursor
        self._pending = tuple(pending)
        self._torn = False
        self._lock = asyncio.Lock()

    @property
    def cursor(self) -> float | None:
        """The time up to which usage has been taken in, in seconds since the epoch; None before any was."""
        return self._cursor

    async def put_right(self, cursor: float | None) -> None:
        """Prepare for usage that is read again from another time on, as the clock was wrong.

        Args:
            cursor: that time, in seconds since the epoch.
        """

        def work() -> None:
            self._histories.put_right()
            self._cursor = cursor

        await self._exclusively(work)

    async def feed(self, usage: Usage, pending: Callable[[Fed], Pending]) -> Fed:
        """Take in what one poll brought.

        Args:
            usage: what it brought.
            pending: what is to be read of the past, now that these workloads are known; called while nothing
                else is done here.
        """

        async def take() -> Fed:
            fed = await self._taking(lambda: self._histories.feed(usage, known=self._counts))
            self._cursor, self._pending = usage.until, tuple(pending(fed))
            return fed

        async with self._lock:
            return await to_the_end(take())

    async def feed_earlier(
        self, usage: Usage, read: Callable[[], tuple[Collection[WorkloadKey], Pending]]
    ) -> Fed:
        """Take in a piece of the past.

        Args:
            usage: the piece.
            read: the workloads that it counts for, and what is to be read of the past after it; called while
                nothing else is done here.
        """

        async def take() -> Fed:
            keys, pending = read()
            fed = await self._taking(lambda: self._histories.feed_earlier(usage, keys, known=self._counts))
            self._pending = tuple(pending)
            return fed

        async with self._lock:
            return await to_the_end(take())

    async def configure(self, configured: Sequence[tuple[WorkloadKey, AutoSetResources]]) -> None:
        """Have some workloads estimated in this way from now on."""
        await self._exclusively(lambda: self._configure(configured))

    async def estimate(self) -> Estimation:
        """What the samples of all configured workloads say."""
        return await self._exclusively(self._histories.estimate)

    async def estimate_as(self, configured: Sequence[tuple[WorkloadKey, AutoSetResources]]) -> Estimation:
        """What the samples of some workloads say, which are estimated in this way from now on."""

        def work() -> Estimation:
            self._configure(configured)
            return self._histories.estimate([key for key, _ in configured])

        return await self._exclusively(work)

    async def forget_idle(self) -> tuple[WorkloadKey, ...]:
        """Drop workloads that were without a sample for so long that nothing of theirs counts; returns them.

        That is by the time up to which usage has been read: nobody is idle because the source is away.
        """
        cursor = self._cursor
        return () if cursor is None else await self._exclusively(lambda: self._histories.forget_idle(cursor))

    async def forget(
        self,
        *,
        pods: Iterable[str] = (),
        workloads: Iterable[WorkloadKey] = (),
        neglected: Iterable[WorkloadKey] = (),
    ) -> None:
        """Drop what is no more.

        Args:
            pods: UIDs of pods.
            workloads: those whose histories go too.
            neglected: those that may come back, and keep their histories.
        """

        def work() -> None:
            for uid in pods:
                self._histories.forget_pod(uid)
            for key in workloads:
                self._histories.forget(key)
            for key in neglected:
                self._histories.neglect(key)

        await self._exclusively(work)

    async def forget_other_pods(self, uids: Container[str]) -> None:
        """Drop all pods but some."""
        await self._exclusively(lambda: self._histories.forget_other_pods(uids))

    async def snapshot(self, now: float) -> Snapshot:
        """Everything, as it is at this moment.

        Raises:
            TornHistories: taking usage in has failed before it was done.
        """
        return await self._exclusively(
            lambda: self._histories.snapshot(written=now, cursor=self._cursor, backfill=self._pending)
        )

    def _configure(self, configured: Sequence[tuple[WorkloadKey, AutoSetResources]]) -> None:
        for key, config in configured:
            self._histories.configure(key, config)

    async def _exclusively(self, work: Callable[[], T]) -> T:
        async with self._lock:
            if self._torn:
                raise TornHistories
            return await to_the_end(asyncio.to_thread(work))

    async def _taking(self, work: Callable[[], Fed]) -> Fed:
        """Take samples in; if that fails nobody can tell which of them count already."""
        if self._torn:
            raise TornHistories
        self._torn = True
        fed = await asyncio.to_thread(work)
        self._torn = False
        return fed
