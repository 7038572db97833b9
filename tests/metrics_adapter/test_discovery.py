import json

import pytest

from metrics_adapter.catalog import CUSTOM_METRICS, MetricGroup, MetricInfo
from metrics_adapter.discovery import (
    AGGREGATED_TYPE,
    aggregated_groups,
    api_group,
    document,
    group_list,
    resource_list,
    wants_aggregated,
)

MIXED = MetricGroup(
    "custom.metrics.k8s.io",
    ("v1beta2",),
    "MetricValueList",
    (MetricInfo("pods", "a"), MetricInfo("nodes", "b", namespaced=False), MetricInfo("pods", "c")),
)


def test_the_group_prefers_v1beta2() -> None:
    group = {
        "name": "custom.metrics.k8s.io",
        "versions": [
            {"groupVersion": "custom.metrics.k8s.io/v1beta2", "version": "v1beta2"},
            {"groupVersion": "custom.metrics.k8s.io/v1beta1", "version": "v1beta1"},
        ],
        "preferredVersion": {"groupVersion": "custom.metrics.k8s.io/v1beta2", "version": "v1beta2"},
    }
    assert group_list([CUSTOM_METRICS]) == {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]}
    assert api_group(CUSTOM_METRICS) == {"kind": "APIGroup", "apiVersion": "v1", **group}


@pytest.mark.parametrize("version", ["v1beta1", "v1beta2"])
def test_the_legacy_list_has_every_metric_as_a_subresource_of_pods(version: str) -> None:
    listed = resource_list(CUSTOM_METRICS, version)
    assert listed["groupVersion"] == f"custom.metrics.k8s.io/{version}"
    assert listed["resources"][0] == {
        "name": "pods/gpu_utilization",
        "singularName": "",
        "namespaced": True,
        "kind": "MetricValueList",
        "verbs": ["get"],
    }
    assert [resource["name"] for resource in listed["resources"]] == [
        "pods/gpu_utilization",
        "pods/gpu_memory_utilization",
        "pods/gpu_tflops",
        "pods/gpu_memory_bytes",
    ]


def test_aggregated_discovery_has_every_version_that_is_served() -> None:
    (group,) = aggregated_groups([CUSTOM_METRICS])["items"]
    assert group["metadata"] == {"name": "custom.metrics.k8s.io"}
    assert [version["version"] for version in group["versions"]] == ["v1beta2", "v1beta1"]


def test_aggregated_discovery_has_metrics_as_subresources_of_pods() -> None:
    discovered = aggregated_groups([CUSTOM_METRICS])
    (pods,) = discovered["items"][0]["versions"][0]["resources"]
    assert discovered["apiVersion"] == "apidiscovery.k8s.io/v2"
    assert (pods["resource"], pods["scope"], pods["verbs"]) == ("pods", "Namespaced", [])
    assert pods["subresources"][0] == {
        "subresource": "gpu_utilization",
        "responseKind": {
            "group": "custom.metrics.k8s.io",
            "version": "v1beta2",
            "kind": "MetricValueList",
        },
        "verbs": ["get"],
    }


def test_both_forms_of_discovery_say_the_same() -> None:
    for version in aggregated_groups([CUSTOM_METRICS])["items"][0]["versions"]:
        aggregated = [
            f"{resource['resource']}/{subresource['subresource']}"
            for resource in version["resources"]
            for subresource in resource["subresources"]
        ]
        legacy = resource_list(CUSTOM_METRICS, version["version"])["resources"]
        assert aggregated == [resource["name"] for resource in legacy]


def test_each_kind_of_object_is_one_parent_with_one_scope() -> None:
    resources = aggregated_groups([MIXED])["items"][0]["versions"][0]["resources"]
    assert [(each["resource"], each["scope"], len(each["subresources"])) for each in resources] == [
        ("pods", "Namespaced", 2),
        ("nodes", "Cluster", 1),
    ]


@pytest.mark.parametrize(
    "accept",
    [
        AGGREGATED_TYPE,
        f"{AGGREGATED_TYPE},application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        "application/json, application/json; as=APIGroupDiscoveryList; v=v2; g=apidiscovery.k8s.io; q=0.9",
    ],
)
def test_who_takes_aggregated_discovery_gets_it(accept: str) -> None:
    assert wants_aggregated(accept)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/json",
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    ],
)
def test_who_does_not_take_it_gets_the_legacy_form(accept: str) -> None:
    assert not wants_aggregated(accept)


def test_the_etag_is_that_of_the_content() -> None:
    one, same, other = document({"a": 1}), document({"a": 1}), document({"a": 2})
    assert json.loads(one.body) == {"a": 1}
    assert one.etag == same.etag != other.etag
    assert one.etag.startswith('"')
