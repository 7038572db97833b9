"""The CustomResourceDefinitions on a real API server."""

import yaml

from devcluster.cluster import DevCluster
from devcluster.paths import manifests
from devcluster.view import View
from tests.e2e.objects import profile
from tests.support.documentation import documented_spec

API_VERSION = "tensor-fusion.ai/v1"


async def test_the_documented_configuration_survives_the_api_server(view: View) -> None:
    spec = documented_spec()
    for kind in ("WorkloadProfile", "TensorFusionWorkload"):
        metadata = {"name": "documented"}
        await view.apply({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec})

        stored = yaml.safe_load(await view.kubectl("get", kind, "documented", "-o", "yaml"))

        assert stored["spec"] == spec


async def test_other_spellings_survive_as_well(view: View) -> None:
    config = {
        "autosetresources": {"targetComputePercentile": "0.9", "Marginfraction": "0.1"},
        "somethingNew": {"a": 1},
    }
    await view.apply(profile("spelt", config))

    stored = yaml.safe_load(await view.kubectl("get", "workloadprofile", "spelt", "-o", "yaml"))

    assert stored["spec"]["autoScalingConfig"] == config


async def test_kubectl_explains_the_status(cluster: DevCluster) -> None:
    explained = await cluster.kubectl("explain", "tfw.status")

    for field in (
        "conditions",
        "recommendation",
        "appliedRecommendedReplicas",
        "activeCronScalingRule",
        "estimation",
    ):
        assert field in explained
    assert "<no description>" not in explained


async def test_kubectl_get_shows_what_matters_in_columns(view: View) -> None:
    workload = {
        "apiVersion": "tensor-fusion.ai/v1",
        "kind": "TensorFusionWorkload",
        "metadata": {"name": "columns"},
    }
    await view.apply({**workload, "spec": {"resources": {"requests": {"tflops": "10", "vram": "1Gi"}}}})

    header = (await view.kubectl("get", "tfw")).splitlines()[0]

    for column in ("TARGET", "TFLOPS", "VRAM", "RULE", "APPLIED", "AGE"):
        assert column in header


async def test_creating_the_crds_again_leaves_them_as_they_are(cluster: DevCluster) -> None:
    versions = ("get", "crd", "-o", "jsonpath={.items[*].metadata.resourceVersion}")
    before = await cluster.kubectl(*versions)

    answer = await cluster.kubectl("create", "-k", str(manifests() / "crds"), check=False)

    assert await cluster.kubectl(*versions) == before
    assert "created" not in answer
