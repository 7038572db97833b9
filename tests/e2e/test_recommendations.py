"""A slice is rewritten from what its predecessors used, and the workload's status says why."""

import json
import re
import time

from devcluster.services import RECOMMENDER, WEBHOOK, Services
from devcluster.story import NotYet, until
from devcluster.view import View, condition_of
from tests.e2e.objects import AUTO_RESOURCES, QUICK, SLICE, annotations_of, deployment, profile
from vgpu.kube.objects import CustomObject, Pod
from vgpu.kube.resources import HPAS, WORKLOADS
from vgpu.prometheus import PrometheusClient
from vgpu.quantities import parse_tflops, parse_vram

QUANTITY = r"[0-9]+(m|Ki|Mi|Gi)?"
SCALED = (
    rf"(TFLOPS|VRAM) scaled (up due to \({QUANTITY}\) below lower|down due to \({QUANTITY}\) above upper)"
    rf" bound \({QUANTITY}\)"
)

ANNOTATED = {**SLICE, **AUTO_RESOURCES, "tensor-fusion.ai/workload-profile": "quick"}


def requests_of(pod: Pod) -> tuple[int, int]:
    """TFLOPS (milli) and VRAM (bytes) that the pod's annotations request."""
    annotations = annotations_of(pod)
    return (
        parse_tflops(annotations["tensor-fusion.ai/tflops-request"]),
        parse_vram(annotations["tensor-fusion.ai/vram-request"]),
    )


def right_sized(workload: CustomObject) -> bool:
    """Whether both resources have moved: TFLOPS up, and VRAM, which needs more confidence, down."""
    requests = workload.status.get("recommendation", {}).get("requests", {"tflops": "10", "vram": "16Gi"})
    return parse_tflops(requests["tflops"]) > 10_000 and parse_vram(requests["vram"]) < 16 * 2**30


async def test_a_new_pod_carries_the_recommended_slice(view: View) -> None:
    await view.apply(profile("quick", QUICK), deployment("engine", annotations=ANNOTATED))
    first = await view.pod("engine")
    assert annotations_of(first).items() >= SLICE.items()

    workload = await view.workload("engine", right_sized)
    await view.delete_pod(first)
    second = await view.pod("engine", lambda pod: pod.metadata.uid != first.metadata.uid)

    written = annotations_of(second)
    assert written["tensor-fusion.ai/workload"] == "engine"
    assert written["tensor-fusion.ai/applied-recommendation"]
    assert parse_tflops(written["tensor-fusion.ai/tflops-request"]) > parse_tflops("10")
    assert parse_vram(written["tensor-fusion.ai/vram-request"]) < parse_vram("16Gi")
    latest = (await view.workload("engine")).status["recommendation"]
    published = [workload.status["recommendation"]["requests"], latest["requests"]]
    assert written["tensor-fusion.ai/tflops-request"] in {requests["tflops"] for requests in published}
    assert written["tensor-fusion.ai/vram-request"] in {requests["vram"] for requests in published}


async def test_the_original_slice_is_kept_on_the_pod(view: View) -> None:
    await view.apply(profile("quick", QUICK), deployment("engine", annotations=ANNOTATED))
    pod = await view.pod("engine")

    original = json.loads(annotations_of(pod)["tensor-fusion.ai/original-resources"])

    assert original == {
        "requests": {"tflops": "10", "vram": "16Gi"},
        "limits": {"tflops": "40", "vram": "16Gi"},
    }


