"""The histories of all workloads, one piece of work on them at a time, and none of it on the event loop."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeVar

from recommender.checkpoints.snapshot import PendingBackfill, Snapshot
from recommender.estimation import Estimation
from recommender.histories import Fed, Histories
from recommender.keys import WorkloadKey
from recommender.usage import Usage
from vgpu.api import AutoSetResources

T = TypeVar("T")


class Memory:
    """Histories together with how far usage has been read into them: what a checkpoint holds.

    Numpy work on a hundred thousand rows takes longer than probes and watches may wait, so each piece runs in
    a thread, behind one lock. Where usage ends and what is pending of the past move in the same piece of work
    that takes the samples in: a snapshot can never miss a sample that counts as read.

    Args:
        histories: the usage of all workloads.
        cursor: the time up to which usage is in them; None where there is none yet.
        pending: what is still to be read of the past.
    """

    def __init__(
        self, histories: Histories, *, cursor: float | None = None, pending: Sequence[PendingBackfill] = ()
    ) -> None:
        self._histories = histories
        self._cursor = cursor
        self._pending = tuple(pending)
        self._lock = asyncio.Lock()

    async def feed(self, usage: Usage, pending: Callable[[Fed], Sequence[PendingBackfill]]) -> Fed:
        """Take in what one poll brought.

        Args:
            usage: what it brought.
            pending: what is to be read of the past, now that these workloads are known.
        """

        def take() -> Fed:
            fed = self._histories.feed(usage)
            self._cursor = usage.until
            return fed

        async with self._lock:
            fed = await _in_thread(take)
            self._pending = tuple(pending(fed))
        return fed

    async def feed_earlier(
        self, usage: Usage, keys: Collection[WorkloadKey], pending: Callable[[], Sequence[PendingBackfill]]
    ) -> Fed:
        """Take in a piece of the past.

        Args:
            usage: the piece.
            keys: the workloads that it was read for.
            pending: what is to be read of the past after it.
        """

        def take() -> Fed:
            fed = self._histories.feed_earlier(usage, keys)
            self._pending = rest
            return fed

        async with self._lock:
            rest = tuple(pending())
            return await _in_thread(take)

    async def configure(self, configured: Iterable[tuple[WorkloadKey, AutoSetResources]]) -> None:
        """Tell how workloads are to be estimated from now on."""

        def take() -> None:
            for key, config in configured:
                self._histories.configure(key, config)

        await self._exclusively(take)

    async def estimate(self, keys: Sequence[WorkloadKey] | None = None) -> Estimation:
        """What the samples of some or of all configured workloads say."""
        return await self._exclusively(lambda: self._histories.estimate(keys))

    async def forget_idle(self, now: float) -> tuple[WorkloadKey, ...]:
        """Drop the workloads that have been without a sample for so long that nothing of theirs counts."""
        return await self._exclusively(lambda: self._histories.forget_idle(now))

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

        def take() -> None:
            for uid in pods:
                self._histories.forget_pod(uid)
            for key in workloads:
                self._histories.forget(key)
            for key in neglected:
                self._histories.neglect(key)

        await self._exclusively(take)

    async def snapshot(self, now: float) -> Snapshot:
        """Everything, as it is at this moment."""
        return await self._exclusively(
            lambda: self._histories.snapshot(written=now, cursor=self._cursor, backfill=self._pending)
        )

    async def _exclusively(self, work: Callable[[], T]) -> T:
        async with self._lock:
            return await _in_thread(work)


async def _in_thread(work: Callable[[], T]) -> T:
    """Do something in a thread, and be there when it ends: a thread goes on when who waits is cancelled."""
    thread = asyncio.create_task(asyncio.to_thread(work))
    try:
        return await asyncio.shield(thread)
    finally:
        await asyncio.wait([thread])
