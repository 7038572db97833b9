"""The recommender as a process."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

import structlog

from recommender.autoscalers import HpaKeeper
from recommender.changes import Changes
from recommender.claims import Claims
from recommender.cluster import Cluster
from recommender.configurations import Configurations
from recommender.engine import Engine, Stages, Timing
from recommender.failures import Failures
from recommender.feeding import Feeder
from recommender.histories import Histories
from recommender.horizontal import HorizontalDefaults
from recommender.metrics import RecommenderMetrics
from recommender.observing import Observer
from recommender.owners import OwnerLookup
from recommender.permissions import require_permissions
from recommender.pods import PodIndex
from recommender.publisher import StatusPublisher
from recommender.reporting import Reporter
from recommender.settings import RecommenderSettings
from recommender.usage import UsageReader
from recommender.verdicts import Judge
from recommender.workloads import WorkloadKeeper
from vgpu.kube.client import KubeClient
from vgpu.kube.resources import PROFILES, WORKLOADS
from vgpu.metric_source import open_source, require_valid_queries
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
        await require_permissions(client)
        await require_valid_queries(source, settings)
        await Recommender(settings=settings, client=client, source=source, preset=settings.usage()).run()


class Recommender:
    """The parts of a running recommender, put together.

    Args:
        settings: its settings.
        client: the connection to kube-apiserver.
        source: the metric source.
        preset: what to ask the source for.
        timing: when things happen; made from the settings where it is not given.
    """

    def __init__(
        self,
        *,
        settings: RecommenderSettings,
        client: KubeClient,
        source: PrometheusClient,
        preset: Preset,
        timing: Timing | None = None,
    ) -> None:
        self._settings = settings
        self._client = client
        self._source = source
        self._preset = preset
        self._timing = timing or Timing(interval=settings.interval, settle=settings.settle)
        self.registry = new_registry(service="recommender")
        self._metrics = RecommenderMetrics(self.registry)
        self._changes = Changes()
        self._owners = OwnerLookup(client)
        self._pods = PodIndex(self._owners)
        self._failures = Failures(changes=self._changes, metrics=self._metrics, clock=self._timing.clock)
        self._claims = Claims(self._pods)
        self.cluster = Cluster(client, self._changes, self._claims, settings.models())
        self.cluster.show(self.registry)
        self.engine = self._engine()
        self._metrics.watch(
            workloads=lambda: len(self.cluster.workloads.values()), pods=lambda: len(self._pods.values())
        )

    async def run(self) -> None:
        """Serve /metrics and probes, follow the cluster and recommend, until cancelled.

        Raises:
            ServingError: a port is taken.
            NotSynced: kube-apiserver has not listed everything in time; in an ExceptionGroup.
        """
        settings = self._settings
        ops = OpsServer(
            host=settings.ops_host, port=settings.ops_port, registry=self.registry, not_ready=self.not_ready
        )
        async with ops, asyncio.TaskGroup() as tasks:
            self.cluster.start(tasks)
            await self.cluster.wait_synced(settings.startup_timeout)
            logger.info("recommending", ops_port=ops.port, interval=settings.interval)
            tasks.create_task(self.engine.run(), name="engine")

    def not_ready(self) -> list[str]:
        """Why recommendations cannot be counted on now, a sentence for each reason."""
        return [*self.cluster.not_ready(), *self.engine.not_ready()]

    def _engine(self) -> Engine:
        histories = Histories(
            half_life=self._settings.half_life,
            peak_window=self._settings.peak_window,
            now=self._timing.clock(),
        )
        stages = Stages(
            observer=self._observer(),
            feeder=self._feeder(histories),
            judge=Judge(histories=histories, configurations=Configurations(), cap=self.cluster.cap),
            reporter=self._reporter(),
        )
        return Engine(
            stages=stages,
            changes=self._changes,
            failures=self._failures,
            metrics=self._metrics,
            timing=self._timing,
        )

    def _observer(self) -> Observer:
        keeper = WorkloadKeeper(
            client=self._client,
            owners=self._owners,
            find_profile=self.cluster.profiles.get,
            metrics=self._metrics,
        )
        return Observer(
            cluster=self.cluster,
            changes=self._changes,
            pods=self._pods,
            keeper=keeper,
            failures=self._failures,
        )

    def _feeder(self, histories: Histories) -> Feeder:
        reader = UsageReader(
            source=self._source,
            preset=self._preset,
            step=self._settings.step,
            settle=self._settings.settle,
            find=self._pods.find,
            largest=self.cluster.cap,
        )
        return Feeder(reader=reader, histories=histories, metrics=self._metrics)

    def _reporter(self) -> Reporter:
        return Reporter(
            cluster=self.cluster,
            pods=self._pods,
            claims=self._claims,
            hpas=HpaKeeper(client=self._client, metrics=self._metrics),
            publisher=StatusPublisher(client=self._client, metrics=self._metrics),
            metrics=self._metrics,
            defaults=HorizontalDefaults(
                metric=self._settings.horizontal_metric, target=self._settings.horizontal_target
            ),
        )
