"""The recommender's loop: observe, feed, estimate, decide, publish, checkpoint."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from recommender.attention import Attention
from recommender.changes import Changes
from recommender.configurations import Configuration
from recommender.estimation import Evidence
from recommender.failures import Failures, in_parallel
from recommender.feeding import Feeder
from recommender.figures import WorkloadFigures
from recommender.keys import key_of
from recommender.memory import Memory
from recommender.metrics import RecommenderMetrics
from recommender.observing import Observed, Observer
from recommender.reporting import Reporter
from recommender.saving import Saver
from recommender.verdicts import Judge, Verdict, auto_set_resources
from vgpu.kube.objects import CustomObject

# Changes come in bursts (a rollout, a profile of a hundred workloads): wait a little for the rest.
_DEBOUNCE: Final = 0.2
# By then a clock that somebody has set is noticed.
_LONGEST_WAIT: Final = 60.0
_SHORTEST_WAIT: Final = 0.02


@dataclass(frozen=True, slots=True)
class Timing:
    """When things happen.

    Attributes:
        interval: seconds between two polls of the metric source.
        settle: seconds after a multiple of the interval at which its samples are there.
        checkpoint: seconds between two checkpoints.
        clock: seconds since the epoch.
    """

    interval: float
    settle: float
    checkpoint: float = 600.0
    clock: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class Stages:
    """Who does what in a pass."""

    observer: Observer
    feeder: Feeder
    memory: Memory
    attention: Attention
    judge: Judge
    reporter: Reporter
    figures: WorkloadFigures
    saver: Saver


_Configured = tuple[CustomObject, Configuration]
_Estimated = tuple[CustomObject, Configuration, Evidence]
_Judged = tuple[CustomObject, Verdict]


class Engine:
    """Feeds once an interval, and looks again at what that, or anything else, has changed.

    Args:
        stages: who does what.
        changes: what has to be looked at.
        failures: contains errors of single workloads.
        metrics: measures the stages.
        timing: when things happen.
    """

    def __init__(
        self,
        *,
        stages: Stages,
        changes: Changes,
        failures: Failures,
        metrics: RecommenderMetrics,
        timing: Timing,
    ) -> None:
        self._observer = stages.observer
        self._feeder = stages.feeder
        self._memory = stages.memory
        self._attention = stages.attention
        self._judge = stages.judge
        self._reporter = stages.reporter
        self._figures = stages.figures
        self._saver = stages.saver
        self._changes = changes
        self._failures = failures
        self._metrics = metrics
        self._timing = timing

    async def run(self) -> None:
        """Work until cancelled."""
        self.look_at_everything()
        await self.reconcile()  # samples are of use only when the pods are known
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._feed_for_ever(), name="feed")
            tasks.create_task(self._feed_the_past_for_ever(), name="back-fill")
            tasks.create_task(self._reconcile_for_ever(), name="reconcile")
            tasks.create_task(self._checkpoint_for_ever(), name="checkpoint")

    def not_ready(self) -> Sequence[str]:
        """Why no recommendation can be made now, a sentence for each reason."""
        return [self._feeder.problem] if self._feeder.problem is not None else []

    def look_at_everything(self) -> None:
        """Let the next pass be about all workloads."""
        self._changes.everything()

    async def feed(self) -> None:
        """Read usage up to now; then the workloads that it has news of are to be looked at."""
        now = self._timing.clock()
        with self._metrics.timed("feed"):
            await self._feeder.feed(now)
            self._figures.forget_estimates(await self._memory.forget_idle(now))
        await self._screen()

    async def feed_the_past(self) -> None:
        """Read a piece of the past of new workloads, if there is any to read."""
        if self._feeder.pending:
            with self._metrics.timed("backfill"):
                await self._feeder.feed_the_past()

    async def reconcile(self) -> None:
        """Bring everything that has changed in step."""
        now = self._timing.clock()
        self._bring_up_what_is_due(now)
        workloads = await self._observe()
        estimated = await self._estimate(workloads, now)
        verdicts = await self._decide(estimated, now)
        await self._publish(verdicts, now)
        if self._timing.clock() - now > self._timing.interval:
            self._metrics.late_passes.inc()

    async def checkpoint(self) -> None:
        """Save what is remembered of usage."""
        with self._metrics.timed("checkpoint"):
            await self._saver.save(self._timing.clock())

    async def _screen(self) -> None:
        """Put in the workloads whose last look no longer holds, by arithmetic over all of them at once."""
        with self._metrics.timed("estimate"):
            estimation = await self._memory.estimate()
            self._figures.estimated(estimation)
            for key in self._attention.pick(estimation, self._timing.clock()):
                self._changes.estimate(key)

    def _bring_up_what_is_due(self, now: float) -> None:
        self._failures.retry_due(now)
        for key in self._judge.due(now):
            self._changes.workload(key)

    async def _observe(self) -> list[CustomObject]:
        with self._metrics.timed("observe"):
            observed = await self._observer.observe()
            await self._forget(observed)
        workloads = [self._reporter.latest(live) for live in observed.workloads]
        for live in workloads:
            self._reporter.claim(live)
        return workloads

    async def _estimate(self, workloads: Sequence[CustomObject], now: float) -> list[_Estimated]:
        configured: list[_Configured] = []
        with self._metrics.timed("estimate"):
            for live in workloads:
                with self._failures.of_workload("estimate", key_of(live.metadata)):
                    configured.append((live, self._judge.configure(live, now)))
            keys = [key_of(live.metadata) for live, _ in configured]
            configs = [auto_set_resources(configuration) for _, configuration in configured]
            await self._memory.configure(list(zip(keys, configs, strict=True)))
            estimation = await self._memory.estimate(keys)
        return [(*pair, estimation.evidence(key)) for key, pair in zip(keys, configured, strict=True)]

    async def _decide(self, estimated: Sequence[_Estimated], now: float) -> list[_Judged]:
        verdicts: list[_Judged] = []
        with self._metrics.timed("decide"):
            for live, configuration, evidence in estimated:
                with self._failures.of_workload("decide", key_of(live.metadata)):
                    verdicts.append((live, self._judge.decide(live, configuration, evidence, now)))
                await asyncio.sleep(0)  # probes and feeding get their turn
        return verdicts

    async def _publish(self, verdicts: Sequence[_Judged], now: float) -> None:
        with self._metrics.timed("publish"):
            await in_parallel(partial(self._publish_one, now=now), verdicts)

    async def _publish_one(self, judged: _Judged, *, now: float) -> None:
        live, verdict = judged
        key = key_of(live.metadata)
        self._attention.unsettle(key)
        with self._failures.of_workload("publish", key):
            standing = await self._reporter.report(
                live,
                verdict,
                rejudge=partial(self._rejudge, verdict.evidence, now=now),
                problems=self._observer.problems(key),
                now=now,
            )
            if standing is not None:
                self._attention.settle(
                    key, verdict, standing.status, estimation_written=standing.estimation_written
                )

    def _rejudge(self, evidence: Evidence, newest: CustomObject, *, now: float) -> Verdict:
        return self._judge.decide(newest, self._judge.configure(newest, now), evidence, now)

    async def _forget(self, observed: Observed) -> None:
        for hpa in observed.deleted_hpas:
            self._reporter.deleted_hpa(hpa)
        for key in observed.news:
            self._reporter.seen(key)
            self._attention.unsettle(key)
        for key in observed.missing:
            self._judge.forget(key)
            self._reporter.forget(key)
            self._attention.forget(key)
        for key in observed.retired:
            self._feeder.forget(key)
        if observed.pods_gone or observed.missing:
            await self._memory.forget(
                pods=observed.pods_gone,
                workloads=observed.retired,
                neglected=observed.missing - observed.retired,
            )

    async def _feed_for_ever(self) -> None:
        while True:
            begun = self._timing.clock()
            await self.feed()
            if self._next_feed(begun) < self._timing.clock():
                self._metrics.late_passes.inc()
            await asyncio.sleep(self._next_feed(self._timing.clock()) - self._timing.clock())

    def _next_feed(self, now: float) -> float:
        """The next time at which the samples of a whole interval are there."""
        interval, settle = self._timing.interval, self._timing.settle
        return (math.floor((now - settle) / interval) + 1) * interval + settle

    async def _feed_the_past_for_ever(self) -> None:
        while True:
            await self.feed_the_past()
            await asyncio.sleep(self._feeder.pause)

    async def _reconcile_for_ever(self) -> None:
        while True:
            await self._wait_for_work()
            await self.reconcile()

    async def _wait_for_work(self) -> None:
        """Wait for a change and what comes with it, but never past a cron rule's beginning or end."""
        if await self._changes.wait(self._until_due(_LONGEST_WAIT)):
            await asyncio.sleep(self._until_due(_DEBOUNCE))

    def _until_due(self, longest: float) -> float:
        due = min(self._judge.next_transition(), self._failures.retry_at) - self._timing.clock()
        return max(_SHORTEST_WAIT, min(due, longest))

    async def _checkpoint_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._timing.checkpoint)
            await self.checkpoint()
