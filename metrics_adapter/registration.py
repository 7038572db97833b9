"""Registers the adapter with kube-apiserver, for development clusters; elsewhere the manifests do that.

The Service is an ExternalName for localhost: kube-apiserver's aggregator takes the port from the APIService
and so reaches a process beside it, while it verifies the certificate for SERVICE.NAMESPACE.svc as always.
"""

import base64
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from metrics_adapter.catalog import MetricGroup
from metrics_adapter.errors import RegistrationRefused
from vgpu.kube.client import KubeClient
from vgpu.kube.errors import AlreadyExists, NotFound
from vgpu.kube.ownership import MANAGED_BY, MANAGER
from vgpu.kube.resources import API_SERVICES, NAMESPACES, SERVICES

# What other metric servers take; it orders groups in discovery, and nobody finds this one by its place.
_GROUP_PRIORITY = 100
_LABELS = {"app.kubernetes.io/name": "vgpu-autoscaler", MANAGED_BY: MANAGER}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where kube-apiserver finds the adapter: Service, port, and the CA of its certificate."""

    namespace: str
    service: str
    port: int
    ca_pem: bytes


class _ServiceReference(msgspec.Struct):
    namespace: str = ""
    name: str = ""


class _ApiServiceSpec(msgspec.Struct):
    service: _ServiceReference | None = None


class _ApiService(msgspec.Struct):
    spec: _ApiServiceSpec


class _ServiceSpec(msgspec.Struct):
    type: str = "ClusterIP"


class _Service(msgspec.Struct):
    spec: _ServiceSpec


async def register(client: KubeClient, group: MetricGroup, endpoint: Endpoint) -> None:
    """Create or update what kube-apiserver needs to pass requests for the group to this process.

    All that could refuse is looked at first, so that nothing is half done.

    Raises:
        RegistrationRefused: the Service or an APIService of these names is somebody else's.
        KubeError: kube-apiserver refused, or did not answer.
    """
    for version in group.versions:
        await _require_ours(client, f"{version}.{group.name}", endpoint)
    await _require_external_name(client, endpoint)
    await _create_namespace(client, endpoint.namespace)
    await client.apply(
        SERVICES,
        endpoint.service,
        service(endpoint),
        namespace=endpoint.namespace,
        field_manager=MANAGER,
        force=True,
    )
    for body in api_services(group, endpoint):
        name = body["metadata"]["name"]
        await client.apply(API_SERVICES, name, body, field_manager=MANAGER, force=True)
        _log.info("API service registered", api_service=name, port=endpoint.port)


def service(endpoint: Endpoint) -> dict[str, Any]:
    """The Service that stands for localhost."""
    return {
        "metadata": {"name": endpoint.service, "namespace": endpoint.namespace, "labels": _LABELS},
        "spec": {
            "type": "ExternalName",
            "externalName": "localhost",
            "ports": [{"name": "https", "port": endpoint.port, "protocol": "TCP"}],
        },
    }


def api_services(group: MetricGroup, endpoint: Endpoint) -> list[dict[str, Any]]:
    """The APIServices of a group: one for each version, the preferred one with the highest priority."""
    return [
        {
            "metadata": {"name": f"{version}.{group.name}", "labels": _LABELS},
            "spec": {
                "group": group.name,
                "version": version,
                "groupPriorityMinimum": _GROUP_PRIORITY,
                "versionPriority": 100 * (len(group.versions) - rank),
                "caBundle": base64.b64encode(endpoint.ca_pem).decode("ascii"),
                "service": {
                    "namespace": endpoint.namespace,
                    "name": endpoint.service,
                    "port": endpoint.port,
                },
            },
        }
        for rank, version in enumerate(group.versions)
    ]


async def _require_ours(client: KubeClient, name: str, endpoint: Endpoint) -> None:
    try:
        found = await client.get(API_SERVICES, name, type=_ApiService)
    except NotFound:
        return
    held = found.spec.service
    if held is None or (held.namespace, held.name) != (endpoint.namespace, endpoint.service):
        holder = f"Service {held.namespace}/{held.name}" if held else "kube-apiserver itself"
        raise RegistrationRefused(
            f"APIService {name} belongs to {holder}, and a cluster has one server for each API: "
            f"remove that adapter and `kubectl delete apiservice {name}`, or run without --register"
        )


async def _require_external_name(client: KubeClient, endpoint: Endpoint) -> None:
    try:
        found = await client.get(SERVICES, endpoint.service, namespace=endpoint.namespace, type=_Service)
    except NotFound:
        return
    if found.spec.type != "ExternalName":
        raise RegistrationRefused(
            f"Service {endpoint.namespace}/{endpoint.service} is of type {found.spec.type} and so belongs to "
            "an adapter in the cluster: run without --register, or with another --service-name"
        )


async def _create_namespace(client: KubeClient, name: str) -> None:
    try:
        await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    except AlreadyExists:
        return
    _log.info("namespace created", namespace=name)
