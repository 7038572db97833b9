"""GPU utilization reaches kubectl and the real HPA controller, and replicas follow it."""

import json
from typing import Any

import pytest

from devcluster.cluster import DevCluster
from devcluster.services import Services
from devcluster.story import NotYet, until
from devcluster.view import View
from tests.e2e.objects import SLICE, deployment, profile
from vgpu.kube.objects import CustomObject
from vgpu.quantities import parse_quantity

SCALED = {
    **SLICE,
    "tensor-fusion.ai/tflops-limit": "20",
    "tensor-fusion.ai/auto-replicas": "true",
    "tensor-fusion.ai/workload-profile": "scaled",
}
# Two and a half seconds an hour: the day begins after five seconds, and lasts for 35.
DAY_AND_NIGHT = {"client": "diurnal", "startHour": 6, "gpuSecondsPerRequest": 0.1, "engineTflops": 12}
PROFILE = {"autoSetReplicas": {"maxReplicas": 6, "scaleUpCoolDownTime": "0s", "scaleDownCoolDownTime": "5s"}}


async def test_an_hpa_scales_up_by_day_and_down_by_night(view: View) -> None:
    await view.apply(
        profile("scaled", PROFILE),
        deployment("engine", annotations=SCALED, replicas=None, load=DAY_AND_NIGHT),
    )

    hpa = await view.hpa("vgpu-engine")
    assert hpa.spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "engine"}
    assert (hpa.spec["minReplicas"], hpa.spec["maxReplicas"]) == (1, 6)
    [metric] = hpa.spec["metrics"]
    assert metric["pods"]["metric"]["name"] == "gpu_utilization"

    await view.hpa("vgpu-engine", lambda found: (found.status.get("currentReplicas") or 0) >= 3, timeout=60)
    await view.hpa("vgpu-engine", lambda found: found.status.get("currentReplicas") == 1, timeout=90)


async def test_tflops_is_recommended_but_not_applied_with_auto_replicas(view: View) -> None:
    quick = {**PROFILE, "autoSetResources": {"confidenceInterval": "10s", "minSamples": 5}}
    annotated = {
        **SCALED,
        "tensor-fusion.ai/auto-resources": "true",
        "tensor-fusion.ai/auto-scale-target-resource": "all",
    }
    busy = {**DAY_AND_NIGHT, "startHour": 9}
    await view.apply(
        profile("scaled", quick), deployment("engine", annotations=annotated, replicas=None, load=busy)
    )
    first = await view.pod("engine")
    vram = "tensor-fusion.ai/vram-request"

    def recommended(workload: CustomObject) -> bool:
        requests = workload.status.get("recommendation", {}).get("requests", {})
        return bool(requests) and requests["tflops"] != "10" and requests["vram"] != SLICE[vram]

    await view.workload("engine", recommended)
    await view.delete_pod(first)
    second = await view.pod("engine", lambda pod: (pod.metadata.annotations or {})[vram] != SLICE[vram])

    assert (second.metadata.annotations or {})["tensor-fusion.ai/tflops-request"] == "10"


@pytest.mark.parametrize("version", ["v1beta1", "v1beta2"])
async def test_kubectl_reads_the_utilization_of_all_pods(view: View, version: str) -> None:
    await view.apply(deployment("engine", annotations=SLICE, replicas=2))
    names = set()

    async def look() -> dict[str, Any] | NotYet:
        nonlocal names
        names = {pod.metadata.name for pod in await view.pods("engine")}
        path = f"/apis/custom.metrics.k8s.io/{version}/namespaces/{view.namespace}/pods/*/gpu_utilization"
        text = await view.cluster.kubectl("get", "--raw", path, check=False)
        answer = json.loads(text) if text.startswith("{") else {}
        return answer if len(answer.get("items", [])) == 2 else NotYet(text)

    answer = await until("the utilization of two pods", look, timeout=30)

    assert answer["kind"] == "MetricValueList"
    assert answer["apiVersion"] == f"custom.metrics.k8s.io/{version}"
    assert {item["describedObject"]["name"] for item in answer["items"]} == names
    assert all(parse_quantity(item["value"]) > 0 for item in answer["items"])


async def test_the_custom_metrics_api_is_discovered(cluster: DevCluster, services: Services) -> None:
    await cluster.kubectl(
        "wait", "--for=condition=Available", "apiservice/v1beta2.custom.metrics.k8s.io", "--timeout=30s"
    )

    legacy = json.loads(await cluster.kubectl("get", "--raw", "/apis/custom.metrics.k8s.io/v1beta2"))
    listed = await cluster.kubectl("api-resources", "--api-group=custom.metrics.k8s.io")

    assert "pods/gpu_utilization" in {resource["name"] for resource in legacy["resources"]}
    assert "error" not in listed.lower()
