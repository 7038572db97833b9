"""OpenAPI documents: small ones, so that kube-apiserver has something to merge and no error to log."""

from collections.abc import Sequence

import vgpu
from metrics_adapter.catalog import MetricGroup
from metrics_adapter.discovery import Json

_STRING: Json = {"type": "string"}
_PATH_PARAMETERS = {"namespace": "namespace of the objects", "name": "name of an object, or * for all"}
_QUERY_PARAMETERS = {
    "labelSelector": "selects objects by their labels",
    "metricLabelSelector": "selects a metric's series by the labels of the metric",
}


def swagger(groups: Sequence[MetricGroup]) -> Json:
    """The OpenAPI v2 document of everything that is served."""
    paths: Json = {}
    definitions: Json = {}
    for group in groups:
        for version in group.versions:
            name = _schema_name(group, version)
            definitions[name] = _schema(group, version)
            success = {"description": "OK", "schema": {"$ref": f"#/definitions/{name}"}}
            for path, parameters in _paths(group, version):
                typed = [{**parameter, "type": "string"} for parameter in parameters]
                paths[path] = {"get": _operation(typed, success) | {"produces": ["application/json"]}}
    return {"swagger": "2.0", "info": _info(), "paths": paths, "definitions": definitions}


def v3_index(groups: Sequence[MetricGroup]) -> Json:
    """Where the OpenAPI v3 document of each group and version is."""
    names = [f"apis/{group.name}/{version}" for group in groups for version in group.versions]
    return {"paths": {name: {"serverRelativeURL": f"/openapi/v3/{name}"} for name in names}}


def v3_document(group: MetricGroup, version: str) -> Json:
    """The OpenAPI v3 document of one group and version."""
    name = _schema_name(group, version)
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}
    paths: Json = {}
    for path, parameters in _paths(group, version):
        typed = [{**parameter, "schema": _STRING} for parameter in parameters]
        paths[path] = {"get": _operation(typed, {"description": "OK", "content": content})}
    return {
        "openapi": "3.0.0",
        "info": _info(),
        "paths": paths,
        "components": {"schemas": {name: _schema(group, version)}},
    }


def _info() -> Json:
    return {"title": "vgpu-autoscaler metrics adapter", "version": vgpu.__version__}


def _paths(group: MetricGroup, version: str) -> list[tuple[str, list[Json]]]:
    query = [{"name": name, "in": "query", "description": text} for name, text in _QUERY_PARAMETERS.items()]
    found = []
    for info in group.metrics:
        scope = "namespaces/{namespace}/" if info.namespaced else ""
        path = f"/apis/{group.name}/{version}/{scope}{info.resource}/{{name}}/{info.name}"
        found.append((path, [*_path_parameters(namespaced=info.namespaced), *query]))
    return found


def _path_parameters(*, namespaced: bool) -> list[Json]:
    return [
        {"name": name, "in": "path", "required": True, "description": text}
        for name, text in _PATH_PARAMETERS.items()
        if namespaced or name != "namespace"
    ]


def _operation(parameters: list[Json], success: Json) -> Json:
    return {"description": "values of a metric", "parameters": parameters, "responses": {"200": success}}


def _schema_name(group: MetricGroup, version: str) -> str:
    reversed_group = ".".join(reversed(group.name.split(".")))
    return f"{reversed_group}.{version}.{group.value_kind}"


def _schema(group: MetricGroup, version: str) -> Json:
    return {
        "description": "Values of one metric for a number of objects.",
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": _STRING,
            "kind": _STRING,
            "metadata": {"type": "object"},
            "items": {"type": "array", "items": {"type": "object"}},
        },
        "x-kubernetes-group-version-kind": [
            {"group": group.name, "version": version, "kind": group.value_kind}
        ],
    }
