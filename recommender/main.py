"""The recommender as a process."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

import structlog

from recommender.bank.kernels import Kernels, best_kernels
from recommender.checkpoints.errors import CheckpointUnavailable
from recommender.checkpoints.keeper import CheckpointKeeper
from recommender.checkpoints.opening import open_keeper, require_place
from recommender.cluster.changes import Changes
from recommender.cluster.claims import Claims
from recommender.cluster.failures import Failures
from recommender.cluster.following import PodFollower, Standby
from recommender.cluster.known_pods import KnownPods
from recommender.cluster.owners import OwnerLookup
from recommender.cluster.pods import PodIndex
from recommender.cluster.view import Cluster
from recommender.errors import TermOver
from recommender.figures.table import WorkloadFigures
from recommender.histories.restoring import Inheritance, restored
from recommender.leadership.election import Held, fence
from recommender.leadership.shards import Shard
from recommender.leadership.tenure import Leadership, new_identity
from recommender.metrics import RecommenderMetrics
from recommender.permissions import require_permissions
from recommender.rhythm import Timing
from recommender.settings import RecommenderSettings
from recommender.surroundings import Surroundings
from recommender.term import Term
from vgpu.kube.client import KubeClient
from vgpu.kube.resources import PROFILES, WORKLOADS
from vgpu.metric_source import open_source, require_valid_queries
from vgpu.operator import require_mode
from vgpu.prometheus import PrometheusClient
from vgpu.serving import OpsServer, run_until_signal
from vgpu.telemetry import new_registry
from vgpu.usage_sources import Preset

_USER_AGENT: Final = "vgpu-autoscaler-recommender"

logger = structlog.get_logger(__name__)


async def run(settings: RecommenderSettings) -> None:
    """Recommend until SIGTERM or SIGINT.

    Raises:
        StartupError, KubeError, PrometheusError: the recommender cannot start; in an ExceptionGroup.
    """
    await run_until_signal(partial(serve, settings))


async def serve(settings: RecommenderSettings, stop: asyncio.Event) -> None:
    """Recommend until `stop` is set, whatever is going on then."""
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(_work(settings))
        await stop.wait()
        work.cancel()


async def _work(settings: RecommenderSettings) -> None:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            await KubeClient.connect(kubeconfig=settings.kubeconfig, user_agent=_USER_AGENT)
        )
        source = await stack.enter_async_context(open_source(settings))
        await client.wait_reachable(timeout=settings.startup_timeout)
        await client.require_crds(WORKLOADS, PROFILES)
        await require_mode(client, settings.mode)
        await require_permissions(client, settings)
        await require_place(settings)
        await require_valid_queries(source, settings)
        await Recommender(settings=settings, client=client, source=source, preset=settings.usage()).run()


class Recommender:
    """A replica of the recommender: what it knows of the cluster, and its terms as the leader.

    Args:
        settings: its settings.
        client: the connection to kube-apiserver.
        source: the metric source.
        preset: what to ask the source for.
        timing: when things happen; made from the settings where it is not given.
        kernels: run the loops over histograms; the fastest there are where none are given.
    """

    def __init__(
        self,
        *,
        settings: RecommenderSettings,
        client: KubeClient,
        source: PrometheusClient,
        preset: Preset,
        timing: Timing | None = None,
        kernels: Kernels | None = None,
    ) -> None:
        self._settings = settings
        self.registry = new_registry(service="recommender")
        shard = Shard(settings.shard_index, settings.shard_count)
        timing = timing or Timing(
            interval=settings.interval, settle=settings.settle, checkpoint=settings.checkpoint_interval
        )
        changes, metrics, owners = Changes(), RecommenderMetrics(self.registry), OwnerLookup(client)
        pods = PodIndex(owners, owns=shard.owns)
        claims = Claims(pods)
        self.cluster = Cluster(client, changes, claims, settings.models(), owns=shard.owns)
        failures = Failures(changes=changes, metrics=metrics, clock=timing.monotonic)
        known = KnownPods(pods.find, step=settings.step)
        follower = PodFollower(
            cluster=self.cluster, pods=pods, known=known, failures=failures, clock=timing.clock
        )
        self._around = Surroundings(
            settings=settings,
            identity=new_identity(settings.identity),
            client=client,
            source=source,
            preset=preset,
            cluster=self.cluster,
            owners=owners,
            pods=pods,
            known=known,
            follower=follower,
            standby=Standby(
                cluster=self.cluster,
                changes=changes,
                follower=follower,
                pods=pods,
                known=known,
                claims=claims,
                failures=failures,
                clock=timing.clock,
            ),
            claims=claims,
            changes=changes,
            failures=failures,
            metrics=metrics,
            figures=WorkloadFigures(each=settings.workload_metrics == "each"),
            timing=timing,
        )
        self.figures = self._around.figures
        self.term: Term | None = None
        self._kernels = kernels
        self._leading = False
        self._unreadable: str | None = None
        # Held by who follows the pods: a term, or whoever stands by for one.
        self._pods_followed = asyncio.Lock()
        self.cluster.show(self.registry)
        metrics.watch(
            workloads=lambda: len(self.cluster.own_workloads()),
            pods=lambda: len(pods.values()),
            queue=changes.waiting,
        )

    async def run(self) -> None:
        """Serve /metrics and probes, follow the cluster, and recommend while leading, until cancelled.

        Raises:
            ServingError: a port is taken.
            NotSynced: kube-apiserver has not listed everything in time; in an ExceptionGroup.
        """
        settings, around = self._settings, self._around
        leadership = Leadership.from_settings(
            settings, identity=around.identity, client=around.client, metrics=around.metrics
        )
        ops = OpsServer(
            host=settings.ops_host,
            port=settings.ops_port,
            registry=self.registry,
            not_ready=self.not_ready,
            more=around.figures.exposition,
        )
        async with ops, asyncio.TaskGroup() as tasks:
            self.cluster.start(tasks)
            await self._set_up_kernels()  # before anybody waits for a term to begin
            await self.cluster.wait_synced(settings.startup_timeout)
            logger.info("ready to recommend", ops_port=ops.port, interval=settings.interval)
            tasks.create_task(self._stand_by(), name="stand-by")
            tasks.create_task(leadership.run(self.lead), name="leadership")

    def not_ready(self) -> list[str]:
        """Why recommendations cannot be counted on now, a sentence for each reason; standing by is none."""
        reasons = self.cluster.not_ready()
        if (unanswered := self._around.client.contact.problem()) is not None:
            reasons.append(unanswered)
        if self._kernels is None:
            reasons.append("the loops over histograms are being set up")
        if self._unreadable is not None:
            reasons.append(self._unreadable)
        elif self._leading and self.term is None:
            reasons.append("histories are being loaded")
        return [*reasons, *(self.term.engine.not_ready() if self.term else ())]

    async def lead(self, held: Held) -> None:
        """Work for a term.

        Args:
            held: tells for how long writing is allowed.

        Raises:
            TermOver: the Lease is to be let go of, and to be stood for again; it may be in an ExceptionGroup.
        """
        self._leading = True
        try:
            async with self._pods_followed:
                await self._work_for_a_term(held)
        finally:
            self._leading = False

    async def _work_for_a_term(self, held: Held) -> None:
        try:
            self.term = await self.begin_term(held)
            await self.term.run(held)
        finally:
            self.term = None
            self._around.figures.clear()
            self._around.metrics.end_term()
            self._around.standby.doubt()

    async def begin_term(self, held: Held) -> Term:
        """Make the parts of a term, with the histories of the last one as far as they were saved.

        Raises:
            TermOver: there may be some, and they cannot be read.
        """
        around, check = self._around, fence(held)
        client = around.client.guarded(check)
        keeper = open_keeper(
            self._settings, client=client, check=check, metrics=around.metrics, clock=around.timing.clock
        )
        inheritance = await self._inherit(keeper)
        return Term(around, client=client, keeper=keeper, inheritance=inheritance)

    async def _inherit(self, keeper: CheckpointKeeper | None) -> Inheritance:
        settings = self._settings
        try:
            snapshot = await keeper.load() if keeper is not None else None
        except CheckpointUnavailable as error:
            # To begin with nothing would be to write nothing over what there is.
            logger.error("histories cannot be read; this replica does not lead", error=str(error))  # noqa: TRY400 - the trace tells no more
            self._around.metrics.checkpoint_failed(error.reason)
            self._unreadable = f"histories cannot be read: {error}"
            raise TermOver(str(error)) from error
        self._unreadable = None
        return await asyncio.to_thread(
            restored,
            snapshot,
            half_life=settings.half_life,
            peak_window=settings.peak_window,
            now=self._around.timing.clock(),
            kernels=await self._set_up_kernels(),
        )

    async def _set_up_kernels(self) -> Kernels:
        """Compile the loops over histograms, once."""
        if self._kernels is None:
            self._kernels = await asyncio.to_thread(best_kernels)
            logger.info("histograms are worked on", by=self._kernels.name)
        return self._kernels

    async def _stand_by(self) -> None:
        """Keep the pods' owners known while another replica leads, so that a term can begin at once."""
        standby = self._around.standby
        while True:
            async with self._pods_followed:
                await standby.keep_up()
            await standby.wait()
