"""A workload lives as long as its owner does, under its name, and follows its profile."""

import json
from typing import Any

from devcluster.story import NotYet, until
from devcluster.view import View, condition_of
from tests.e2e.objects import GATE, PROFILED, QUICK, SLICE, deployment, profile
from vgpu.kube.objects import CustomObject
from vgpu.kube.resources import WORKLOADS

TARGET = "spec.autoScalingConfig.autoSetResources.targetResource"


def of_kind(kind: str, name: str, *, api_version: str = "apps/v1") -> dict[str, Any]:
    """A StatefulSet, DaemonSet or Job with the template of a Deployment."""
    found = {**deployment(name, annotations=SLICE), "kind": kind, "apiVersion": api_version}
    if kind == "Job":
        template = found["spec"]["template"]
        template["spec"]["restartPolicy"] = "Never"
        found["spec"] = {"template": template}
    elif kind != "Deployment":
        del found["spec"]["replicas"]
    if kind == "StatefulSet":
        found["spec"]["serviceName"] = name
    return found


async def test_a_workload_deleted_by_mistake_comes_back_as_it_was(view: View) -> None:
    await view.apply(profile("quick", QUICK), deployment("engine", annotations=PROFILED))
    before = await view.workload("engine", lambda found: "recommendation" in found.status, timeout=60)

    await view.kubectl("delete", "tensorfusionworkload", "engine")

    def is_back(found: CustomObject) -> bool:
        return found.metadata.uid != before.metadata.uid and "recommendation" in found.status

    after = await view.workload("engine", is_back)
    assert after.spec == before.spec
    assert after.metadata.owner_references == before.metadata.owner_references
    assert _tflops(after) == _tflops(before)


def _tflops(workload: CustomObject) -> object:
    return workload.status["recommendation"]["requests"]["tflops"]


async def test_each_kind_of_owner_names_and_owns_its_workload(view: View) -> None:
    await view.apply(
        of_kind("Deployment", "engine"),
        of_kind("StatefulSet", "engine"),
        of_kind("Job", "engine", api_version="batch/v1"),
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "lonely", "labels": GATE, "annotations": SLICE},
            "spec": {"containers": [{"name": "engine", "image": "example/inference-engine"}]},
        },
    )

    names = {
        "Deployment": "engine",
        "StatefulSet": "engine-statefulset",
        "Job": "engine-job",
        "Pod": "lonely",
    }
    for kind, name in names.items():
        [owner] = (await view.workload(name)).metadata.owner_references or []
        assert (owner.kind, owner.name) == (kind, name.partition("-")[0])


async def test_a_bad_profile_is_told_on_each_workload_and_a_mended_one_comes_through(view: View) -> None:
    await view.apply(profile("quick", QUICK))
    for name in ("one", "other"):
        await view.apply(deployment(name, annotations=PROFILED))
        await view.workload(name, lambda found: "conditions" in found.status)

    await view.apply(profile("quick", {"autoSetResources": {"targetTflopsPercentile": 7}}))
    for name in ("one", "other"):
        told = await view.workload(name, lambda found: _validity(found).get("status") == "False")
        assert "targetTflopsPercentile" in _validity(told)["message"]
        assert told.spec["autoScalingConfig"]["autoSetResources"]["minSamples"] == 5

    await view.apply(profile("quick", {"autoSetResources": {"minSamples": 9}}))
    for name in ("one", "other"):
        healed = await view.workload(name, lambda found: _validity(found).get("status") == "True")
        assert healed.spec["autoScalingConfig"]["autoSetResources"]["minSamples"] == 9


async def test_a_target_resource_that_is_none_is_told(view: View) -> None:
    config = {"autoSetResources": {"enable": True, "targetResource": "vrma"}}
    await view.apply(
        {
            "apiVersion": WORKLOADS.api_version,
            "kind": WORKLOADS.kind,
            "metadata": {"name": "engine"},
            "spec": {"autoScalingConfig": config},
        },
        deployment("engine", annotations=SLICE),
    )

    told = await view.workload("engine", lambda found: "conditions" in found.status)

    assert _validity(told)["message"] == f"{TARGET}: 'vrma' is none of all, tflops, compute, vram and empty"


async def test_a_workload_goes_with_its_owner_and_stays_gone(view: View) -> None:
    await view.apply(deployment("engine", annotations=SLICE))
    await view.workload("engine", lambda found: "conditions" in found.status)

    await view.kubectl("delete", "deployment", "engine", "--cascade=foreground", "--timeout=60s")
    await view.gone(WORKLOADS, "engine")

    async def look() -> bool | NotYet:
        listed = json.loads(await view.kubectl("get", "pods,tensorfusionworkloads", "--output=json"))
        return True if not listed["items"] else NotYet(str(len(listed["items"])))

    await until("nothing is left of it", look, timeout=30)


def _validity(workload: CustomObject) -> dict[str, str]:
    return condition_of(workload, "ConfigurationValid")
