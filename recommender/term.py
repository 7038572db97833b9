"""One term of leadership: everything that holds histories, from the checkpoint it begins with to its own."""

import asyncio
import time
from typing import Final

import structlog

from recommender.checkpoints.keeper import CheckpointKeeper
from recommender.cluster.pods import newest
from recommender.decisions.attention import Attention
from recommender.decisions.companion import CompanionSpecs
from recommender.decisions.configurations import Configurations
from recommender.decisions.verdicts import Judge
from recommender.engine import Engine, Stages
from recommender.errors import TermOver, TornHistories
from recommender.external_scaler.scalers import Scalers
from recommender.feeding import Feeder, no_past
from recommender.histories.memory import Memory
from recommender.histories.restoring import Inheritance
from recommender.keys import WorkloadKey
from recommender.leadership.election import Held
from recommender.observing import Observer
from recommender.pasts import Pasts
from recommender.publishing.autoscalers import HpaKeeper
from recommender.publishing.events import EventRecorder, Tell, telling_transitions, untold
from recommender.publishing.horizontal import HorizontalDefaults
from recommender.publishing.outbox import Outbox, Pace
from recommender.publishing.publisher import StatusPublisher
from recommender.publishing.reporting import Reporter
from recommender.publishing.veils import CompanionVeil, NoVeil
from recommender.publishing.workloads import Keeper, OperatorsWorkloads, WorkloadKeeper
from recommender.rhythm import Rhythm
from recommender.saving import Saver
from recommender.surroundings import Surroundings
from recommender.updating.eviction import Evictor
from recommender.updating.updater import Rules, Updater
from recommender.usage.backfill import Backfill
from recommender.usage.hearing import Hearing
from recommender.usage.reading import BulkReader, UsageReader
from vgpu.kube.client import KubeClient

# Of the time that is left of a Lease, this much is for releasing it.
_LAST_WRITE_MARGIN: Final = 1.0
_LONGEST_LAST_WRITE: Final = 15.0
# So often it is seen whether the Lease is still held.
_SLICE: Final = 1.0

logger = structlog.get_logger(__name__)


