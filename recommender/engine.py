"""The recommender's loop: observe, feed, estimate, decide, compare, publish, checkpoint."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from recommender.cluster.changes import Changes
from recommender.cluster.failures import Failures
from recommender.decisions.attention import Attention
from recommender.decisions.configurations import Configuration
from recommender.decisions.inheritance import Inheritance
from recommender.decisions.verdicts import Judge, Verdict, auto_set_resources
from recommender.feeding import Feeder
from recommender.figures.table import WorkloadFigures
from recommender.histories.estimation import Evidence
from recommender.histories.memory import Memory
from recommender.histories.pacing import to_the_end, with_breaks
from recommender.keys import WorkloadKey, key_of
from recommender.metrics import RecommenderMetrics
from recommender.observing import Observed, Observer
from recommender.publishing.outbox import Outbox
from recommender.publishing.reporting import Reporter
from recommender.publishing.urgency import Due
from recommender.saving import Saver
from recommender.updating.updater import Updater
from recommender.usage.hearing import Heard
from vgpu.api import AutoSetResources
from vgpu.kube.objects import CustomObject


@dataclass(frozen=True, slots=True)
class ToWrite:
    """What a workload's status is to be brought in step with.

    Attributes:
        live: the workload that was judged.
        verdict: what was found out about it.
        now: when that was, in seconds since the epoch.
    """

    live: CustomObject
    verdict: Verdict
    now: float


@dataclass(frozen=True, slots=True)
class Stages:
    """Who does what in a pass."""

    observer: Observer
    feeder: Feeder
    memory: Memory
    attention: Attention
    judge: Judge
    reporter: Reporter
    outbox: Outbox[ToWrite]
    figures: WorkloadFigures
    saver: Saver
    updater: Updater | None = None


_Configured = tuple[CustomObject, Configuration]
T = TypeVar("T")
_Estimated = tuple[CustomObject, Configuration, Evidence]
_Judged = tuple[CustomObject, Verdict]


class Engine:
    """Feeds once an interval, and looks again at what that, or anything else, has changed.

    Args:
        stages: who does what.
        changes: what has to be looked at.
        failures: contains errors of single workloads.
        metrics: measures the stages.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        *,
        stages: Stages,
        changes: Changes,
        failures: Failures,
        metrics: RecommenderMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._observer = stages.observer
        self._feeder = stages.feeder
        self._memory = stages.memory
        self._attention = stages.attention
        self._judge = stages.judge
        self._reporter = stages.reporter
        self._outbox = stages.outbox
        self._figures = stages.figures
        self._saver = stages.saver
        self._updater = stages.updater
        self._changes = changes
        self._failures = failures
        self._metrics = metrics
        self._clock = clock
        self._inheritance = Inheritance()

    def look_at_everything(self) -> None:
        """Let the next pass be about all workloads."""
        self._changes.everything()

    def not_ready(self) -> Sequence[str]:
        """Why no recommendation can be made now, a sentence for each reason."""
        return [self._feeder.problem] if self._feeder.problem is not None else []

    def next_due(self) -> float:
        """When there will be something to reconcile although nothing changes, in seconds since the epoch."""
        return min(self._judge.next_transition(), self._clock() + self._failures.wait())

    def pause(self) -> float:
        """Seconds to rest before the next piece of the past."""
        return self._feeder.pause

    async def get_to_know(self) -> None:
        """Have all workloads estimated as they are configured; each is still to be looked at."""
        with self._metrics.timed("estimate"):
            configured = await self._configured(self._observer.workloads(), self._clock())
            await self._memory.configure(await _as_configured(configured))

    async def reconcile(self) -> None:
        """Find out about everything that has changed, and hand over what is to be written of it."""
        now = self._clock()
        self._bring_up_what_is_due(now)
        workloads = await self._observe()
        heard = self._feeder.heard  # before the samples that go with it are looked at
        estimated = await self._estimate(workloads, now)
        verdicts = await self._decide(estimated, heard, now)
        await self._compare(verdicts, now)

    def unwritten(self) -> int:
        """Of how many workloads something waits to be written."""
        return len(self._outbox)

    async def write_next(self) -> None:
        """Write what is next of what waits to be written, in its turn; waits until there is something."""
        key, entry = await self._outbox.take()
        try:
            with self._metrics.timed("publish"):
                await self._publish(key, entry)
        finally:
            self._outbox.done(key)

    async def feed(self) -> None:
        """Read usage up to now; then the workloads that it has news of are to be looked at."""
        with self._metrics.timed("feed"):
            await self._feeder.feed(self._clock())
            await self._forget_idle()
        await self._screen()

    async def feed_the_past(self) -> None:
        """Read a piece of the past of new workloads, if there is any to read."""
        if self._feeder.pending:
            with self._metrics.timed("backfill"):
                await self._feeder.feed_the_past()

    async def checkpoint(self) -> None:
        """Save what is remembered of usage."""
        with self._metrics.timed("checkpoint"):
            await self._saver.save(self._clock())

    def _bring_up_what_is_due(self, now: float) -> None:
        self._failures.retry_due()
        for key in self._judge.due(now):
            self._changes.workload(key)

    async def _screen(self) -> None:
        """Put in the workloads whose last look no longer holds, by arithmetic over all of them at once."""
        with self._metrics.timed("estimate"):
            heard = self._feeder.heard
            estimation = await self._memory.estimate()
            await _in_thread(partial(self._figures.estimated, estimation))
            self._take_news()
            for key in await _in_thread(partial(self._attention.pick, estimation, self._clock(), heard)):
                self._changes.estimate(key)

    async def _observe(self) -> list[CustomObject]:
        with self._metrics.timed("observe"):
            self._take_news()
            observed = await self._observer.observe()
            await self._forget(observed)
            workloads = []
            async for known in with_breaks(observed.workloads):
                live = self._reporter.latest(known)
                self._reporter.claim(live)
                workloads.append(live)
        return workloads

    async def _estimate(self, workloads: Sequence[CustomObject], now: float) -> list[_Estimated]:
        with self._metrics.timed("estimate"):
            configured = await self._configured(workloads, now)
            estimation = await self._memory.estimate_as(await _as_configured(configured))
            return [
                (live, read, estimation.evidence(key_of(live.metadata)))
                async for live, read in with_breaks(configured)
            ]

    async def _configured(self, workloads: Sequence[CustomObject], now: float) -> list[_Configured]:
        configured: list[_Configured] = []
        async for live in with_breaks(workloads):
            with self._failures.of_workload("estimate", key_of(live.metadata)):
                configured.append((live, self._judge.configure(self._inheritance.as_heir(live), now)))
        return configured

    async def _decide(self, estimated: Sequence[_Estimated], heard: Heard, now: float) -> list[_Judged]:
        with self._metrics.timed("decide"):
            verdicts: list[_Judged] = []
            async for live, configuration, evidence in with_breaks(estimated):
                with self._failures.of_workload("decide", key_of(live.metadata)):
                    heir = self._inheritance.as_heir(live)
                    verdicts.append((live, self._judge.decide(heir, configuration, evidence, now, heard)))
        return verdicts

    async def _compare(self, verdicts: Sequence[_Judged], now: float) -> None:
        with self._metrics.timed("compare"):
            async for live, verdict in with_breaks(verdicts):
                key = key_of(live.metadata)
                self._attention.unsettle(key)
                with self._failures.of_workload("compare", key):
                    self._compare_one(key, ToWrite(live, verdict, now))

    def _compare_one(self, key: WorkloadKey, found: ToWrite) -> None:
        compared = self._reporter.compare(
            found.live, found.verdict, problems=self._observer.problems(key), now=found.now
        )
        self._update_pods(key, found, in_step=not isinstance(compared, Due))
        if isinstance(compared, Due):
            self._outbox.put(key, found, urgent=compared.urgent)
        elif self._outbox.is_being_written(key):
            self._outbox.put(key, found, urgent=True)  # what is on its way is older than this
        else:
            self._outbox.drop(key)
            with self._failures.of_workload("publish", key):  # no trouble any more, if it was one
                self._attention.settle(
                    key, found.verdict, compared.status, estimation_written=compared.estimation_written
                )

    def _update_pods(self, key: WorkloadKey, found: ToWrite, *, in_step: bool) -> None:
        """Have running pods compared once new ones get what was decided: what stands in the status."""
        if self._updater is None:
            return
        if in_step:
            invalid = bool(self._observer.problems(key))
            self._updater.consider(found.live, found.verdict, invalid=invalid)
        else:
            self._updater.pause(key)

    async def _publish(self, key: WorkloadKey, entry: ToWrite) -> None:
        """Write of one workload as it is now; whether it is in step then, the next look at it tells."""
        known = self._observer.workload(key)
        if known is None:
            return  # deleted meanwhile
        live = self._reporter.latest(known)
        rejudge = partial(self._rejudge, entry.verdict, now=entry.now)
        with self._failures.of_workload("publish", key):
            await self._reporter.report(
                live,
                entry.verdict if live is entry.live else rejudge(live),
                rejudge=rejudge,
                problems=self._observer.problems(key),
                now=entry.now,
            )

    def _rejudge(self, former: Verdict, newest: CustomObject, *, now: float) -> Verdict:
        """Decide once more on what a verdict rested on, which may have waited for its turn for long."""
        heir = self._inheritance.as_heir(newest)
        configuration = self._judge.configure(heir, now)
        return self._judge.decide(heir, configuration, former.evidence, now, former.heard)

    def _take_news(self) -> None:
        """What somebody else has written since the last look may have to be set right."""
        for key in self._changes.take_news():
            self._reporter.seen(key)
            self._attention.unsettle(key)

    async def _forget(self, observed: Observed) -> None:
        for hpa in observed.deleted_hpas:
            self._reporter.deleted_hpa(hpa)
        for key, status in observed.left.items():
            self._inheritance.leave(key, status)
        for key in observed.missing:
            self._judge.forget(key)
            self._outbox.drop(key)
            if self._updater is not None:
                self._updater.forget(key)
            self._reporter.forget(key)
            self._attention.forget(key)
        for key in observed.retired:
            self._inheritance.forget(key)
            self._feeder.forget(key)
        if observed.pods_gone or observed.missing:
            await self._memory.forget(
                pods=observed.pods_gone,
                workloads=observed.retired,
                neglected=observed.missing - observed.retired,
            )

    async def _forget_idle(self) -> None:
        idle = await self._memory.forget_idle()
        self._figures.forget_estimates(idle)
        for key in idle:
            self._feeder.forget(key)


async def _as_configured(configured: Sequence[_Configured]) -> list[tuple[WorkloadKey, AutoSetResources]]:
    return [(key_of(live.metadata), auto_set_resources(read)) async for live, read in with_breaks(configured)]


async def _in_thread(work: Callable[[], T]) -> T:
    """Have the event loop go on meanwhile; what is not done yet when this ends would meet the next term."""
    return await to_the_end(asyncio.to_thread(work))
