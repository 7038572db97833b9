"""The custom resource definitions, as far as they can be checked without an API server."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.documentation import documented_spec, documented_status
from vgpu.annotations import GROUP
from vgpu.api.autoscaling import AutoScalingConfig, AutoSetReplicas, AutoSetResources, CronScalingRule
from vgpu.api.fields import Model
from vgpu.api.workload import WorkloadSpec
from vgpu.kube.resources import PROFILES, WORKLOADS, ResourceType

CRDS: Final = Path(__file__).parents[2] / "manifests" / "crds"
KEEPS_UNKNOWN: Final = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING: Final = "x-kubernetes-int-or-string"

Json = dict[str, Any]

RESOURCES = [WORKLOADS, PROFILES]
# apiVersion, kind and metadata are filled in by the API server; it forbids a description of the metadata.
BUILT_IN = {"apiVersion", "kind", "metadata"}


@cache
def definition(resource: ResourceType) -> Json:
    loaded: Json = yaml.safe_load((CRDS / f"{resource.plural}.yaml").read_text(encoding="utf-8"))
    return loaded


def version(resource: ResourceType) -> Json:
    (only,) = definition(resource)["spec"]["versions"]
    assert isinstance(only, dict)
    return only


def schema(resource: ResourceType, *path: str) -> Json:
    found: Json = version(resource)["schema"]["openAPIV3Schema"]
    for step in path:
        found = found["items"] if step == "[]" else found["properties"][step]
    return found


def walk(found: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Every schema below this one, with its path."""
    yield path, found
    for key, child in found.get("properties", {}).items():
        yield from walk(child, f"{path}.{key}")
    if "items" in found:
        yield from walk(found["items"], f"{path}[]")


def described(resource: ResourceType) -> Iterator[tuple[str, Json]]:
    return ((path, found) for path, found in walk(schema(resource)) if path.lstrip(".") not in BUILT_IN)