async def test_status_and_condition_are_as_documented(view: View) -> None:
    await view.apply(profile("quick", QUICK), deployment("engine", annotations=ANNOTATED))
    first = await view.pod("engine")
    await view.workload("engine", lambda found: "recommendation" in found.status)
    await view.delete_pod(first)

    workload = await view.workload(
        "engine", lambda found: found.status.get("appliedRecommendedReplicas") == 1
    )

    recommendation = workload.status["recommendation"]
    assert recommendation.keys() == {"limits", "requests"}
    for amounts in recommendation.values():
        assert amounts.keys() == {"tflops", "vram"}
        assert all(isinstance(value, str) and re.fullmatch(QUANTITY, value) for value in amounts.values())
    condition = condition_of(workload)
    assert condition.keys() >= {"lastTransitionTime", "message", "reason", "status", "type"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", condition["lastTransitionTime"])
    assert (condition["reason"], condition["status"]) == ("OutOfEstimatedBound", "True")
    assert re.fullmatch(f"{SCALED}(, {SCALED})?", condition["message"])


async def test_the_limit_keeps_its_ratio_to_the_request(view: View) -> None:
    await view.apply(profile("quick", QUICK), deployment("engine", annotations=ANNOTATED))

    workload = await view.workload("engine", right_sized)

    recommendation = workload.status["recommendation"]
    request = parse_tflops(recommendation["requests"]["tflops"])
    assert parse_tflops(recommendation["limits"]["tflops"]) == request * 4
    assert recommendation["limits"]["vram"] == recommendation["requests"]["vram"]


async def test_without_auto_resources_there_is_a_recommendation_that_is_not_applied(view: View) -> None:
    annotated = {**SLICE, "tensor-fusion.ai/workload-profile": "quick"}
    await view.apply(profile("quick", QUICK), deployment("engine", annotations=annotated))
    first = await view.pod("engine")
    await view.workload("engine", right_sized)

    await view.delete_pod(first)
    second = await view.pod("engine", lambda pod: pod.metadata.uid != first.metadata.uid)

    assert annotations_of(second).items() >= SLICE.items()
    assert requests_of(second) == requests_of(first)


async def test_pods_start_unchanged_while_the_webhook_is_stopped(view: View, services: Services) -> None:
    await view.apply(profile("quick", QUICK), deployment("engine", annotations=ANNOTATED))
    first = await view.pod("engine")
    await view.workload("engine", right_sized)

    await services.stop(WEBHOOK)
    try:
        await view.delete_pod(first)
        second = await view.pod("engine", lambda pod: pod.metadata.uid != first.metadata.uid)
    finally:
        await services.start(WEBHOOK)

    assert annotations_of(second) == ANNOTATED


async def test_a_restarted_recommender_keeps_the_recommendation(
    view: View, services: Services, prometheus: PrometheusClient
) -> None:
    # After the restart there are never enough samples for another recommendation.
    patient = {"autoSetResources": {**QUICK["autoSetResources"], "minSamples": 100_000}}
    await view.apply(profile("quick", QUICK), deployment("engine", annotations=ANNOTATED))
    await view.workload("engine", right_sized)
    await services.stop(RECOMMENDER)
    await view.apply(profile("quick", patient))
    before = await view.workload("engine")
    restarted = time.time()
    await services.start(RECOMMENDER)

    async def judged() -> bool | NotYet:
        passes = 'vgpu_recommender_pass_duration_seconds_count{stage="publish"}'
        begun = await prometheus.query("process_start_time_seconds{job='recommender'}")
        done = await prometheus.query(passes)
        new = bool(begun) and begun[0].values[-1] >= restarted - 1
        return True if new and done and done[0].values[-1] >= 3 else NotYet(f"{begun} {done}")

    await until("three passes of the new recommender", judged, timeout=30)
    after = await view.workload("engine")
    assert after.status["recommendation"] == before.status["recommendation"]


async def test_deleting_the_deployment_collects_its_workload_and_hpa(view: View) -> None:
    annotated = {**SLICE, "tensor-fusion.ai/auto-replicas": "true"}
    await view.apply(deployment("engine", annotations=annotated))
    workload = await view.workload("engine")
    hpa = await view.hpa("vgpu-engine")
    for made in (workload, hpa):
        owners = made.metadata.owner_references or []
        assert [(owner.kind, owner.name) for owner in owners] == [("Deployment", "engine")]

    await view.kubectl("delete", "deployment", "engine", "--wait=false")

    await view.gone(WORKLOADS, "engine")
    await view.gone(HPAS, "vgpu-engine")


async def test_a_deployment_without_the_gate_label_is_never_touched(view: View) -> None:
    await view.apply(
        profile("quick", QUICK),
        deployment("ungated", annotations=ANNOTATED, labels={}),
        deployment("gated", annotations=ANNOTATED),
    )
    pod = await view.pod("ungated")
    # By the time the gated neighbour has a recommendation, the ungated one would have been seen as well.
    await view.workload("gated", lambda found: "recommendation" in found.status)

    assert annotations_of(pod) == ANNOTATED
    assert annotations_of((await view.pods("ungated"))[0]) == ANNOTATED
    await view.gone(WORKLOADS, "ungated", timeout=1)


async def test_prometheus_scrapes_the_services_and_has_the_recommendation(
    view: View, prometheus: PrometheusClient
) -> None:
    await view.apply(profile("quick", QUICK), deployment("engine", annotations=ANNOTATED))
    await view.workload("engine", lambda found: "recommendation" in found.status)

    def expected(amount: str, resource: str) -> float:
        return parse_tflops(amount) / 1000 if resource == "tflops" else float(parse_vram(amount))

    async def figures(name: str) -> list[float]:
        series = await prometheus.query(f'{name}{{namespace="{view.namespace}", workload="engine"}}')
        return [one.values[-1] for one in series]

    async def look() -> bool | NotYet:
        found = {
            (resource, kind): value
            for resource, unit in (("tflops", "tflops"), ("vram", "vram_bytes"))
            for kind in ("request", "limit")
            for value in await figures(f"vgpu_workload_recommended_{kind}_{unit}")
        }
        status = (await view.workload("engine")).status["recommendation"]
        wanted = {
            (resource, kind): expected(status[f"{kind}s"][resource], resource)
            for resource in ("tflops", "vram")
            for kind in ("request", "limit")
        }
        return True if found == wanted else NotYet(f"{found} instead of {wanted}")

    await until("the recommendation as a metric", look, timeout=30)
    up = await prometheus.query("up")
    assert {one.labels["job"]: one.values[-1] for one in up}.items() >= {
        "recommender": 1.0,
        "webhook": 1.0,
        "metrics-adapter": 1.0,
    }.items()
