"""When the recommender does what: each activity in a loop of its own, so that none waits for another."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from recommender.cluster.changes import Changes
from recommender.histories.pacing import spare_collection, spare_newcomers
from recommender.metrics import RecommenderMetrics

# Changes come in bursts (a rollout, a profile of a hundred workloads): wait a little for the rest.
_DEBOUNCE: Final = 0.2
# By then a clock that somebody has set is noticed.
_LONGEST_WAIT: Final = 60.0
_SHORTEST_WAIT: Final = 0.02
WRITERS: Final = 16
"""So many writes are on their way at a time: enough for 50 a second where one takes 0.3 s."""


@dataclass(frozen=True, slots=True)
class Timing:
    """When things happen.

    Attributes:
        interval: seconds between two polls of the metric source.
        settle: seconds after a multiple of the interval at which its samples are there.
        checkpoint: seconds between two checkpoints.
        clock: seconds since the epoch.
        monotonic: seconds on a clock that nobody sets, to measure durations by.
    """

    interval: float
    settle: float
    checkpoint: float = 600.0
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


class Activities(Protocol):
    """What is done time and again."""

    def look_at_everything(self) -> None:
        """Let the next pass be about all workloads."""
        ...

    async def get_to_know(self) -> None:
        """Prepare for usage; nothing is written."""
        ...

    async def reconcile(self) -> None:
        """Find out about everything that has changed, and hand over what is to be written of it."""
        ...

    async def write_next(self) -> None:
        """Write of one workload; waits until there is something, and its turn comes."""
        ...

    async def feed(self) -> None:
        """Read usage up to now."""
        ...

    async def feed_the_past(self) -> None:
        """Read a piece of the past."""
        ...

    async def checkpoint(self) -> None:
        """Save what is remembered."""
        ...

    def next_due(self) -> float:
        """When there will be something to reconcile although nothing changes, in seconds since the epoch."""
        ...

    def pause(self) -> float:
        """Seconds to rest before the next piece of the past."""
        ...


class Rhythm:
    """Has usage read once an interval, and reconciles whenever something has changed or is due.

    Args:
        activities: what is done.
        changes: what there is to reconcile.
        metrics: counts what takes longer than the interval.
        timing: when things happen.
    """

    def __init__(
        self, activities: Activities, *, changes: Changes, metrics: RecommenderMetrics, timing: Timing
    ) -> None:
        self._activities = activities
        self._changes = changes
        self._metrics = metrics
        self._timing = timing

    async def run(self) -> None:
        """Work until cancelled.

        Usage needs only to be known whose it is: it waits for no write, and a first pass may have many.
        """
        self._activities.look_at_everything()
        await self._activities.get_to_know()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._feed(), name="feed")
            tasks.create_task(self._feed_the_past(), name="back-fill")
            tasks.create_task(self._reconcile(), name="reconcile")
            tasks.create_task(self._checkpoint(), name="checkpoint")
            for number in range(WRITERS):
                tasks.create_task(self._write(), name=f"write-{number}")

    async def _feed(self) -> None:
        while True:
            await self._measured(self._activities.feed)
            now = self._timing.clock()
            await asyncio.sleep(self._next_feed(now) - now)

    def _next_feed(self, now: float) -> float:
        """The next time at which the samples of a whole interval are there."""
        interval, settle = self._timing.interval, self._timing.settle
        return (math.floor((now - settle) / interval) + 1) * interval + settle

    async def _feed_the_past(self) -> None:
        while True:
            await self._activities.feed_the_past()
            await asyncio.sleep(self._activities.pause())

    async def _reconcile(self) -> None:
        await self._measured(self._activities.reconcile)
        spare_collection()
        while True:
            await self._wait_for_work()
            await self._measured(self._activities.reconcile)

    async def _wait_for_work(self) -> None:
        """Wait for a change and what comes with it, but never past a cron rule's beginning or end."""
        if await self._changes.wait(self._until_due(_LONGEST_WAIT)):
            await asyncio.sleep(self._until_due(_DEBOUNCE))

    def _until_due(self, longest: float) -> float:
        due = self._activities.next_due() - self._timing.clock()
        return max(_SHORTEST_WAIT, min(due, longest))

    async def _write(self) -> None:
        while True:
            await self._activities.write_next()

    async def _checkpoint(self) -> None:
        while True:
            await asyncio.sleep(self._timing.checkpoint)
            await self._activities.checkpoint()
            spare_newcomers()

    async def _measured(self, activity: Callable[[], Awaitable[None]]) -> None:
        begun = self._timing.monotonic()
        await activity()
        if self._timing.monotonic() - begun > self._timing.interval:
            self._metrics.late_passes.inc()
