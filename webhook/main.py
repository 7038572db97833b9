"""The webhook as a process."""

import asyncio
import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

import structlog

from vgpu.certificates import ServingPair, issue_serving_pair, server_context
from vgpu.kube.client import KubeClient
from vgpu.kube.resources import PROFILES, WORKLOADS
from vgpu.operator import require_mode
from vgpu.serving import HttpsServer, OpsServer, run_until_signal
from vgpu.telemetry import new_registry, watch_reflectors, watch_requests
from webhook.app import build_app
from webhook.caches import Caches
from webhook.metrics import WebhookMetrics
from webhook.registration import TIMEOUT_SECONDS, configuration, register, service_client, url_client
from webhook.settings import WebhookSettings

_log = structlog.get_logger(__name__)


async def run(settings: WebhookSettings) -> None:
    """Serve admission reviews until SIGTERM or SIGINT.

    Raises:
        StartupError: a port is taken, or the registration belongs to somebody else.
        KubeError: kube-apiserver cannot be reached, refuses, or lacks the custom resource definitions.
    """
    await run_until_signal(partial(serve, settings))


async def serve(settings: WebhookSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set."""
    async with await KubeClient.connect(
        kubeconfig=settings.kubeconfig, user_agent="vgpu-autoscaler-webhook"
    ) as client:
        webhook = Webhook(settings=settings, client=client)
        # In this order: while answers in flight are finished, /readyz keeps new ones away.
        async with webhook.ops, webhook.https, asyncio.TaskGroup() as group:
            following = group.create_task(webhook.follow_cluster())
            await stop.wait()
            webhook.retire()
            await asyncio.sleep(settings.shutdown_delay)
            following.cancel()


class Webhook:
    """The parts of a running webhook."""

    def __init__(self, *, settings: WebhookSettings, client: KubeClient) -> None:
        self._settings = settings
        self._client = client
        self._pair = self_made_certificate(settings)
        self._starting = True
        self._retiring = False
        self.caches = Caches(client, settings.models(), mode=settings.mode)
        metrics = WebhookMetrics(new_registry(service="webhook"))
        metrics.watch_caches(self.caches.sizes())
        watch_reflectors(metrics.registry, self.caches.reflectors)
        watch_requests(metrics.registry, client.contact)
        metrics.certificate_ends(self._pair.expires)
        self.https = HttpsServer(
            build_app(lookups=self.caches, metrics=metrics),
            host=settings.host,
            port=settings.port,
            ssl_context=server_context(self._pair),
            shutdown_timeout=TIMEOUT_SECONDS,
        )
        self.ops = OpsServer(
            host=settings.ops_host,
            port=settings.ops_port,
            registry=metrics.registry,
            not_ready=self.not_ready,
        )

    def not_ready(self) -> Sequence[str]:
        """Why no admission should be sent here."""
        reasons = [f"{resource} have not been listed yet" for resource in self.caches.not_synced()]
        if datetime.now(UTC) >= self._pair.expires:
            reasons.append(f"the serving certificate ended at {self._pair.expires.isoformat()}")
        if self._starting:
            reasons.append("the webhook is starting")
        if self._retiring:
            reasons.append("the webhook is shutting down")
        return reasons

    def retire(self) -> None:
        """Be ready no more."""
        self._retiring = True

    async def follow_cluster(self) -> None:
        """Check the cluster, fill the caches, register if that is set; then keep the caches current for ever.

        Raises:
            StartupError, KubeError: as in `run`, in an ExceptionGroup once the caches are at work.
        """
        await self._client.wait_reachable(timeout=self._settings.startup_timeout)
        await self._client.require_crds(WORKLOADS, PROFILES)
        await require_mode(self._client, self._settings.mode)
        async with asyncio.TaskGroup() as group:
            for runner in self.caches.runners():
                group.create_task(runner)
            await self.caches.wait_synced(self._settings.startup_timeout)
            await self._become_ready()

    async def _become_ready(self) -> None:
        if self._settings.registration != "none":
            await register(self._client, self._configuration())
        self._starting = False
        _log.info("webhook is ready", host=self._settings.host, port=self.https.port)

    def _configuration(self) -> dict[str, object]:
        settings = self._settings
        if settings.registration == "url":
            client = url_client(settings.address(self.https.port))
        else:
            client = service_client(
                name=settings.service_name, namespace=settings.namespace, port=settings.register_port
            )
        return configuration(client=client, ca_pem=self._pair.ca_pem, namespace=settings.namespace)


def self_made_certificate(settings: WebhookSettings) -> ServingPair:
    """A fresh certificate for every name that the webhook may be called by."""
    names = settings.serving_names()
    addresses = [name for name in names if _is_address(name)]
    return issue_serving_pair(
        dns_names=[name for name in names if name not in addresses],
        ip_addresses=addresses,
        now=datetime.now(UTC),
        common_name=f"{settings.service_name}.{settings.namespace}.svc",
    )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
