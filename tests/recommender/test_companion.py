from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from tests.support.builders import profile, slice_json
from tests.support.kube_store import merge_patch
from tests.support.operators import configured_by_annotation
from tests.support.recommending import Rig, recommending
from tests.support.structural import serve_operators_types
from vgpu import annotations as keys
from vgpu.kube.resources import PROFILES, WORKLOADS

APPLIED = "autoSetResources: {enable: true, targetResource: all, minSamples: 3}"
SHOWN = "autoSetResources: {enable: true, targetResource: '', minSamples: 3}"
RECORD = '{"requests":{"tflops":"10","vram":"8Gi"},"limits":{"tflops":"20","vram":"16Gi"}}'


@asynccontextmanager
async def beside_the_operator(text: str = APPLIED, *, workers: int | None = 1) -> AsyncIterator[Rig]:
    """A companion, and a workload whose spec is what a pod carries, as the operator writes it."""
    async with recommending(mode="companion") as rig:
        serve_operators_types(rig.kube.store)
        rig.kube.put(PROFILES, configured_by_annotation(profile("gold"), text))
        rig.deploy("web", annotations={keys.WORKLOAD_PROFILE: "gold", keys.ORIGINAL_RESOURCES: RECORD})
        operator_makes(rig, status={"workerCount": workers} if workers else {})
        await rig.settle()
        yield rig


def operator_makes(rig: Rig, *, status: Mapping[str, Any]) -> None:
    resources = slice_json(tflops_request="44", tflops_limit="88")
    made = {
        "apiVersion": WORKLOADS.api_version,
        "kind": WORKLOADS.kind,
        "metadata": {"name": "web", "namespace": "default", "labels": {"operator": "yes"}},
        "spec": {"resources": resources, "replicas": 1},
    }
    rig.kube.put(WORKLOADS, {**made, **({"status": dict(status)} if status else {})})


async def busy(rig: Rig, *, minutes: int = 40) -> None:
    rig.use("web", tflops=30.0, vram=2e9, minutes=minutes)
    await rig.skip(minutes=minutes)


async def test_a_companion_makes_no_workload() -> None:
    async with recommending(mode="companion") as rig:
        rig.deploy("web")
        await rig.settle()
        assert rig.kube.objects(WORKLOADS) == []


async def test_only_fields_of_ours_in_the_status_are_written() -> None:
    async with beside_the_operator() as rig:
        before = rig.kube.get(WORKLOADS, "default", "web")
        await busy(rig)
        after = rig.kube.get(WORKLOADS, "default", "web")
        assert (after["spec"], after["metadata"]["labels"]) == (before["spec"], before["metadata"]["labels"])
        assert after["status"]["workerCount"] == 1
        assert all(
            each.path.endswith("/web/status") for each in rig.kube.writes() if "/events" not in each.path
        )


async def test_the_baseline_is_what_the_webhook_recorded_and_never_the_operators_spec() -> None:
    async with beside_the_operator() as rig:
        await busy(rig)
        recommendation = rig.status()["recommendation"]
        requested, limit = (
            float(recommendation[part]["tflops"].rstrip("m")) for part in ("requests", "limits")
        )
        assert limit == 2 * requested
        condition = rig.condition()
        assert condition is not None
        assert "(10)" in condition["message"]


async def test_a_recommendation_that_is_not_applied_is_withheld_and_told_otherwise() -> None:
    async with beside_the_operator(SHOWN) as rig:
        await busy(rig)
        assert "recommendation" not in rig.status()
        condition = rig.condition()
        assert condition is not None
        assert condition["reason"] == "OutOfEstimatedBound"
        assert rig.figure("recommended_request_tflops") is not None


async def test_what_was_withheld_is_written_once_it_is_applied_and_taken_away_again() -> None:
    async with beside_the_operator(SHOWN) as rig:
        await busy(rig)
        rig.kube.put(PROFILES, configured_by_annotation(profile("gold"), APPLIED))
        await rig.settle()
        assert "recommendation" in rig.status()
        rig.kube.put(PROFILES, configured_by_annotation(profile("gold"), SHOWN))
        await rig.settle()
        assert "recommendation" not in rig.status()


async def test_what_is_pruned_is_not_written_again_and_again() -> None:
    async with beside_the_operator() as rig:
        await busy(rig)
        assert "estimation" not in rig.status()
        before = rig.status_writes()
        await busy(rig, minutes=10)
        rig.engine.look_at_everything()
        await rig.settle()
        assert rig.status_writes() == before


async def test_a_status_waits_until_the_operator_has_written_its_own() -> None:
    async with beside_the_operator(workers=None) as rig:
        await busy(rig)
        refused = rig.metric("writes_total", object="status", outcome="invalid")
        assert refused == rig.status_writes() == 1
        live = rig.kube.get(WORKLOADS, "default", "web")
        rig.kube.put(WORKLOADS, merge_patch(live, {"status": {"workerCount": 1}}))
        await rig.settle()
        await rig.skip(minutes=1)
        assert rig.status()["appliedRecommendedReplicas"] == 0
        assert "recommendation" in rig.status()


async def test_a_bad_annotation_is_told_with_its_path_and_the_last_good_one_stays_in_force() -> None:
    async with beside_the_operator() as rig:
        await busy(rig)
        recommended = rig.status()["recommendation"]
        bad = "autoSetResources: {enable: false, targetTflopsPercentile: 90}"
        rig.kube.put(PROFILES, configured_by_annotation(profile("gold"), bad))
        await rig.settle()
        condition = rig.condition(type_="ConfigurationValid")
        assert condition is not None
        assert condition["status"] == "False"
        assert f"{keys.AUTOSCALING_CONFIG}].autoSetResources.targetTflopsPercentile" in condition["message"]
        assert rig.status()["recommendation"] == recommended


async def test_a_pod_without_a_record_of_its_slice_has_no_baseline() -> None:
    async with recommending(mode="companion") as rig:
        rig.deploy("web")
        operator_makes(rig, status={"workerCount": 1})
        await busy(rig)
        condition = rig.condition(type_="ConfigurationValid")
        assert condition is not None
        assert "made without the webhook" in condition["message"]
        assert "recommendation" not in rig.status()
