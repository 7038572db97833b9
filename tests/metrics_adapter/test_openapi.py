import json
from typing import Any

from metrics_adapter.catalog import CUSTOM_METRICS, MetricGroup, MetricInfo
from metrics_adapter.openapi import swagger, v3_document, v3_index

PATH = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/{namespace}/pods/{name}/gpu_utilization"


def references(document: Any) -> list[str]:
    if isinstance(document, dict):
        found = [document["$ref"]] if "$ref" in document else []
        return found + [each for value in document.values() for each in references(value)]
    return [each for value in document for each in references(value)] if isinstance(document, list) else []


def test_v2_has_every_metric_in_every_version() -> None:
    document = swagger([CUSTOM_METRICS])
    assert document["swagger"] == "2.0"
    assert PATH in document["paths"]
    assert len(document["paths"]) == 8


def test_v2_refers_to_nothing_that_is_not_there() -> None:
    document = swagger([CUSTOM_METRICS])
    known = {f"#/definitions/{name}" for name in document["definitions"]}
    assert set(references(document)) == known


def test_the_parameters_of_a_path_are_those_in_its_template() -> None:
    parameters = swagger([CUSTOM_METRICS])["paths"][PATH]["get"]["parameters"]
    assert [parameter["name"] for parameter in parameters if parameter["in"] == "path"] == [
        "namespace",
        "name",
    ]


def test_root_scoped_objects_have_no_namespace_in_their_path() -> None:
    nodes = (MetricInfo("nodes", "gpu_temperature", namespaced=False),)
    group = MetricGroup("custom.metrics.k8s.io", ("v1beta2",), "MetricValueList", nodes)
    (path,) = swagger([group])["paths"]
    assert path == "/apis/custom.metrics.k8s.io/v1beta2/nodes/{name}/gpu_temperature"
    (operation,) = swagger([group])["paths"].values()
    assert "namespace" not in json.dumps(operation["get"]["parameters"])


def test_the_v3_index_leads_to_a_document_of_each_version() -> None:
    assert v3_index([CUSTOM_METRICS])["paths"] == {
        f"apis/custom.metrics.k8s.io/{version}": {
            "serverRelativeURL": f"/openapi/v3/apis/custom.metrics.k8s.io/{version}"
        }
        for version in ("v1beta2", "v1beta1")
    }


def test_v3_refers_to_nothing_that_is_not_there() -> None:
    document = v3_document(CUSTOM_METRICS, "v1beta1")
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert document["openapi"] == "3.0.0"
    assert set(references(document)) == known
