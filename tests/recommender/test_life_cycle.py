"""Workloads from the first pod to the last, whatever happens to them, their profile and the recommender."""

import json
from typing import Any

from tests.support import builders
from tests.support.recommending import Rig, recommending
from vgpu.annotations import (
    APPLIED_RECOMMENDATION,
    AUTO_RESOURCES,
    AUTO_SCALE_TARGET_RESOURCE,
    ORIGINAL_RESOURCES,
    TFLOPS_LIMIT,
    TFLOPS_REQUEST,
    VRAM_LIMIT,
    VRAM_REQUEST,
    WORKLOAD_PROFILE,
)
from vgpu.kube.resources import DEPLOYMENTS, PROFILES, WORKLOADS

Json = dict[str, Any]

PROFILED = {AUTO_RESOURCES: "true", AUTO_SCALE_TARGET_RESOURCE: "all", WORKLOAD_PROFILE: "quick"}
QUICK: Json = {"minSamples": 3, "confidenceInterval": "1s"}
TARGET = "spec.autoScalingConfig.autoSetResources.targetResource"


def put_profile(rig: Rig, **resources: object) -> None:
    spec = {"autoScalingConfig": {"autoSetResources": {**QUICK, **resources}}}
    rig.kube.put(PROFILES, builders.profile("quick", spec=spec))


async def applied(rig: Rig) -> None:
    """A workload `web` with a recommendation, and a pod that carries it."""
    put_profile(rig)
    rig.deploy("web", annotations=PROFILED)
    await rig.settle()
    rig.use("web", tflops=30.0, vram=2e9, minutes=5)
    await rig.skip(minutes=5)
    wanted = rig.status()["recommendation"]
    carried = {
        TFLOPS_REQUEST: wanted["requests"]["tflops"],
        TFLOPS_LIMIT: wanted["limits"]["tflops"],
        VRAM_REQUEST: wanted["requests"]["vram"],
        VRAM_LIMIT: wanted["limits"]["vram"],
        APPLIED_RECOMMENDATION: '{"workload":"web"}',
        ORIGINAL_RESOURCES: json.dumps(rig.kube.get(WORKLOADS, "default", "web")["spec"]["resources"]),
    }
    rig.add_pod("web", "pod1", annotations={**PROFILED, **carried})
    await rig.settle()
    assert rig.status()["appliedRecommendedReplicas"] == 1


def told(rig: Rig) -> Json:
    """What a status says that must not jump; whether usage comes in, only usage can say anew."""
    status = rig.status()
    conditions = {each["type"]: each["status"] for each in status["conditions"]}
    conditions.pop("MetricsAvailable", None)
    kept = ("recommendation", "appliedRecommendedReplicas", "estimation")
    return {key: status.get(key) for key in kept} | {"conditions": conditions}


def invalid(rig: Rig, name: str) -> str | None:
    """Why a workload's configuration is not valid; None where it is."""
    condition = rig.condition(name, "ConfigurationValid")
    assert condition is not None
    return condition["message"] if condition["status"] == "False" else None


async def test_a_restored_workload_says_at_once_what_it_said_before() -> None:
    async with recommending() as rig:
        await applied(rig)
        before = told(rig)
        rig.kube.delete(WORKLOADS, "default", "web")
        await rig.settle()
        assert told(rig) == before


async def test_usage_after_a_workload_is_restored_adds_to_what_was_known() -> None:
    async with recommending() as rig:
        await applied(rig)
        before = rig.status()["recommendation"]
        rig.kube.delete(WORKLOADS, "default", "web")
        await rig.settle()
        rig.use("web", tflops=30.0, vram=2e9, minutes=5)
        await rig.pass_time(minutes=5)
        assert rig.status()["recommendation"] == before


async def test_a_restored_workload_keeps_a_recommendation_that_usage_has_moved_away_from() -> None:
    async with recommending() as rig:
        await applied(rig)
        before = rig.status()["recommendation"]
        put_profile(rig, updateThreshold=0.5)
        await rig.settle()
        rig.use("web", tflops=34.0, vram=2.1e9, minutes=30)
        await rig.pass_time(minutes=30)
        assert rig.status()["recommendation"] == before
        rig.kube.delete(WORKLOADS, "default", "web")
        await rig.settle()
        assert rig.status()["recommendation"] == before


async def test_a_workload_deleted_while_the_recommender_was_down_is_restored_as_it_was() -> None:
    async with recommending(checkpoint_store="config_map") as rig:
        await applied(rig)
        before = told(rig)
        await rig.engine.checkpoint()
        await rig.stop()
        rig.kube.delete(WORKLOADS, "default", "web")
        await rig.start()
        await rig.settle()
        assert told(rig) == before


async def test_a_workload_that_went_with_its_owner_while_the_recommender_was_down_stays_gone() -> None:
    async with recommending() as rig:
        await applied(rig)
        await rig.stop()
        rig.kube.delete(DEPLOYMENTS, "default", "web")
        rig.kube.delete(WORKLOADS, "default", "web")
        await rig.start()
        await rig.settle()
        assert rig.kube.find(WORKLOADS, "default", "web") is None


async def test_a_profile_that_comes_after_the_pods_configures_their_workload() -> None:
    async with recommending() as rig:
        rig.deploy("web", annotations=PROFILED)
        await rig.settle()
        assert invalid(rig, "web") == (
            "annotation tensor-fusion.ai/workload-profile: WorkloadProfile default/quick does not exist"
        )
        put_profile(rig, minSamples=77)
        await rig.settle()
        assert invalid(rig, "web") is None
        spec = rig.kube.get(WORKLOADS, "default", "web")["spec"]
        assert spec["autoScalingConfig"]["autoSetResources"]["minSamples"] == 77


async def test_a_deleted_profile_is_told_and_stays_in_force_over_a_restart() -> None:
    async with recommending() as rig:
        await applied(rig)
        before = rig.kube.get(WORKLOADS, "default", "web")["spec"]
        rig.kube.delete(PROFILES, "default", "quick")
        await rig.settle()
        await rig.restart()
        assert invalid(rig, "web") is not None
        assert rig.kube.get(WORKLOADS, "default", "web")["spec"] == before


async def test_a_bad_profile_is_told_on_every_workload_and_the_good_one_outlives_a_restart() -> None:
    async with recommending() as rig:
        put_profile(rig)
        names = [f"web{index}" for index in range(5)]
        for name in names:
            rig.deploy(name, annotations=PROFILED)
        await rig.settle()
        before = [rig.kube.get(WORKLOADS, "default", name)["spec"] for name in names]
        put_profile(rig, targetResource="vrma", targetTflopsPercentile=7)
        await rig.settle()
        await rig.restart()
        for name, spec in zip(names, before, strict=True):
            assert "targetTflopsPercentile" in (invalid(rig, name) or "")
            assert rig.kube.get(WORKLOADS, "default", name)["spec"] == spec


async def test_an_unknown_target_resource_is_told_with_what_is_allowed() -> None:
    async with recommending() as rig:
        rig.kube.put(WORKLOADS, by_hand("vrma"))
        rig.deploy("web", annotations={})
        await rig.settle()
        assert invalid(rig, "web") == f"{TARGET}: 'vrma' is none of all, tflops, compute, vram and empty"


def by_hand(target: str) -> Json:
    """A workload that a person has made."""
    config = {"autoSetResources": {"enable": True, "targetResource": target}}
    return {
        "apiVersion": WORKLOADS.api_version,
        "kind": WORKLOADS.kind,
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"autoScalingConfig": config},
    }
