"""Loads what a recommender learned in its last life, and saves what it learns in this one."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from recommender.checkpoints.codec import encode
from recommender.checkpoints.errors import CheckpointConflict, CheckpointError, CheckpointUnavailable
from recommender.checkpoints.layouts import layouts_to_remove, newest_first
from recommender.checkpoints.loading import CheckpointLoader, FailureMetrics
from recommender.checkpoints.snapshot import Snapshot
from recommender.checkpoints.store import CheckpointStore, Generation
from recommender.leadership.shards import Shard

_log = structlog.get_logger(__name__)


class CheckpointMetrics(FailureMetrics, Protocol):
    """What Prometheus is told of checkpoints."""

    def checkpoint_loaded(self, *, written: float) -> None:
        """A checkpoint is gone on from: when it was taken."""

    def checkpoint_saved(self, *, size: int, seconds: float, generation: int, now: float) -> None:
        """A checkpoint is complete: its bytes, how long that took, its number and when it was taken."""


@dataclass(frozen=True, slots=True)
class KeeperTiming:
    """How long things may take, in seconds.

    Attributes:
        patience: For how long a store that cannot be reached is waited for when loading.
        timeout: In what time a checkpoint has to be saved.
        settled: How long nothing may have been saved by a former number of shards before its checkpoints are
            removed: longer than a rolling update takes, and than the pause between two checkpoints.
    """

    patience: float = 30.0
    timeout: float = 60.0
    settled: float = 3600.0


class CheckpointKeeper:
    """The checkpoints of one shard, for one term of leadership.

    Args:
        store: Where they are kept.
        shard: Whose.
        metrics: Told of the one that is gone on from, each that is saved, and all that fails.
        clock: The time, epoch seconds.
        half_life: Of the histograms; those of another one are of no use.
        timing: How long things may take.
    """

    def __init__(
        self,
        *,
        store: CheckpointStore,
        shard: Shard,
        metrics: CheckpointMetrics,
        clock: Callable[[], float],
        half_life: float,
        timing: KeeperTiming = KeeperTiming(),
    ) -> None:
        self._loader = CheckpointLoader(
            store=store,
            shard=shard,
            metrics=metrics,
            half_life=half_life,
            patience=timing.patience,
        )
        self._store = store
        self._shard = shard
        self._metrics = metrics
        self._clock = clock
        self._timing = timing
        self._latest: Generation | None = None
        self._readable: Generation | None = None
        self._attempted: Generation | None = None
        self._sure = False
        self._others = False

    async def load(self) -> Snapshot | None:
        """The histories of this shard as they were last saved, by whatever number of shards.

        What is there and cannot be used is logged, counted and passed over: the checkpoint before it takes
        its place. None when there is nothing usable at all, which is logged, too.

        Raises:
            CheckpointUnavailable: The store cannot be reached, for longer than it is waited for.
        """
        loaded = await self._loader.load()
        self._latest = next(iter(newest_first(loaded.known, self._shard)), None)
        self._readable, self._attempted, self._sure = loaded.readable, None, True
        self._others = any(each.shard.count != self._shard.count for each in loaded.known)
        if loaded.snapshot is not None:
            self._metrics.checkpoint_loaded(written=loaded.snapshot.written)
        return loaded.snapshot

    async def save(self, snapshot: Snapshot) -> None:
        """Saves the histories as the next generation; `load` comes before the first time.

        Whatever happens, SIGKILL too, the generation that was readable before stays so until the new one is.

        Raises:
            CheckpointConflict: Somebody else saves this shard's checkpoints. Nothing more is written.
            CheckpointUnavailable: The store cannot be reached, or it takes too long.
            NotLeader: The Lease is lost (or whatever else guards the store).
        """
        begin = time.perf_counter()
        try:
            async with asyncio.timeout(self._timing.timeout):
                size = await self._save(snapshot)
        except TimeoutError:
            self._metrics.checkpoint_failed(CheckpointUnavailable.reason)
            raise CheckpointUnavailable(
                f"the checkpoint of shard {self._shard} was not saved within {self._timing.timeout:g} s"
            ) from None
        except CheckpointError as error:
            self._metrics.checkpoint_failed(error.reason)
            raise
        self._metrics.checkpoint_saved(
            size=size,
            seconds=time.perf_counter() - begin,
            generation=self._number,
            now=snapshot.written,
        )
        await self._tidy()

    @property
    def _number(self) -> int:
        """The number of the newest generation, as far as we know; 0 before the first."""
        return self._latest.number if self._latest else 0

    async def _save(self, snapshot: Snapshot) -> int:
        if not self._sure:
            await self._look()
        generation = Generation(self._shard, self._next_number(), round(snapshot.written, 3))
        parts = await asyncio.to_thread(
            encode,
            snapshot,
            shard=self._shard,
            generation=generation.number,
            part_bytes=self._store.part_bytes,
        )
        self._sure, self._attempted = False, generation
        await self._store.write(generation, parts)
        self._sure, self._latest, self._readable = True, generation, generation
        return sum(map(len, parts))

    def _next_number(self) -> int:
        """A number whose checkpoint does not take the place of the one that is readable."""
        number = self._number + 1
        in_its_way = self._readable is not None and (number - self._readable.number) % 2 == 0
        return number + 1 if in_its_way else number

    async def _look(self) -> Sequence[Generation]:
        """Lists the store after a failure, to see whether we are still the only one who writes."""
        self._sure = False
        known = await self._store.generations()
        newest = next(iter(newest_first(known, self._shard)), None)
        if newest == self._attempted:  # it was written, only the answer was lost
            self._latest = self._readable = newest
        elif newest is not None and newest != self._latest and newest.number >= self._number:
            raise CheckpointConflict(f"the checkpoint of shard {self._shard}, generation {newest.number},")
        self._sure = True
        return known

    async def _tidy(self) -> None:
        """Removes the checkpoints of former numbers of shards, once nobody needs them."""
        if not self._others:
            return
        try:
            async with asyncio.timeout(self._timing.timeout):
                known = await self._look()
                gone = layouts_to_remove(
                    known, self._shard.count, now=self._clock(), settled=self._timing.settled
                )
                for shard in gone:
                    await self._store.remove(shard)
        except (CheckpointError, TimeoutError) as error:
            _log.warning("checkpoints of former shards are not removed yet", error=str(error))
            return
        left = {each.shard for each in known} - set(gone)
        self._others = any(shard.count != self._shard.count for shard in left)
        if gone:
            _log.info("checkpoints of former shards are removed", shards=[str(shard) for shard in gone])
