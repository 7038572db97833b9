"""Discovery: how kube-apiserver, kubectl and client-go learn what is served, in both of its forms."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from metrics_adapter.catalog import MetricGroup

JSON_TYPE = "application/json"
AGGREGATED_TYPE = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
"""The content type of aggregated discovery; an answer under any other one is taken for the legacy form."""

_VERBS = ["get"]
"""Neither list nor delete: so garbage collection and the deletion of namespaces pass metrics by."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Document:
    """A body that never changes while the process runs, and the ETag that says so."""

    content_type: str
    body: bytes
    etag: str


def document(content: Json, *, content_type: str = JSON_TYPE) -> Document:
    """Encode a document once and for all."""
    body = msgspec.json.encode(content)
    return Document(content_type, body, f'"{hashlib.sha256(body).hexdigest()}"')


def wants_aggregated(accept: str) -> bool:
    """Whether an Accept header takes aggregated discovery v2, whatever else and with whatever preference."""
    wanted = set(AGGREGATED_TYPE.split(";"))
    return any(
        wanted <= {parameter.strip() for parameter in media_range.split(";")}
        for media_range in accept.split(",")
    )


def aggregated_groups(groups: Sequence[MetricGroup]) -> Json:
    """The APIGroupDiscoveryList: every group, version and metric at once.

    Metrics are subresources of the objects they describe. The objects themselves are not served here, so the
    parent has an empty kind, as kube-apiserver itself writes it for such parents.
    """
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": group.name},
                "versions": [_aggregated_version(group, version) for version in group.versions],
            }
            for group in groups
        ],
    }


def _aggregated_version(group: MetricGroup, version: str) -> Json:
    return {
        "version": version,
        "freshness": "Current",
        "resources": [
            {
                "resource": resource,
                "responseKind": {"group": "", "version": "", "kind": ""},
                "scope": "Namespaced" if namespaced else "Cluster",
                "singularResource": "",
                "verbs": [],
                "subresources": [
                    {
                        "subresource": info.name,
                        "responseKind": {"group": group.name, "version": version, "kind": group.value_kind},
                        "verbs": _VERBS,
                    }
                    for info in group.metrics
                    if (info.resource, info.namespaced) == (resource, namespaced)
                ],
            }
            for resource, namespaced in group.resources()
        ],
    }


def group_list(groups: Sequence[MetricGroup]) -> Json:
    """The legacy APIGroupList at `/apis`."""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(group) for group in groups]}


def api_group(group: MetricGroup) -> Json:
    """The legacy APIGroup at `/apis/GROUP`."""
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(group)}


def _group(group: MetricGroup) -> Json:
    versions = [{"groupVersion": f"{group.name}/{version}", "version": version} for version in group.versions]
    return {"name": group.name, "versions": versions, "preferredVersion": versions[0]}


def resource_list(group: MetricGroup, version: str) -> Json:
    """The legacy APIResourceList at `/apis/GROUP/VERSION`, which is also what kube-apiserver probes."""
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group.name}/{version}",
        "resources": [
            {
                "name": f"{info.resource}/{info.name}",
                "singularName": "",
                "namespaced": info.namespaced,
                "kind": group.value_kind,
                "verbs": _VERBS,
            }
            for info in group.metrics
        ],
    }
