"""What a person has made stays that person's, and of our autoscalers one only scales an object."""

import json

from devcluster.story import NotYet, until
from devcluster.view import View, condition_of
from tests.e2e.objects import SLICE, deployment
from vgpu.kube.resources import WORKLOADS

SCALED = {**SLICE, "tensor-fusion.ai/auto-replicas": "true"}


async def test_a_workload_made_by_hand_outlives_its_deployment(view: View) -> None:
    labels = {"app.kubernetes.io/managed-by": "Helm"}
    config = {"autoSetResources": {"targetResource": "vram"}}
    mine = {
        "apiVersion": WORKLOADS.api_version,
        "kind": WORKLOADS.kind,
        "metadata": {"name": "engine", "labels": labels},
        "spec": {"autoScalingConfig": config},
    }
    await view.apply(mine)
    await view.apply(deployment("engine", annotations=SCALED))

    workload = await view.workload(
        "engine", lambda found: "conditions" in found.status and "resources" in found.spec
    )
    await view.kubectl("delete", "deployment", "engine", "--cascade=foreground", "--timeout=60s")

    after = await view.workload("engine")
    assert condition_of(workload)["reason"] == "InsufficientSamples"
    assert after.metadata.uid == workload.metadata.uid
    assert not after.metadata.owner_references
    assert after.metadata.labels == labels
    assert after.spec["autoScalingConfig"] == config
    assert after.spec["resources"]["requests"] == {"tflops": "10", "vram": "16Gi"}


async def test_a_renamed_workload_scales_with_one_autoscaler(view: View) -> None:
    await view.apply(deployment("engine", annotations=SCALED, replicas=None))
    await view.hpa("vgpu-engine")

    renamed = {**SCALED, "tensor-fusion.ai/workload": "renamed"}
    await view.apply(deployment("engine", annotations=renamed, replicas=None))

    async def look() -> bool | NotYet:
        listed = json.loads(await view.kubectl("get", "hpa", "--output=json"))
        names = [item["metadata"]["name"] for item in listed["items"]]
        return True if names == ["vgpu-renamed"] else NotYet(str(names))

    await until("the new name's autoscaler only", look, timeout=30)
    await view.hpa("vgpu-renamed", lambda found: _is_unambiguous(found.status), timeout=60)


def _is_unambiguous(status: dict[str, object]) -> bool:
    conditions = status.get("conditions")
    reasons = {each["reason"] for each in conditions} if isinstance(conditions, list) else set()
    return bool(reasons) and "AmbiguousSelector" not in reasons
