"""The operator's custom resource definitions, for the fake kube-apiserver."""

from pathlib import Path

import yaml

from tests.support.kube_store import KubeStore, Object
from vgpu.kube.resources import PROFILES, WORKLOADS, ResourceType

OPERATOR_CRDS = Path(__file__).parents[1] / "data" / "operator-crds"


def serve_operators_types(store: KubeStore) -> None:
    """Have a fake kube-apiserver treat workloads and profiles as the operator's definitions say."""
    for resource in (WORKLOADS, PROFILES):
        store.schemas[resource] = _schema(resource)


def _schema(resource: ResourceType) -> Object:
    definition = yaml.safe_load((OPERATOR_CRDS / f"{resource.plural}.yaml").read_text())
    schema: Object = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema
