"""Registers the webhook with kube-apiserver, for development clusters; elsewhere the manifests do that."""

import base64
from typing import Any

import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from vgpu.annotations import ENABLED_LABEL, GROUP
from vgpu.kube.client import KubeClient
from vgpu.kube.errors import AlreadyExists, Conflict, NotFound
from vgpu.kube.objects import PartialObject
from vgpu.kube.ownership import MANAGED_BY, MANAGER, is_ours
from vgpu.kube.resources import MUTATING_WEBHOOKS
from webhook.errors import RegistrationRefusedError

CONFIGURATION_NAME = "a-vgpu-autoscaler"
"""Configurations are called in the order of their names: this one before hami-webhook and tensor-fusion-...,
which read what it writes."""
PODS_PATH = "/mutate/pods"
TIMEOUT_SECONDS = 5

_log = structlog.get_logger(__name__)


def service_client(*, name: str, namespace: str, port: int, path: str = PODS_PATH) -> dict[str, Any]:
    """The clientConfig of a webhook behind a Service."""
    return {"service": {"name": name, "namespace": namespace, "port": port, "path": path}}


def url_client(base: str, *, path: str = PODS_PATH) -> dict[str, Any]:
    """The clientConfig of a webhook outside of the cluster."""
    return {"url": base + path}


def configuration(*, client: dict[str, Any], ca_pem: bytes, namespace: str) -> dict[str, Any]:
    """The MutatingWebhookConfiguration.

    Args:
        client: where kube-apiserver reaches the webhook, from `service_client` or `url_client`.
        ca_pem: what the serving certificate is checked against.
        namespace: the product's own; its pods are not sent here, or a webhook would gate its own restart.
    """
    return {
        "apiVersion": MUTATING_WEBHOOKS.api_version,
        "kind": MUTATING_WEBHOOKS.kind,
        "metadata": {
            "name": CONFIGURATION_NAME,
            "labels": {"app.kubernetes.io/name": "vgpu-autoscaler", MANAGED_BY: MANAGER},
        },
        "webhooks": [
            {
                "name": f"pods.vgpu-autoscaler.{GROUP}",
                "admissionReviewVersions": ["v1"],
                "clientConfig": {**client, "caBundle": base64.b64encode(ca_pem).decode("ascii")},
                "rules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["pods"],
                        "scope": "Namespaced",
                    }
                ],
                "objectSelector": {"matchLabels": {ENABLED_LABEL: "true"}},
                "namespaceSelector": {
                    "matchExpressions": [
                        {
                            "key": "kubernetes.io/metadata.name",
                            "operator": "NotIn",
                            "values": sorted({"kube-system", namespace}),
                        }
                    ]
                },
                "failurePolicy": "Ignore",
                "matchPolicy": "Equivalent",
                "reinvocationPolicy": "IfNeeded",
                "sideEffects": "None",
                "timeoutSeconds": TIMEOUT_SECONDS,
            }
        ],
    }


async def register(client: KubeClient, body: dict[str, Any]) -> None:
    """Create the configuration, or update the one that an earlier process of ours created.

    Raises:
        RegistrationRefusedError: one of that name exists that is not ours.
        KubeError: kube-apiserver refused, or did not answer.
    """
    # Two processes that start together both create, or both update: the one that comes second looks again.
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type((AlreadyExists, Conflict)),
        stop=stop_after_attempt(5),
        wait=wait_random_exponential(multiplier=0.05, max=1),
        reraise=True,
    ):
        with attempt:
            await _create_or_update(client, body)


async def _create_or_update(client: KubeClient, body: dict[str, Any]) -> None:
    existing = await _existing(client)
    if existing is None:
        await client.create(MUTATING_WEBHOOKS, body)
        _log.info("webhook registered", configuration=CONFIGURATION_NAME)
        return
    if not is_ours(existing.metadata):
        raise RegistrationRefusedError(CONFIGURATION_NAME, (existing.metadata.labels or {}).get(MANAGED_BY))
    metadata = {**body["metadata"], "resourceVersion": existing.metadata.resource_version}
    await client.replace(MUTATING_WEBHOOKS, CONFIGURATION_NAME, {**body, "metadata": metadata})
    _log.info("webhook registration updated", configuration=CONFIGURATION_NAME)


async def _existing(client: KubeClient) -> PartialObject | None:
    try:
        return await client.get(MUTATING_WEBHOOKS, CONFIGURATION_NAME, type=PartialObject)
    except NotFound:
        return None
