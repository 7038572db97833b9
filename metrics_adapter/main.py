"""The metrics adapter's process: from settings to a server that answers until it is told to stop."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial

import structlog

from metrics_adapter.app import build_app
from metrics_adapter.authentication import FrontProxy, load_front_proxy
from metrics_adapter.catalog import CUSTOM_METRICS
from metrics_adapter.metrics import AdapterMetrics
from metrics_adapter.poller import Poller
from metrics_adapter.registration import Endpoint, register
from metrics_adapter.settings import AdapterSettings
from vgpu.annotations import GATE_SELECTOR
from vgpu.certificates import ServingPair, issue_serving_pair, server_context
from vgpu.kube.client import KubeClient
from vgpu.kube.objects import Pod
from vgpu.kube.reflector import Reflector
from vgpu.kube.resources import PODS
from vgpu.metric_source import require_valid_queries
from vgpu.prometheus import PrometheusClient
from vgpu.serving import HttpsServer, OpsServer, run_until_signal
from vgpu.telemetry import new_registry
from vgpu.usage_sources import Preset

GROUPS = (CUSTOM_METRICS,)

_log = structlog.get_logger(__name__)


async def run(settings: AdapterSettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        StartupError, KubeError, PrometheusError: the adapter cannot start; in an ExceptionGroup.
    """
    await run_until_signal(partial(serve, settings))


async def serve(settings: AdapterSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, whatever is going on then; answers in flight are finished."""
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(_work(settings))
        await stop.wait()
        work.cancel()


async def _work(settings: AdapterSettings) -> None:
    async with AsyncExitStack() as stack:
        kube = await stack.enter_async_context(
            await KubeClient.connect(kubeconfig=settings.kubeconfig, user_agent="vgpu-metrics-adapter")
        )
        await kube.wait_reachable(timeout=settings.startup_timeout)
        front_proxy = await load_front_proxy(kube, timeout=settings.startup_timeout)
        source = await stack.enter_async_context(
            PrometheusClient(settings.prometheus_url, timeout=settings.prometheus_timeout)
        )
        await require_valid_queries(source, settings)
        await _serve(settings, kube=kube, source=source, preset=settings.usage(), front_proxy=front_proxy)


async def _serve(
    settings: AdapterSettings,
    *,
    kube: KubeClient,
    source: PrometheusClient,
    preset: Preset,
    front_proxy: FrontProxy,
) -> None:
    registry = new_registry(service="metrics-adapter")
    metrics = AdapterMetrics(registry)
    pods = Reflector(kube, PODS, type=Pod, label_selector=GATE_SELECTOR)
    poller = Poller(
        source=source,
        find_pod=pods.get,
        preset=preset,
        interval=settings.interval,
        freshness=settings.freshness,
        metrics=metrics,
    )

    def not_ready() -> list[str]:
        return [*([] if pods.synced else ["the pods have not been listed yet"]), *poller.not_ready()]

    app = build_app(
        groups=GROUPS,
        front_proxy=front_proxy,
        snapshot=lambda: poller.snapshot,
        freshness=settings.freshness,
        metrics=metrics,
        not_ready=not_ready,
    )
    pair = _serving_pair(settings)
    ops = OpsServer(host=settings.ops_host, port=settings.ops_port, registry=registry, not_ready=not_ready)
    https = HttpsServer(
        app,
        host=settings.host,
        port=settings.port,
        ssl_context=server_context(pair, client_ca_pem=front_proxy.ca_pem),
    )
    async with ops, https, asyncio.TaskGroup() as tasks:
        tasks.create_task(pods.run())
        await pods.wait_synced(settings.startup_timeout)
        tasks.create_task(poller.run())
        if settings.registration:
            await _register(settings, kube, pair, port=https.port)
        _log.info("serving", port=https.port, ops_port=ops.port, registered=settings.registration)


async def _register(settings: AdapterSettings, kube: KubeClient, pair: ServingPair, *, port: int) -> None:
    endpoint = Endpoint(
        namespace=settings.namespace, service=settings.service_name, port=port, ca_pem=pair.ca_pem
    )
    for group in GROUPS:
        await register(kube, group, endpoint)


def _serving_pair(settings: AdapterSettings) -> ServingPair:
    names = settings.serving_names()
    return issue_serving_pair(
        dns_names=names, ip_addresses=("127.0.0.1", "::1"), now=datetime.now(UTC), common_name=names[0]
    )