def unlisted(found: Json, value: object, path: str = "") -> Iterator[str]:
    """Paths of what a value has and the schema does not list, or lists as something else."""
    if found.get(INT_OR_STRING):
        if not isinstance(value, int | str):
            yield path
    elif isinstance(value, Mapping):
        for key, item in value.items():
            child = found.get("properties", {}).get(key)
            yield from [f"{path}.{key}"] if child is None else unlisted(child, item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from unlisted(found["items"], item, f"{path}[]")
    elif not isinstance(value, TYPES[found.get("type")]):
        yield path


TYPES: Final[Mapping[str | None, tuple[type, ...]]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    # A fraction has no type: number or text.
    None: (int, float, str),
}


def test_the_kustomization_lists_every_definition() -> None:
    kustomization = yaml.safe_load((CRDS / "kustomization.yaml").read_text(encoding="utf-8"))
    assert sorted(kustomization["resources"]) == sorted(f"{resource.plural}.yaml" for resource in RESOURCES)


@pytest.mark.parametrize("resource", RESOURCES)
def test_a_definition_is_what_the_services_ask_for(resource: ResourceType) -> None:
    found = definition(resource)
    assert (found["apiVersion"], found["kind"]) == ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    assert found["metadata"]["name"] == f"{resource.plural}.{resource.group}"
    spec = found["spec"]
    assert (spec["group"], spec["scope"]) == (GROUP, "Namespaced") == (resource.group, "Namespaced")
    assert (spec["names"]["kind"], spec["names"]["plural"]) == (resource.kind, resource.plural)
    assert (version(resource)["name"], version(resource)["served"], version(resource)["storage"]) == (
        resource.version,
        True,
        True,
    )


def test_workloads_have_short_names_and_a_status_of_their_own() -> None:
    assert definition(WORKLOADS)["spec"]["names"]["shortNames"] == ["tfw", "tfworkload"]
    assert version(WORKLOADS)["subresources"] == {"status": {}}


def test_the_columns_of_workloads_point_at_fields() -> None:
    columns = {
        column["name"]: column["jsonPath"] for column in version(WORKLOADS)["additionalPrinterColumns"]
    }
    assert list(columns) == [
        "Target", "TFLOPS", "Recommended TFLOPS", "VRAM", "Recommended VRAM", "Active Rule", "Applied", "Age",
    ]  # fmt: skip
    paths = {path for path, _ in walk(schema(WORKLOADS))}
    assert set(columns.values()) - paths == {".metadata.creationTimestamp"}


@pytest.mark.parametrize("resource", RESOURCES)
def test_every_field_is_described_in_whole_sentences(resource: ResourceType) -> None:
    for path, found in described(resource):
        text = found.get("description", "")
        assert text[:1].isupper(), path
        assert text.endswith("."), path


@pytest.mark.parametrize("resource", RESOURCES)
def test_the_schema_is_structural(resource: ResourceType) -> None:
    """Every schema has a type, or says that it takes anything, integer or text; no logic hides a field."""
    for path, found in walk(schema(resource)):
        assert "type" in found or found.get(KEEPS_UNKNOWN) or found.get(INT_OR_STRING), path
        assert not (found.get(INT_OR_STRING) and "type" in found), path
        assert ("items" in found) == (found.get("type") == "array"), path
        assert not {"allOf", "anyOf", "oneOf", "not", "additionalProperties", "$ref"} & set(found), path


@pytest.mark.parametrize("resource", RESOURCES)
def test_every_object_keeps_fields_that_it_does_not_know(resource: ResourceType) -> None:
    for path, found in walk(schema(resource)):
        if path.startswith((".spec", ".status")) and found.get("type") == "object":
            assert found[KEEPS_UNKNOWN] is True, path


def test_both_kinds_have_the_same_spec() -> None:
    assert schema(WORKLOADS, "spec")["properties"] == schema(PROFILES, "spec")["properties"]


@pytest.mark.parametrize("resource", RESOURCES)
def test_the_documented_block_stands_in_the_schema(resource: ResourceType) -> None:
    assert list(unlisted(schema(resource, "spec"), documented_spec())) == []


def test_the_documented_status_stands_in_the_schema() -> None:
    status = {
        **documented_status(),
        "activeCronScalingRule": documented_spec()["autoScalingConfig"]["cronScalingRules"][0],
    }
    assert list(unlisted(schema(WORKLOADS, "status"), status)) == []


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (WorkloadSpec, ()),
        (AutoScalingConfig, ("autoScalingConfig",)),
        (AutoSetResources, ("autoScalingConfig", "autoSetResources")),
        (AutoSetReplicas, ("autoScalingConfig", "autoSetReplicas")),
        (CronScalingRule, ("autoScalingConfig", "cronScalingRules", "[]")),
    ],
)
def test_the_schema_lists_what_the_code_reads_and_nothing_else(
    model: type[Model], path: tuple[str, ...]
) -> None:
    read = {field.alias for field in model.model_fields.values()}
    assert set(schema(PROFILES, "spec", *path)["properties"]) == read


def test_fractions_may_be_numbers_or_texts() -> None:
    resources = schema(PROFILES, "spec", "autoScalingConfig", "autoSetResources")["properties"]
    for name in (key for key in resources if key.endswith(("Percentile", "Fraction", "Ratio", "Threshold"))):
        assert "type" not in resources[name], name
        assert resources[name][KEEPS_UNKNOWN] is True, name


@pytest.mark.parametrize("resource", RESOURCES)
def test_quantities_may_be_integers_or_texts(resource: ResourceType) -> None:
    for path, found in walk(schema(resource)):
        if path.rpartition(".")[0].endswith(("requests", "limits", "Allowed")):
            assert found.get(INT_OR_STRING) is True, path


def test_there_is_one_condition_of_a_type_and_it_need_not_be_ours() -> None:
    conditions = schema(WORKLOADS, "status", "conditions")
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert conditions["items"]["required"] == ["type", "status"]
    assert not {"enum", "pattern", "maxLength"} & set().union(*conditions["items"]["properties"].values())


def test_an_active_rule_has_the_fields_of_a_rule() -> None:
    active = schema(WORKLOADS, "status", "activeCronScalingRule")["properties"]
    assert active == schema(WORKLOADS, "spec", "autoScalingConfig", "cronScalingRules", "[]")["properties"]
