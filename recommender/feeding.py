"""Reads usage into the memory, and knows whether the metric source does its part."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import structlog

from recommender.checkpoints.snapshot import PendingBackfill
from recommender.cluster.known_pods import KnownPods
from recommender.histories.histories import Fed
from recommender.histories.memory import Memory
from recommender.keys import WorkloadKey
from recommender.metrics import RecommenderMetrics
from recommender.usage.backfill import Backfill
from recommender.usage.hearing import Heard, Hearing
from recommender.usage.reading import Usage, UsageReader
from recommender.usage.samples import Outcome
from vgpu.prometheus import PrometheusError

Pasts = Callable[[Sequence[WorkloadKey]], tuple[Mapping[WorkloadKey, float], Mapping[WorkloadKey, float]]]
"""How many seconds of the past of workloads are wanted, and when the oldest pod of each was created."""


def no_past(_: Sequence[WorkloadKey]) -> tuple[Mapping[WorkloadKey, float], Mapping[WorkloadKey, float]]:
    """None of the past is wanted."""
    return {}, {}


logger = structlog.get_logger(__name__)


class Feeder:
    """Takes in all usage that there is up to now, and piece by piece the past of workloads that are new.

    A source that fails moves nothing: the next call asks for the same stretch again.

    Args:
        reader: where usage comes from.
        backfill: where the past of new workloads comes from.
        memory: where both go.
        known: the pods that count, some of them until all of their usage has been read.
        pasts: how much of the past of new workloads is wanted.
        metrics: counts samples and errors.
        hearing: follows when the source answers.
    """

    def __init__(
        self,
        *,
        reader: UsageReader,
        backfill: Backfill,
        memory: Memory,
        known: KnownPods,
        pasts: Pasts,
        metrics: RecommenderMetrics,
        hearing: Hearing,
    ) -> None:
        self._reader = reader
        self._backfill = backfill
        self._memory = memory
        self._known = known
        self._pasts = pasts
        self._metrics = metrics
        self._hearing = hearing
        self._forgotten: set[WorkloadKey] = set()
        self.problem: str | None = "the metric source has not been asked yet"
        for outcome in Outcome:
            metrics.samples.labels(outcome.value)
        for chunk in ("read", "failed", "given_up"):
            metrics.backfill_chunks.labels(chunk)

    @property
    def heard(self) -> Heard:
        """What the metric source has answered, of which the samples have all been taken in."""
        return self._hearing.heard

    @property
    def pending(self) -> int:
        """How many workloads there are of which something is still to be read of the past."""
        return len(self._backfill)

    @property
    def pause(self) -> float:
        """Seconds to rest before the next piece of the past."""
        return self._backfill.pause

    def forget(self, key: WorkloadKey) -> None:
        """Read no more of a workload that is gone, and take in no piece that is being read of its past."""
        self._known.retire(key)
        self._backfill.forget(key)
        self._forgotten.add(key)

    async def feed(self, now: float) -> None:
        """Read stretch after stretch until the present, as far as the source answers.

        Args:
            now: seconds since the epoch.
        """
        await self._put_clock_right(now)
        await self._read_up_to(now)
        # Also where the source fails: what finished before does not wait for it.
        await self._forget_what_is_read()

    async def feed_the_past(self) -> None:
        """Read one piece of the past, if there is one to read."""
        given_up = self._backfill.given_up
        self._forgotten.clear()
        try:
            piece = await self._backfill.step()
        except PrometheusError as error:
            # No problem of the live loop, which may well be answered: it asks for less.
            self._metrics.backfill_chunks.labels("failed").inc()
            self._metrics.source_errors.labels(type(error).__name__).inc()
            logger.warning("usage of the past cannot be read yet", error=str(error), pending=self.pending)
            return
        self._metrics.backfill_chunks.labels("given_up").inc(self._backfill.given_up - given_up)
        if piece is not None:
            usage, keys = piece
            self._count(usage, await self._memory.feed_earlier(usage, partial(self._rest, keys)))
            self._metrics.backfill_chunks.labels("read").inc()

    async def _read_up_to(self, now: float) -> None:
        try:
            while (usage := await self._reader.read(now)) is not None:
                self._count(usage, await self._memory.feed(usage, partial(self._begin, usage)))
                self._metrics.source_cursor.set(usage.until)
        except PrometheusError as error:
            self._failed(error, now)
            return
        self.problem = None
        self._hearing.answered(now)
        self._metrics.source_last_success.set(now)

    async def _forget_what_is_read(self) -> None:
        """Forget the pods that went, once usage has been read up to their end."""
        if self._memory.cursor is not None:
            while uids := self._known.read(self._memory.cursor):
                await self._memory.forget(pods=uids)

    def _rest(self, keys: frozenset[WorkloadKey]) -> tuple[frozenset[WorkloadKey], Sequence[PendingBackfill]]:
        """For whom a piece counts that was read for these workloads, and what is pending after it."""
        self._backfill.fed()
        return keys - self._forgotten, self._backfill.pending()

    def _begin(self, usage: Usage, fed: Fed) -> Sequence[PendingBackfill]:
        """Put in the past of workloads that this usage is the first of; what is pending then.

        Called while nobody else touches the memory, so that no checkpoint can miss it.
        """
        lengths, created = self._pasts(fed.new)
        self._backfill.begin(lengths, until=usage.begin, created=created)
        return self._backfill.pending()

    def _count(self, usage: Usage, fed: Fed) -> None:
        for outcome, count in usage.outcomes.items():
            self._metrics.samples.labels(outcome.value).inc(count)
        self._metrics.unfed_samples.labels("late").inc(fed.late)
        self._metrics.unfed_samples.labels("too_old").inc(fed.too_old)
        self._metrics.unfed_samples.labels("gone").inc(fed.gone)

    def _failed(self, error: PrometheusError, now: float) -> None:
        self._hearing.failed(now)
        self._metrics.source_errors.labels(type(error).__name__).inc()
        self.problem = f"the metric source fails: {error}"
        logger.warning("usage cannot be read", error=str(error), cursor=self._reader.cursor)

    async def _put_clock_right(self, now: float) -> None:
        """Go back with a clock that was set back; what has been taken in counts no second time."""
        ahead = self._reader.put_right(now)
        if ahead:
            await self._memory.put_right(self._reader.cursor)
            self._metrics.clock_put_right.inc()
            logger.warning("the clock has been set back", seconds=ahead, cursor=self._reader.cursor)
