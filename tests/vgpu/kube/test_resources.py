import pytest

from vgpu.kube.resources import CRDS, HPAS, NODES, PODS, WORKLOADS


def test_core_types_live_under_api() -> None:
    assert PODS.path("default", "web-0") == "/api/v1/namespaces/default/pods/web-0"


def test_grouped_types_live_under_apis() -> None:
    path = WORKLOADS.path("team-a", "web", "status")
    assert path == "/apis/tensor-fusion.ai/v1/namespaces/team-a/tensorfusionworkloads/web/status"


def test_without_a_namespace_a_collection_spans_all_of_them() -> None:
    assert HPAS.path() == "/apis/autoscaling/v2/horizontalpodautoscalers"


def test_cluster_scoped_types_ignore_a_namespace() -> None:
    assert NODES.path("default", "gpu-1") == "/api/v1/nodes/gpu-1"


def test_names_are_escaped() -> None:
    assert CRDS.path(name="a/b").endswith("/customresourcedefinitions/a%2Fb")


def test_one_namespaced_object_needs_its_namespace() -> None:
    with pytest.raises(ValueError, match="'web-0' needs a namespace"):
        PODS.path(name="web-0")


def test_a_subresource_needs_the_name_of_its_object() -> None:
    with pytest.raises(ValueError, match="'status' of pods"):
        PODS.path("default", subresource="status")


def test_names_are_those_that_permissions_use() -> None:
    assert PODS.full_name == "pods"
    assert WORKLOADS.full_name == "tensorfusionworkloads.tensor-fusion.ai"
    assert WORKLOADS.api_version == "tensor-fusion.ai/v1"
