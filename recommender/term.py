"""One term of leadership: everything that holds histories, from the checkpoint it begins with to its own."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from recommender.attention import Attention
from recommender.autoscalers import HpaKeeper
from recommender.backfill import Backfill
from recommender.changes import Changes
from recommender.checkpoints.errors import CheckpointConflict
from recommender.checkpoints.keeper import CheckpointKeeper
from recommender.checkpoints.snapshot import Snapshot
from recommender.claims import Claims
from recommender.cluster import Cluster
from recommender.configurations import Configurations
from recommender.election import Held
from recommender.engine import Engine, Stages, Timing
from recommender.errors import NotLeader
from recommender.failures import Failures
from recommender.feeding import Feeder
from recommender.figures import WorkloadFigures
from recommender.following import PodFollower
from recommender.histories import Histories
from recommender.horizontal import HorizontalDefaults
from recommender.keys import WorkloadKey
from recommender.memory import Memory
from recommender.metrics import RecommenderMetrics
from recommender.observing import Observer
from recommender.owners import OwnerLookup
from recommender.pods import PodIndex, newest
from recommender.publisher import StatusPublisher
from recommender.reporting import Reporter
from recommender.saving import Saver
from recommender.settings import RecommenderSettings
from recommender.usage import BulkReader, UsageReader
from recommender.verdicts import Judge
from recommender.workloads import WorkloadKeeper
from vgpu.kube.client import KubeClient
from vgpu.prometheus import PrometheusClient
from vgpu.usage_sources import Preset

# Of the time that is left of a Lease, this much is for releasing it.
_LAST_WRITE_MARGIN: Final = 1.0
_LONGEST_LAST_WRITE: Final = 15.0

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What outlives a term: the connections, and what is known of the cluster.

    Attributes:
        settings: the recommender's settings.
        client: the connection to kube-apiserver.
        source: the metric source.
        preset: what to ask the source for.
        cluster: the local copy of the cluster.
        owners: knows who owns pods.
        pods: the gated pods by workload.
        follower: keeps them current.
        claims: decides which of several workloads scales a root controller.
        changes: what has to be looked at.
        failures: contains errors of single workloads.
        metrics: the recommender's own.
        figures: what is shown of every workload.
        timing: when things happen.
    """

    settings: RecommenderSettings
    client: KubeClient
    source: PrometheusClient
    preset: Preset
    cluster: Cluster
    owners: OwnerLookup
    pods: PodIndex
    follower: PodFollower
    claims: Claims
    changes: Changes
    failures: Failures
    metrics: RecommenderMetrics
    figures: WorkloadFigures
    timing: Timing


