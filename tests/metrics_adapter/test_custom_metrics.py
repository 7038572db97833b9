import json
from typing import Any

import pytest

from metrics_adapter.catalog import CUSTOM_METRICS
from metrics_adapter.custom_metrics import answer, read_request
from metrics_adapter.errors import BadSelector, MetricNotFound, SourceUnavailable
from metrics_adapter.samples import GpuSample
from metrics_adapter.snapshot import Snapshot
from metrics_adapter.table import Table
from tests.support.adapter import NOW, gated_pod, gpu, table_of, table_with


def ask(
    table: Table | None,
    *,
    version: str = "v1beta2",
    namespace: str = "default",
    resource: str = "pods",
    name: str = "*",
    metric: str = "gpu_utilization",
    failing: bool = False,
    **query: str,
) -> dict[str, Any]:
    path = {
        "version": version,
        "namespace": namespace,
        "resource": resource,
        "name": name,
        "metric": metric,
    }
    body = answer(
        read_request(path, query), CUSTOM_METRICS, Snapshot(table, failing=failing), now=NOW, freshness=60
    )
    decoded: dict[str, Any] = json.loads(body)
    return decoded


def names(answered: dict[str, Any]) -> list[str]:
    return [item["describedObject"]["name"] for item in answered["items"]]


def test_v1beta2_to_the_letter() -> None:
    assert ask(table_with({"a": 8.5}, age=5)) == {
        "kind": "MetricValueList",
        "apiVersion": "custom.metrics.k8s.io/v1beta2",
        "metadata": {},
        "items": [
            {
                "describedObject": {
                    "kind": "Pod",
                    "namespace": "default",
                    "name": "a",
                    "apiVersion": "v1",
                },
                "metric": {"name": "gpu_utilization", "selector": None},
                "timestamp": "2025-10-09T08:53:15Z",
                "value": "85",
            }
        ],
    }


def test_v1beta1_to_the_letter() -> None:
    assert ask(table_with({"a": 8.5}, age=5), version="v1beta1") == {
        "kind": "MetricValueList",
        "apiVersion": "custom.metrics.k8s.io/v1beta1",
        "metadata": {},
        "items": [
            {
                "describedObject": {
                    "kind": "Pod",
                    "namespace": "default",
                    "name": "a",
                    "apiVersion": "v1",
                },
                "metricName": "gpu_utilization",
                "timestamp": "2025-10-09T08:53:15Z",
                "value": "85",
                "selector": None,
            }
        ],
    }


def test_the_time_is_that_of_the_sample_in_whole_seconds_and_never_later() -> None:
    answered = ask(table_with({"a": 1.0}, age=4.001))
    assert answered["items"][0]["timestamp"] == "2025-10-09T08:53:15Z"


def test_all_pods_are_in_the_order_of_their_names() -> None:
    assert names(ask(table_with({"c": 1.0, "a": 2.0, "b": 3.0}))) == ["a", "b", "c"]


def test_one_pod_is_a_list_of_one() -> None:
    assert names(ask(table_with({"a": 1.0, "b": 2.0}), name="b")) == ["b"]


def test_a_label_selector_selects_pods() -> None:
    pods = [gated_pod("a", labels={"app": "llama"}), gated_pod("b", labels={"app": "qwen"})]
    table = table_of(*pods, tflops={gpu(name): GpuSample(NOW, 1.0) for name in "ab"})
    assert names(ask(table, labelSelector="app in (llama),!canary")) == ["a"]
    assert names(ask(table, labelSelector="app")) == ["a", "b"]


def test_pods_that_are_selected_but_have_no_values_are_an_empty_list() -> None:
    answered = ask(table_with({"a": 1.0}), labelSelector="app=none")
    assert answered["items"] == []


def test_another_namespace_has_its_own_pods() -> None:
    assert names(ask(table_with({"a": 1.0}), namespace="other")) == []


def test_a_metric_selector_that_asks_for_labels_finds_no_metric_since_ours_have_none() -> None:
    with pytest.raises(MetricNotFound, match=r"the metric gpu_utilization for pods$"):
        ask(table_with({"a": 1.0}), metricLabelSelector="model=h100")


def test_a_metric_selector_that_holds_without_labels_is_repeated_in_the_answer() -> None:
    selector = {
        "matchExpressions": [
            {"key": "model", "operator": "NotIn", "values": ["h100"]},
            {"key": "mig", "operator": "DoesNotExist"},
        ]
    }
    query = "model!=h100,!mig"
    second = ask(table_with({"a": 1.0}), metricLabelSelector=query)["items"][0]
    assert second["metric"] == {"name": "gpu_utilization", "selector": selector}
    first = ask(table_with({"a": 1.0}), metricLabelSelector=query, version="v1beta1")["items"][0]
    assert first["selector"] == selector


@pytest.mark.parametrize("parameter", ["labelSelector", "metricLabelSelector"])
def test_a_bad_selector_is_named(parameter: str) -> None:
    query: dict[str, Any] = {parameter: "a in b"}
    with pytest.raises(BadSelector, match=f"unable to parse {parameter} 'a in b'"):
        ask(table_with({"a": 1.0}), **query)


def test_a_comparison_cannot_select_metrics() -> None:
    with pytest.raises(BadSelector, match="> and <"):
        ask(table_with({"a": 1.0}), metricLabelSelector="a>1")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"metric": "nonsense"}, "the server could not find the metric nonsense for pods"),
        (
            {"metric": "nonsense", "name": "a"},
            "the server could not find the metric nonsense for pods a",
        ),
        ({"name": "gone"}, "the server could not find the metric gpu_utilization for pods gone"),
        (
            {"resource": "deployments.apps", "name": "x"},
            "the server could not find the metric gpu_utilization for deployments.apps x",
        ),
    ],
)
def test_what_is_not_there_is_named(request_: dict[str, Any], message: str) -> None:
    with pytest.raises(MetricNotFound) as caught:
        ask(table_with({"a": 1.0}), **request_)
    assert str(caught.value) == message


def test_a_pod_whose_sample_is_stale_is_not_found() -> None:
    with pytest.raises(MetricNotFound):
        ask(table_with({"a": 1.0}, age=61), name="a")


def test_without_a_table_known_metrics_are_unavailable_and_unknown_ones_still_unknown() -> None:
    with pytest.raises(SourceUnavailable):
        ask(None)
    with pytest.raises(MetricNotFound):
        ask(None, metric="nonsense")


def test_a_source_that_is_down_for_too_long_gives_errors_and_no_zeros() -> None:
    table = table_with({"a": 1.0}, now=NOW - 100)
    with pytest.raises(SourceUnavailable):
        ask(table, failing=True)
