"""The metrics adapter's process: from settings to a server that answers until it is told to stop."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

import structlog

from metrics_adapter.app import build_app
from metrics_adapter.authentication import FrontProxy, load_front_proxy
from metrics_adapter.cards import any_cards, node_cards
from metrics_adapter.catalog import CUSTOM_METRICS
from metrics_adapter.metrics import AdapterMetrics
from metrics_adapter.poller import Poller
from metrics_adapter.registration import Endpoint, register
from metrics_adapter.settings import AdapterSettings
from vgpu.annotations import GATE_SELECTOR
from vgpu.certificates import ServingPair, issue_serving_pair, server_context
from vgpu.kube.client import KubeClient
from vgpu.kube.objects import PartialObject, Pod
from vgpu.kube.reflector import Reflector
from vgpu.kube.resources import NODES, PODS
from vgpu.metric_source import open_source, require_valid_queries
from vgpu.prometheus import PrometheusClient
from vgpu.serving import HttpsServer, OpsServer, run_until_signal
from vgpu.telemetry import new_registry, watch_reflectors, watch_requests

GROUPS = (CUSTOM_METRICS,)

# Bookmarks come every minute or two: after so long the pods that are known are those of the past.
_LONGEST_SILENCE = 300.0

_log = structlog.get_logger(__name__)


async def run(settings: AdapterSettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        StartupError, KubeError, PrometheusError: the adapter cannot start; in an ExceptionGroup.
    """
    await run_until_signal(partial(serve, settings))


async def serve(settings: AdapterSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, whatever is going on then; answers in flight are finished."""
    async with (
        await KubeClient.connect(kubeconfig=settings.kubeconfig, user_agent="vgpu-metrics-adapter") as kube,
        open_source(settings) as source,
    ):
        adapter = Adapter(settings, kube=kube, source=source)
        # The ops server is there first and last: it tells what the start waits for, and keeps requests away
        # while those in flight are finished.
        async with adapter.ops, asyncio.TaskGroup() as tasks:
            work = tasks.create_task(adapter.work())
            await stop.wait()
            adapter.retire()
            await asyncio.sleep(settings.shutdown_delay)
            work.cancel()


class Adapter:
    """The parts of a running adapter."""

    def __init__(self, settings: AdapterSettings, *, kube: KubeClient, source: PrometheusClient) -> None:
        self._settings = settings
        self._kube = kube
        self._source = source
        self._pair = _serving_pair(settings)
        self._waiting_for: str | None = "kube-apiserver has not answered yet"
        self._retired = False
        self._pods = Reflector(kube, PODS, type=Pod, label_selector=GATE_SELECTOR)
        preset, models = settings.usage(), settings.models()
        self._nodes = Reflector(kube, NODES, type=PartialObject) if preset.needs_cards else None
        registry = new_registry(service="metrics-adapter")
        watch_reflectors(registry, [self._pods, *([self._nodes] if self._nodes else [])])
        watch_requests(registry, kube.contact)
        self._metrics = AdapterMetrics(registry)
        self._metrics.certificate_ends(self._pair.expires)
        self._poller = Poller(
            source=source,
            find_pod=self._pods.get,
            preset=preset,
            cards=node_cards(self._nodes, models) if self._nodes else any_cards(models),
            interval=settings.interval,
            freshness=settings.freshness,
            metrics=self._metrics,
        )
        self.ops = OpsServer(
            host=settings.ops_host, port=settings.ops_port, registry=registry, not_ready=self.not_ready
        )

    def not_ready(self) -> Sequence[str]:
        """Why no request should be sent here."""
        if self._retired:
            return ["the metrics adapter is shutting down"]
        if self._waiting_for is not None:
            return [self._waiting_for]
        reasons = [*self._pods_not_ready(), *self._poller.not_ready()]
        if datetime.now(UTC) >= self._pair.expires:
            reasons.append(f"the serving certificate ended at {self._pair.expires.isoformat()}")
        return reasons

    def retire(self) -> None:
        """Be ready no more."""
        self._retired = True

    async def work(self) -> None:
        """Check the cluster and the source, then answer for ever.

        Raises:
            StartupError, KubeError, PrometheusError: as in `run`, in an ExceptionGroup once it answers.
        """
        front_proxy = await self._check()
        async with self._server(front_proxy) as https, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pods.run())
            await self._pods.wait_synced(self._settings.startup_timeout)
            if self._nodes is not None:
                tasks.create_task(self._nodes.run())
                await self._nodes.wait_synced(self._settings.startup_timeout)
            tasks.create_task(self._poller.run())
            if self._settings.registration:
                await self._register(https.port)
            self._waiting_for = None
            _log.info(
                "serving",
                port=https.port,
                ops_port=self.ops.port,
                registered=self._settings.registration,
            )

    async def _check(self) -> FrontProxy:
        seconds = self._settings.startup_timeout
        await self._kube.wait_reachable(timeout=seconds)
        self._waiting_for = "the cluster has not told how to recognise kube-apiserver yet"
        front_proxy = await load_front_proxy(self._kube, timeout=seconds)
        self._waiting_for = "the metric source has not taken the queries yet"
        await require_valid_queries(self._source, self._settings)
        self._waiting_for = "the pods have not been listed yet"
        return front_proxy

    def _server(self, front_proxy: FrontProxy) -> HttpsServer:
        app = build_app(
            groups=GROUPS,
            front_proxy=front_proxy,
            snapshot=lambda: self._poller.snapshot,
            freshness=self._settings.freshness,
            metrics=self._metrics,
            not_ready=self.not_ready,
        )
        context = server_context(self._pair, client_ca_pem=front_proxy.ca_pem)
        return HttpsServer(app, host=self._settings.host, port=self._settings.port, ssl_context=context)

    def _pods_not_ready(self) -> Sequence[str]:
        silence = self._pods.silence()
        if silence > _LONGEST_SILENCE:
            return [f"kube-apiserver has told nothing of the pods for {silence:.0f} s"]
        return []

    async def _register(self, port: int) -> None:
        endpoint = Endpoint(
            namespace=self._settings.namespace,
            service=self._settings.service_name,
            port=port,
            ca_pem=self._pair.ca_pem,
        )
        for group in GROUPS:
            await register(self._kube, group, endpoint)


def _serving_pair(settings: AdapterSettings) -> ServingPair:
    names = settings.serving_names()
    return issue_serving_pair(
        dns_names=names, ip_addresses=("127.0.0.1", "::1"), now=datetime.now(UTC), common_name=names[0]
    )