class Term:
    """The parts that work while this replica leads.

    Args:
        around: what outlives the term.
        client: a client that writes only while the Lease is held.
        keeper: where histories are saved; None for nowhere.
        snapshot: the histories to go on with, or None.
    """

    def __init__(
        self,
        around: Surroundings,
        *,
        client: KubeClient,
        keeper: CheckpointKeeper | None,
        snapshot: Snapshot | None,
    ) -> None:
        self._around = around
        self._client = client
        self._configurations = Configurations()
        histories = self._histories()
        snapshot = _restored(histories, snapshot)
        self._memory = Memory(
            histories,
            cursor=snapshot.cursor if snapshot else None,
            pending=snapshot.backfill if snapshot else (),
        )
        self._snapshot = snapshot
        self._saver = Saver(memory=self._memory, keeper=keeper)
        self._usage = self._feeder()
        self.engine = self._engine()
        around.metrics.backfill_pending.set_function(lambda: self._usage.pending)

    async def run(self, held: Held) -> None:
        """Work until cancelled; then save what is remembered, while the Lease still allows it.

        Args:
            held: tells how long that is.
        """
        try:
            await self.begin()
            await self.engine.run()
        finally:
            await self._save_at_last(held)

    async def begin(self) -> None:
        """Drop from restored histories what ceased to be while nobody was looking.

        Raises:
            KubeError: kube-apiserver does not tell who owns a pod; in an ExceptionGroup.
        """
        around = self._around
        await around.follower.follow(around.changes.take_pods())
        if self._snapshot is None:
            return
        uids = {pod.uid for pod in around.pods.values()}
        known = around.pods.workloads().union(around.cluster.own_workloads())
        await self._memory.forget(
            pods=[uid for uid in self._snapshot.peaks.uids if uid not in uids],
            workloads=[key for key in self._snapshot.keys if key not in known],
        )
        self._snapshot = None  # the arrays are in the banks now

    async def _save_at_last(self, held: Held) -> None:
        allowed = min(held.remaining() - _LAST_WRITE_MARGIN, _LONGEST_LAST_WRITE)
        if allowed <= 0:
            logger.warning("histories are not saved at the end: another replica may lead already")
            return
        try:
            async with asyncio.timeout(allowed):
                await self.engine.checkpoint()
        except (TimeoutError, CheckpointConflict, NotLeader) as error:
            logger.warning("histories are not saved at the end", error=str(error) or "it took too long")

    def _histories(self) -> Histories:
        settings = self._around.settings
        return Histories(
            half_life=settings.half_life, peak_window=settings.peak_window, now=self._around.timing.clock()
        )

    def _engine(self) -> Engine:
        around = self._around
        stages = Stages(
            observer=self._observer(),
            feeder=self._usage,
            memory=self._memory,
            attention=Attention(),
            judge=self._judge(),
            reporter=self._reporter(),
            figures=around.figures,
            saver=self._saver,
        )
        return Engine(
            stages=stages,
            changes=around.changes,
            failures=around.failures,
            metrics=around.metrics,
            timing=around.timing,
        )

    def _judge(self) -> Judge:
        pods = self._around.pods
        return Judge(
            configurations=self._configurations,
            cap=self._around.cluster.cap,
            newest_pod=lambda key: newest(pods.of(key)),
        )

    def _observer(self) -> Observer:
        around = self._around
        keeper = WorkloadKeeper(
            client=self._client,
            owners=around.owners,
            find_profile=around.cluster.profiles.get,
            metrics=around.metrics,
        )
        return Observer(
            cluster=around.cluster,
            changes=around.changes,
            pods=around.pods,
            follower=around.follower,
            keeper=keeper,
            failures=around.failures,
        )

    def _feeder(self) -> Feeder:
        around, settings = self._around, self._around.settings
        bulk = BulkReader(
            source=around.source,
            preset=around.preset,
            step=settings.step,
            find=around.pods.find,
            cards=around.cluster.card_lookup(),
            tflops_sample=settings.tflops_sample,
        )
        reader = UsageReader(reader=bulk, settle=settings.settle)
        backfill = Backfill(reader=bulk, pods_of=self._pods_of, pause=settings.backfill_pause)
        if self._snapshot is not None:
            backfill.resume(self._snapshot.backfill)
            if self._snapshot.cursor is not None:
                reader.resume(self._snapshot.cursor)
        return Feeder(
            reader=reader,
            backfill=backfill,
            memory=self._memory,
            pasts=self._pasts,
            metrics=around.metrics,
        )

    def _pods_of(self, key: WorkloadKey) -> list[str]:
        return [pod.pod.metadata.name for pod in self._around.pods.of(key)]

    def _pasts(
        self, keys: Sequence[WorkloadKey]
    ) -> tuple[Mapping[WorkloadKey, float], Mapping[WorkloadKey, float]]:
        if not self._around.settings.backfill:
            return {}, {}
        lengths = {key: self._configurations.history_length(key) for key in keys}
        created = {key: [pod.created for pod in self._around.pods.of(key)] for key in keys}
        return lengths, {key: min(times) for key, times in created.items() if times}

    def _reporter(self) -> Reporter:
        around, settings = self._around, self._around.settings
        return Reporter(
            cluster=around.cluster,
            pods=around.pods,
            claims=around.claims,
            hpas=HpaKeeper(client=self._client, metrics=around.metrics),
            publisher=StatusPublisher(client=self._client, metrics=around.metrics),
            figures=around.figures,
            defaults=HorizontalDefaults(metric=settings.horizontal_metric, target=settings.horizontal_target),
        )


def _restored(histories: Histories, snapshot: Snapshot | None) -> Snapshot | None:
    """Take saved histories up; None where there are none, or none that today's settings go on with."""
    if snapshot is None:
        return None
    try:
        histories.restore(snapshot)
    except ValueError as error:
        logger.warning("histories begin anew", reason=str(error))
        return None
    return snapshot
