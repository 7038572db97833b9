"""Writes Kubernetes Events in a task of its own: nobody waits for one, and none is worth any trouble."""

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Final, Protocol, Self

import structlog

from recommender.errors import NotLeader
from recommender.metrics import RecommenderMetrics
from recommender.publishing.event_series import Series, SeriesTable
from recommender.publishing.happenings import Happening
from recommender.publishing.outbox import Pace
from recommender.publishing.transitions import transitions
from recommender.settings import RecommenderSettings
from vgpu.kube.client import KubeClient
from vgpu.kube.errors import AlreadyExists, Forbidden, KubeError, NotFound
from vgpu.kube.objects import CustomObject, ObjectMeta
from vgpu.kube.resources import EVENTS

# What waits longer than some minutes is no news any more.
_MOST_WAITING: Final = 10_000
# So often at most the log says that Events are lost.
_BETWEEN_WARNINGS: Final = 60.0

logger = structlog.get_logger(__name__)


class Tell(Protocol):
    """Takes note of what has happened to a workload, without waiting."""

    def __call__(
        self, workload: ObjectMeta, happening: Happening, /, *, related: ObjectMeta | None = None
    ) -> None:
        """Take note.

        Args:
            workload: to which workload.
            happening: what.
            related: the pod that it is about, if it is about one.
        """
        ...


class Outcome(StrEnum):
    """What becomes of something that has happened; each counts under one of them."""

    CREATED = "created"
    REPEATED = "repeated"
    MERGED = "merged"
    DROPPED = "dropped"
    FAILED = "failed"
    UNSENT = "unsent"


class EventRecorder:
    """Has Events written, at a bounded rate, the same ones as a series.

    Args:
        client: where they are written.
        instance: which process tells.
        metrics: counts what becomes of them.
        turn: waits until another one may be written.
        clock: seconds since the epoch.
        most: how many may wait to be written.
    """

    def __init__(
        self,
        *,
        client: KubeClient,
        instance: str,
        metrics: RecommenderMetrics,
        turn: Callable[[], Awaitable[None]],
        clock: Callable[[], float],
        most: int = _MOST_WAITING,
    ) -> None:
        self._client = client
        self._instance = instance
        self._metrics = metrics
        self._turn = turn
        self._clock = clock
        self._table = SeriesTable()
        self._queue: asyncio.Queue[Series] = asyncio.Queue(most)
        self._complaints = _Complaints()
        for outcome in Outcome:
            metrics.events.labels(outcome)

    @classmethod
    def from_settings(
        cls,
        settings: RecommenderSettings,
        *,
        client: KubeClient,
        instance: str,
        metrics: RecommenderMetrics,
        clock: Callable[[], float],
    ) -> Self | None:
        """The recorder that the settings ask for; None where they want no Events."""
        if not settings.events:
            return None
        pace = Pace(settings.event_rate, burst=settings.event_burst)
        turn = client.contact.before(pace.turn)
        return cls(client=client, instance=instance, metrics=metrics, turn=turn, clock=clock)

    @property
    def waiting(self) -> int:
        """How many Events are still to be written."""
        return self._queue.qsize()

    def tell(self, workload: ObjectMeta, happening: Happening, *, related: ObjectMeta | None = None) -> None:
        """Take note of what has happened to a workload; with too much waiting it is dropped and counted.

        Args:
            workload: to which workload.
            happening: what.
            related: the pod that it is about, if it is about one.
        """
        series = self._table.observe(workload, happening, related=related, now=self._clock())
        if series.waiting:
            self._count(Outcome.MERGED)
        elif self._queue.full():
            self._count(Outcome.DROPPED)
            self._complaints.about("too much happens at once", waiting=self.waiting)
        else:
            series.waiting = True
            self._queue.put_nowait(series)

    async def run(self) -> None:
        """Write what waits, until cancelled.

        Raises:
            NotLeader: this replica may write no more.
        """
        try:
            while True:
                series = await self._queue.get()
                # Once it is taken it counts as unsent until its outcome is known.
                outcome = Outcome.UNSENT
                try:
                    await self._turn()
                    outcome = await self._write(series)
                finally:
                    self._count(outcome)
        finally:
            self._give_up()

    async def _write(self, series: Series) -> Outcome:
        # What happens from here on has to be told after it.
        series.waiting = False
        try:
            outcome = await self._send(series)
        except NotLeader:
            raise
        except KubeError as error:
            self._complaints.about(error, workload=f"{series.regarding.namespace}/{series.regarding.name}")
            return Outcome.FAILED
        except Exception:  # a mistake of ours about an Event must not stop anything
            logger.exception("event cannot be written", reason=series.happening.kind.reason)
            return Outcome.FAILED
        self._complaints.settle()
        return outcome

    async def _send(self, series: Series) -> Outcome:
        if series.created:
            try:
                await self._repeat(series)
            except NotFound:
                series.created = False  # kube-apiserver keeps them for an hour, if nobody deletes them
            else:
                return Outcome.REPEATED
        await self._create(series)
        series.created = True
        return Outcome.CREATED

    async def _create(self, series: Series) -> None:
        body = series.body(self._instance)
        try:
            await self._client.create(EVENTS, body, namespace=series.regarding.namespace)
        except AlreadyExists:
            # Ours, of an attempt whose answer was lost: nobody else comes by the name.
            if series.count > 1:
                await self._repeat(series)

    async def _repeat(self, series: Series) -> None:
        await self._client.merge_patch(
            EVENTS, series.name, series.patch(), namespace=series.regarding.namespace
        )

    def _give_up(self) -> None:
        for _ in range(self.waiting):
            self._queue.get_nowait()
            self._count(Outcome.UNSENT)

    def _count(self, outcome: Outcome) -> None:
        self._metrics.events.labels(outcome).inc()


class _Complaints:
    """Says in the log that Events are lost: now and then, and of a missing permission only once."""

    def __init__(self) -> None:
        self._forbidden = False
        self._since = 0
        self._said: float | None = None

    def about(self, problem: KubeError | str, **fields: object) -> None:
        """One more is lost."""
        self._since += 1
        now = asyncio.get_running_loop().time()
        forbidden = isinstance(problem, Forbidden)
        known = forbidden and self._forbidden
        self._forbidden = forbidden or self._forbidden
        if known or (self._said is not None and now - self._said < _BETWEEN_WARNINGS):
            return
        logger.warning("events are lost", error=str(problem), lost=self._since, **fields)
        self._said, self._since = now, 0

    def settle(self) -> None:
        """One was written."""
        self._forbidden = False


def telling_transitions(tell: Tell) -> Callable[[CustomObject, CustomObject], None]:
    """Tells what a write of a status makes known: to be called with the workload before and after it."""

    def written(before: CustomObject, after: CustomObject) -> None:
        for happening in transitions(before.status, after.status):
            tell(after.metadata, happening)

    return written


def untold(_: ObjectMeta, __: Happening, *, related: ObjectMeta | None = None) -> None:
    """Nothing, where no Events are wanted."""
