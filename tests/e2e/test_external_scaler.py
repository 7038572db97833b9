"""A service of the user's own is asked what a workload should request, as docs/external-scaler.md says."""

from typing import Any

from aiohttp import web

from devcluster.services import WEBHOOK
from devcluster.view import condition_of
from tests.e2e.objects import AUTO_RESOURCES, SLICE, deployment, profile
from tests.e2e.trial import Scene
from tests.support.scaling import FakeScaler, recommending
from vgpu.kube.objects import CustomObject

AVAILABLE = "ExternalScalerAvailable"
TOKEN = "pssst"
# Samples never suffice: what is recommended is the scaler's.
CONFIG: dict[str, Any] = {"autoSetResources": {"minSamples": 100_000, "maxAllowed": {"tflops": "100"}}}


def advised(name: str, url: str, *, secret: str | None = None) -> list[dict[str, Any]]:
    """A Deployment, and the profile that has a scaler asked for it."""
    scaler: dict[str, Any] = {"enable": True, "url": url}
    if secret:
        scaler["apiKeySecretRef"] = {"name": secret}
    annotations = {**SLICE, **AUTO_RESOURCES, "tensor-fusion.ai/workload-profile": name}
    return [profile(name, {**CONFIG, "externalScaler": scaler}), deployment(name, annotations=annotations)]


def secret(name: str, labels: dict[str, str]) -> dict[str, Any]:
    """A Secret with a token."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": labels},
        "stringData": {"apiKey": TOKEN},
    }


def with_reason(reason: str) -> Any:
    """A workload whose condition ExternalScalerAvailable has this reason."""

    def holds(found: CustomObject) -> bool:
        return condition_of(found, AVAILABLE).get("reason") == reason

    return holds


def requesting(tflops: str) -> Any:
    """A workload that is recommended to request so many TFLOPS."""

    def holds(found: CustomObject) -> bool:
        requests: dict[str, str] = found.status.get("recommendation", {}).get("requests", {})
        return requests.get("tflops") == tflops

    return holds


def redirected(to: str) -> Any:
    """An answer that leads elsewhere."""
    return lambda _: web.Response(status=307, headers={"Location": to})


async def test_what_a_scaler_asks_for_is_recommended_capped_and_applied(scene: Scene) -> None:
    view = scene.view
    async with FakeScaler() as scaler:
        allowed = {"external-scaler-urls": f"{scaler.url}/vgpu", "external-scaler-allow-local": ""}
        await scene.trial.services.start(WEBHOOK)
        await scene.start(settings=allowed)
        scaler.answer = recommending(tflops="20", reason="queue is long")
        await view.apply(
            secret("token", {"tensor-fusion.ai/external-scaler": "true"}),
            *advised("engine", f"{scaler.url}/vgpu/advise", secret="token"),
        )
        found = await view.workload("engine", requesting("20"))
        question = scaler.asked[0]
        assert (question.path, question.headers["Authorization"]) == ("/vgpu/advise", f"Bearer {TOKEN}")
        assert question.body == {
            "workloadName": "engine",
            "namespace": scene.namespace,
            "currentResources": {
                "requests": {"tflops": "10", "vram": "16Gi"},
                "limits": {"tflops": "40", "vram": "16Gi"},
            },
        }
        assert found.status["recommendation"]["limits"]["tflops"] == "80", "the template's ratio"
        assert found.status["estimation"]["tflops"]["source"] == "ExternalScaler"
        provided = condition_of(found)
        assert provided["reason"] == "ExternalScalerRecommended"
        assert provided["message"] == "TFLOPS scaled up due to external scaler (20): queue is long"
        assert condition_of(found, AVAILABLE)["reason"] == "Answered"

        await view.delete_pod(await view.pod("engine"))
        await view.pod(
            "engine",
            lambda pod: (pod.metadata.annotations or {})["tensor-fusion.ai/tflops-request"] == "20",
            step="a new pod with what the scaler asks for",
        )
        scaler.answer = recommending(tflops="5000")
        await view.workload("engine", requesting("100"), step="the answer to be cut to maxAllowed")


async def test_a_scaler_that_fails_leaves_the_last_recommendation(scene: Scene) -> None:
    view = scene.view
    async with FakeScaler() as scaler, FakeScaler() as elsewhere:
        allowed = {"external-scaler-urls": scaler.url, "external-scaler-allow-local": ""}
        await scene.start(settings=allowed)
        scaler.answer = recommending(tflops="20")
        await view.apply(
            secret("unlabelled", {}),
            *advised("engine", scaler.url),
            *advised("thief", scaler.url, secret="unlabelled"),
            *advised("stranger", elsewhere.url),
        )
        await view.workload("engine", requesting("20"))

        elsewhere.answer = recommending(tflops="77")
        scaler.respond = redirected(elsewhere.url)
        found = await view.workload("engine", with_reason("InvalidAnswer"))
        assert condition_of(found, AVAILABLE)["status"] == "False"
        assert "307" in condition_of(found, AVAILABLE)["message"]
        scaler.respond = lambda _: web.Response(status=503)
        found = await view.workload("engine", with_reason("Unreachable"))
        assert requesting("20")(found), "what was recommended last goes on to count"

        thief = await view.workload("thief", with_reason("SecretUnusable"))
        stranger = await view.workload("stranger", with_reason("NotAllowed"))
        for refused in (thief, stranger):
            assert "recommendation" not in refused.status or requesting("10")(refused)
        assert {question.body["workloadName"] for question in scaler.asked} == {"engine"}
        assert elsewhere.asked == [], "no redirect is followed, and no address asked that is not listed"


async def test_nothing_is_asked_where_the_operator_lists_no_address(scene: Scene) -> None:
    async with FakeScaler() as scaler:
        await scene.start()
        await scene.view.apply(*advised("engine", scaler.url))
        found = await scene.view.workload("engine", with_reason("Disabled"))
        assert condition_of(found, AVAILABLE)["status"] == "False"
        assert scaler.asked == []
