"""Finds the newest checkpoint that can be used, and puts histories of other numbers of shards together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import ParamSpec, Protocol, TypeVar

import structlog
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from recommender.bank import buckets
from recommender.checkpoints.codec import Saved, decode
from recommender.checkpoints.errors import (
    CheckpointForeign,
    CheckpointMissing,
    CheckpointUnavailable,
    CheckpointUnreadable,
)
from recommender.checkpoints.layouts import layouts_to_load, newest_first
from recommender.checkpoints.snapshot import Snapshot, merged
from recommender.checkpoints.store import CheckpointStore, Generation
from recommender.leadership.shards import Shard

P = ParamSpec("P")
T = TypeVar("T")

_log = structlog.get_logger(__name__)


class FailureMetrics(Protocol):
    """What Prometheus is told of checkpoints that cannot be used."""

    def checkpoint_failed(self, reason: str) -> None:
        """A checkpoint could not be saved, or is there and cannot be used."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a store had for a shard.

    Attributes:
        known: All complete checkpoints in the store, of all shards.
        readable: Which of the shard's own could be used; None where none could, or was looked at.
        snapshot: The histories; None where there are none.
    """

    known: Sequence[Generation]
    readable: Generation | None = None
    snapshot: Snapshot | None = None


class CheckpointLoader:
    """Reads the checkpoints of one shard, or of those that there were before.

    Args:
        store: Where they are kept.
        shard: Whose.
        metrics: Told of all that cannot be used.
        half_life: Of the histograms; those of another one are of no use.
        patience: Seconds for which a store that cannot be reached is waited for.
    """

    def __init__(
        self,
        *,
        store: CheckpointStore,
        shard: Shard,
        metrics: FailureMetrics,
        half_life: float,
        patience: float,
    ) -> None:
        self._store = store
        self._shard = shard
        self._metrics = metrics
        self._half_life = half_life
        self._patience = patience
        self._passed_over: list[str] = []

    async def load(self) -> Loaded:
        """The newest histories that can be used; what cannot be is logged, counted and passed over.

        Raises:
            CheckpointUnavailable: The store cannot be reached, for longer than it is waited for.
        """
        self._passed_over = []
        known = await self._reached(self._store.generations)
        for count in layouts_to_load(known, self._shard):
            if count != self._shard.count:
                if (snapshot := await self._gather(known, count)) is not None:
                    return Loaded(known, snapshot=snapshot)
            elif (own := await self._newest_readable(known, self._shard)) is not None:
                return Loaded(known, *own)
        _log.warning(
            "histories begin anew",
            shard=str(self._shard),
            why="; ".join(self._passed_over) or "no checkpoint of this shard is stored",
            stored=len(known),
        )
        return Loaded(known)

    async def _gather(self, known: Sequence[Generation], count: int) -> Snapshot | None:
        """This shard's part of what the shards of another number of them have saved."""
        parts, missing = list[Snapshot](), list[str]()
        for shard in (Shard(index, count) for index in range(count)):
            found = await self._newest_readable(known, shard)
            if found is None:
                missing.append(str(shard))
            else:
                parts.append(await asyncio.to_thread(found[1].select, self._shard.owns))
        if missing:
            self._pass_over(
                CheckpointMissing(f"no usable checkpoint of {', '.join(missing)}"), shards=missing
            )
        return await self._merged(parts, count) if parts else None

    async def _merged(self, parts: Sequence[Snapshot], count: int) -> Snapshot | None:
        try:
            snapshot = await asyncio.to_thread(merged, parts)
        except ValueError as error:
            self._pass_over(CheckpointForeign(str(error)), shards=count)
            return None
        _log.info(
            "histories are taken over from another number of shards",
            shard=str(self._shard),
            former=count,
            workloads=len(snapshot),
        )
        return snapshot

    async def _newest_readable(
        self, known: Sequence[Generation], shard: Shard
    ) -> tuple[Generation, Snapshot] | None:
        for generation in newest_first(known, shard):
            try:
                return generation, await self._read(generation)
            except CheckpointUnreadable as error:
                self._pass_over(error, generation=generation.number, of=str(shard))
        return None

    async def _read(self, generation: Generation) -> Snapshot:
        parts = await self._reached(self._store.read, generation)
        saved = await asyncio.to_thread(decode, parts)
        self._require_ours(saved, generation)
        _log.info(
            "checkpoint read",
            of=str(generation.shard),
            generation=generation.number,
            workloads=len(saved.snapshot),
            bytes=sum(map(len, parts)),
            written=saved.snapshot.written,
        )
        return saved.snapshot

    def _require_ours(self, saved: Saved, generation: Generation) -> None:
        if (saved.shard, saved.generation) != (generation.shard, generation.number):
            raise CheckpointForeign(
                f"the checkpoint is that of shard {saved.shard}, generation {saved.generation}"
            )
        snapshot = saved.snapshot
        if (snapshot.tflops.buckets, snapshot.vram.buckets) != (buckets.TFLOPS, buckets.VRAM):
            raise CheckpointForeign("its histograms have other buckets than this version's")
        for before in (snapshot.tflops.half_life, snapshot.vram.half_life):
            if before != self._half_life:
                raise CheckpointForeign(
                    f"it was made with half_life {before:g} s, which is {self._half_life:g} s now"
                )

    def _pass_over(self, error: CheckpointUnreadable, **fields: object) -> None:
        self._passed_over.append(str(error))
        self._metrics.checkpoint_failed(error.reason)
        _log.warning(
            "checkpoint cannot be used",
            shard=str(self._shard),
            reason=error.reason,
            error=str(error),
            **fields,
        )

    async def _reached(self, request: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(CheckpointUnavailable),
            stop=stop_after_delay(self._patience),
            wait=wait_random_exponential(multiplier=0.2, max=5),
            before_sleep=_log_retry,
            reraise=True,
        )
        return await retrying(request, *args, **kwargs)


def _log_retry(state: RetryCallState) -> None:
    _log.warning(
        "checkpoints cannot be reached, trying again",
        attempt=state.attempt_number,
        error=str(state.outcome.exception()) if state.outcome else "",
    )