class Term:
    """The parts that work while this replica leads.

    Args:
        around: what outlives the term.
        client: a client that writes only while the Lease is held.
        keeper: where histories are saved; None for nowhere.
        inheritance: the histories to go on with.
    """

    def __init__(
        self,
        around: Surroundings,
        *,
        client: KubeClient,
        keeper: CheckpointKeeper | None,
        inheritance: Inheritance,
    ) -> None:
        self._around = around
        self._client = client
        self._inherited = inheritance.keys
        self._companion = around.settings.mode == "companion"
        self._configurations = self._new_configurations()
        # Both wait while kube-apiserver does not answer: what is written then fails.
        self._turn = client.contact.before(Pace(around.settings.status_writes_per_second).turn)
        self._memory = Memory(
            inheritance.histories,
            cursor=inheritance.cursor,
            pending=inheritance.pending,
            counts=around.known.counts,
        )
        self._saver = Saver(memory=self._memory, keeper=keeper)
        self._feeder = self._new_feeder(inheritance)
        self.scalers = self._new_scalers()
        self.events = self._new_recorder()
        self.tell: Tell = self.events.tell if self.events is not None else untold
        self.updater = self._new_updater()
        self.engine = self._new_engine()
        self._rhythm = Rhythm(
            self.engine, changes=around.changes, metrics=around.metrics, timing=around.timing
        )
        around.metrics.unwritten.set_function(self.engine.unwritten)
        around.metrics.backfill_pending.set_function(lambda: self._feeder.pending)

    async def run(self, held: Held) -> None:
        """Work until cancelled; then save what is remembered, while the Lease still allows it.

        Args:
            held: tells how long that is.

        Raises:
            TermOver: somebody else leads, or writes the same checkpoints; in an ExceptionGroup.
        """
        try:
            await self.begin()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._rhythm.run(), name="rhythm")
                if self.events is not None:
                    tasks.create_task(self.events.run(), name="events")
                if self.updater is not None:
                    tasks.create_task(self.updater.run(), name="updates of pods")
                tasks.create_task(self.scalers.asker.run(), name="external scalers")
        finally:
            await self._save_at_last(held)

    async def begin(self) -> None:
        """Catch up with the cluster, and drop from the histories what has gone while nobody was looking."""
        around = self._around
        await around.standby.keep_up()
        known = around.pods.workloads().union(around.cluster.own_workloads())
        around.known.keep(known)
        # All that there are, for those of which nobody has told yet whose they are.
        there = {pod.metadata.uid for pod in around.cluster.pods.values()}
        await self._memory.forget_other_pods(there.union(around.known.uids()))
        gone = [key for key in self._inherited if key not in known]
        for key in gone:
            self._feeder.forget(key)
        await self._memory.forget(workloads=gone)
        self._inherited = ()

    async def _save_at_last(self, held: Held) -> None:
        """Save while the Lease is held, which goes on being renewed meanwhile, but not for ever."""
        end = time.monotonic() + _LONGEST_LAST_WRITE

        def allowed() -> float:
            return min(held.remaining() - _LAST_WRITE_MARGIN, end - time.monotonic())

        if allowed() <= 0:
            logger.warning("histories are not saved at the end: another replica may lead already")
            return
        save = asyncio.create_task(self.engine.checkpoint())
        try:
            while not save.done() and (seconds := allowed()) > 0:
                await asyncio.wait((save,), timeout=min(seconds, _SLICE))
        finally:
            save.cancel()
            await asyncio.wait((save,))
        if save.cancelled():
            logger.warning("histories are not saved at the end", error="it took too long")
        elif isinstance(error := save.exception(), TermOver | TornHistories):
            logger.warning("histories are not saved at the end", error=str(error))
        elif error is not None:
            raise error

    def _new_engine(self) -> Engine:
        around = self._around
        stages = Stages(
            observer=self._new_observer(),
            feeder=self._feeder,
            memory=self._memory,
            attention=Attention(),
            judge=self._new_judge(),
            reporter=self._new_reporter(),
            outbox=Outbox(self._turn),
            figures=around.figures,
            saver=self._saver,
            updater=self.updater,
        )
        return Engine(
            stages=stages,
            changes=around.changes,
            failures=around.failures,
            metrics=around.metrics,
            clock=around.timing.clock,
        )

    def _new_judge(self) -> Judge:
        pods = self._around.pods
        return Judge(
            configurations=self._configurations,
            cap=self._around.cluster.cap,
            newest_pod=lambda key: newest(pods.of(key)),
            advisor=self.scalers.book,
            runs=lambda key: any(pod.running for pod in pods.of(key)),
        )

    def _new_scalers(self) -> Scalers:
        around = self._around
        return Scalers.from_settings(
            around.settings,
            client=self._client,
            find=lambda key: around.cluster.workloads.get(*key),
            changed=around.changes.estimate,
            metrics=around.metrics,
            clock=around.timing.clock,
        )

    def _new_observer(self) -> Observer:
        around = self._around
        return Observer(
            cluster=around.cluster,
            changes=around.changes,
            pods=around.pods,
            follower=around.follower,
            keeper=self._new_keeper(),
            failures=around.failures,
        )

    def _new_keeper(self) -> Keeper:
        around = self._around
        if self._companion:
            return OperatorsWorkloads()
        return WorkloadKeeper(
            client=self._client,
            owners=around.owners,
            find_profile=around.cluster.profiles.get,
            metrics=around.metrics,
        )

    def _new_configurations(self) -> Configurations:
        around = self._around
        if not self._companion:
            return Configurations()
        return Configurations(
            CompanionSpecs(
                newest_pod=lambda key: newest(around.pods.of(key)), find_profile=around.cluster.profiles.get
            )
        )

    def _recommends_only(self, key: WorkloadKey) -> bool:
        known = self._configurations.known(key)
        return known is None or known.spec is None or not known.spec.applied_resources()

    def _new_feeder(self, inheritance: Inheritance) -> Feeder:
        around, settings = self._around, self._around.settings
        bulk = BulkReader(
            source=around.source,
            preset=around.preset,
            step=settings.step,
            find=around.known.find,
            former=around.known.former,
            cards=around.cluster.card_lookup(),
            tflops_sample=settings.tflops_sample,
        )
        pods = around.pods
        reader = UsageReader(
            reader=bulk,
            settle=settings.settle,
            series=len(pods.values()),
            running=lambda: any(pod.running for pod in pods.values()),
        )
        backfill = Backfill(reader=bulk, pods_of=self._pods_of, pause=settings.backfill_pause)
        backfill.resume(inheritance.pending)
        if inheritance.cursor is not None:
            reader.resume(inheritance.cursor)
        return Feeder(
            reader=reader,
            backfill=backfill,
            memory=self._memory,
            known=around.known,
            pasts=self._new_pasts() if settings.backfill else no_past,
            metrics=around.metrics,
            hearing=Hearing(settings.patience),
        )

    def _new_pasts(self) -> Pasts:
        around = self._around
        return Pasts(
            cluster=around.cluster,
            configurations=self._configurations,
            pods=around.pods,
            failures=around.failures,
        )

    def _pods_of(self, key: WorkloadKey) -> list[str]:
        return [pod.pod.metadata.name for pod in self._around.pods.of(key)]

    def _new_recorder(self) -> EventRecorder | None:
        around = self._around
        return EventRecorder.from_settings(
            around.settings,
            client=self._client,
            instance=around.identity,
            metrics=around.metrics,
            clock=around.timing.clock,
        )

    def _new_updater(self) -> Updater | None:
        around = self._around
        if self._companion or not around.settings.evictions:
            return None
        return Updater(
            evictor=Evictor(self._client),
            rules=Rules.from_settings(around.settings),
            pods_of=around.pods.of,
            cap=around.cluster.cap,
            tell=self.tell,
            metrics=around.metrics,
            clock=around.timing.clock,
            monotonic=around.timing.monotonic,
        )

    def _new_reporter(self) -> Reporter:
        around, settings = self._around, self._around.settings
        return Reporter(
            cluster=around.cluster,
            pods=around.pods,
            claims=around.claims,
            hpas=HpaKeeper(client=self._client, metrics=around.metrics),
            publisher=StatusPublisher(
                client=self._client,
                metrics=around.metrics,
                turn=self._turn,
                on_written=telling_transitions(self.tell),
                veil=CompanionVeil(self._recommends_only) if self._companion else NoVeil(),
            ),
            figures=around.figures,
            defaults=HorizontalDefaults(metric=settings.horizontal_metric, target=settings.horizontal_target),
        )
