"""Companion mode on a real control plane, with definitions that prune and require as the operator's do."""

from collections.abc import AsyncIterator

import pytest

from devcluster.binaries import Binaries
from devcluster.cluster import DevCluster
from devcluster.services import EXPORTER, RECOMMENDER, SERVICES_NAMESPACE, WEBHOOK, Process, Services
from devcluster.story import NotYet, until
from devcluster.view import View
from tests.e2e.objects import SLICE, deployment, profile
from tests.e2e.test_wrong_input import command, service
from tests.support.operators import configured_by_annotation, operator_deployment, operator_webhook
from tests.support.shown_metrics import ShownMetrics
from tests.support.structural import OPERATOR_CRDS
from vgpu import annotations as keys
from vgpu.kube.client import KubeClient
from vgpu.kube.resources import WORKLOADS

APPLIED = "autoSetResources: {enable: true, targetResource: all, minSamples: 5, confidenceInterval: 10s}"
# What the operator finds on a pod is not what its template asked for.
FOUND = {"requests": {"tflops": "44", "vram": "16Gi"}, "limits": {"tflops": "176", "vram": "16Gi"}}


@pytest.fixture(scope="module")
async def beside(tmp_path_factory: pytest.TempPathFactory, binaries: Binaries) -> AsyncIterator[DevCluster]:
    """A control plane of its own, with the operator's definitions instead of ours."""
    async with DevCluster(tmp_path_factory.mktemp("companion"), binaries=binaries) as running:
        await running.kubectl("create", "-f", str(OPERATOR_CRDS))
        for namespace in (SERVICES_NAMESPACE, "tensor-fusion-sys"):
            await running.kubectl("create", "namespace", namespace)
        await running.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        yield running


@pytest.fixture
async def guest(beside: DevCluster) -> AsyncIterator[tuple[View, Services]]:
    """A look at the default namespace, with recommender and webhook as companions."""
    services = Services(beside)
    for name in (RECOMMENDER, WEBHOOK):
        services.add(name, Process(name, {"mode": "companion"}))
    for name in (EXPORTER, RECOMMENDER, WEBHOOK):
        await services.start(name)
    beside.set_scrape_targets({EXPORTER: services.scrape_targets()[EXPORTER]})
    async with await KubeClient.connect(kubeconfig=beside.kubeconfig, user_agent="e2e") as client:
        yield View(cluster=beside, client=client, namespace="default"), services
    for name in (RECOMMENDER, WEBHOOK, EXPORTER):
        await services.stop(name)


async def test_a_companion_waits_for_the_operators_status_and_then_writes_only_its_own(
    guest: tuple[View, Services],
) -> None:
    view, services = guest
    await view.apply(configured_by_annotation(profile("gold", {}), APPLIED))
    await view.apply(deployment("chat", annotations={**SLICE, keys.WORKLOAD_PROFILE: "gold"}))
    pod = await view.pod("chat")
    assert keys.ORIGINAL_RESOURCES in (pod.metadata.annotations or {})
    assert keys.WORKLOAD not in (pod.metadata.labels or {})
    spec = {"resources": FOUND, "replicas": 1}
    made = {"apiVersion": WORKLOADS.api_version, "kind": WORKLOADS.kind, "metadata": {"name": "chat"}}
    await view.apply({**made, "spec": spec})

    async def refused() -> bool | NotYet:
        shown = await ShownMetrics.scrape(services.url(RECOMMENDER, "/metrics"))
        count = shown.value("vgpu_recommender_writes_total", object="status", outcome="invalid")
        return True if count else NotYet(f"refused: {count}")

    await until("a status without workerCount to be refused", refused, timeout=30)
    await view.client.merge_patch(
        WORKLOADS, "chat", {"status": {"workerCount": 1}}, namespace="default", subresource="status"
    )
    chat = await view.workload("chat", lambda found: "recommendation" in found.status)
    recommended = chat.status["recommendation"]
    assert dict(chat.spec) == spec
    assert chat.status["workerCount"] == 1
    assert "estimation" not in chat.status
    assert recommended["requests"]["tflops"] != FOUND["requests"]["tflops"]
    assert keys.WORKLOAD not in (chat.metadata.labels or {})


async def test_each_mode_refuses_to_start_where_the_operator_would_be_another_master(
    beside: DevCluster,
) -> None:
    async with await KubeClient.connect(kubeconfig=beside.kubeconfig, user_agent="e2e") as client:
        view = View(cluster=beside, client=client, namespace="tensor-fusion-sys")
        autoscaling = operator_deployment("-enable-auto-scale")
        autoscaling["spec"]["template"]["spec"]["containers"][0]["image"] = "example/operator"
        await view.apply(operator_webhook(), autoscaling)
        prometheus = ("--prometheus-url", beside.prometheus_url)
        standalone = await command(*service(beside, RECOMMENDER), *prometheus)
        companion = await command(*service(beside, RECOMMENDER), *prometheus, "--mode", "companion")

    assert (standalone.code, companion.code) == (3, 3)
    assert "set mode to 'companion'" in standalone.stderr
    assert "take the flag -enable-auto-scale away" in companion.stderr
