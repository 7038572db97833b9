"""The development cluster itself, with the real programs and clusters of its own."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
from aiohttp import web

from devcluster.binaries import Binaries
from devcluster.cluster import DevCluster
from devcluster.errors import ChildDied, KubectlFailed, PortTaken
from vgpu.prometheus import PrometheusClient, Series

pytestmark = pytest.mark.e2e

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 3,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "web"}]},
        },
    },
}


@pytest.fixture(scope="module")
async def running(
    binaries: Binaries,
    tmp_path_factory: pytest.TempPathFactory,
    record_testsuite_property: Callable[[str, object], None],
) -> AsyncIterator[DevCluster]:
    begin = time.monotonic()
    async with DevCluster(tmp_path_factory.mktemp("devcluster"), binaries=binaries) as cluster:
        record_testsuite_property("seconds until the control plane was up", time.monotonic() - begin)
        yield cluster


@pytest.fixture
async def namespace(running: DevCluster) -> AsyncIterator[str]:
    await running.kubectl("create", "namespace", "tried")
    yield "tried"
    await running.kubectl("delete", "namespace", "tried", "--timeout=30s")


async def test_nodes_are_ready_and_say_what_cards_they_have(running: DevCluster) -> None:
    nodes = json.loads(await running.kubectl("get", "nodes", "-o", "json"))["items"]
    assert len(nodes) == 2
    for node in nodes:
        conditions = {each["type"]: each["status"] for each in node["status"]["conditions"]}
        assert conditions["Ready"] == "True"
        assert node["metadata"]["labels"]["nvidia.com/gpu.product"] == "NVIDIA-A100-SXM4-80GB"
        assert node["metadata"]["labels"]["nvidia.com/gpu.memory"] == "81920"


async def test_a_node_is_kept_alive_by_its_lease(running: DevCluster) -> None:
    path = "jsonpath={.items[*].spec.renewTime}"
    leases = ("get", "leases", "--namespace=kube-node-lease", "-o", path)
    first = await running.kubectl(*leases)
    async with asyncio.timeout(30):
        while await running.kubectl(*leases) == first:  # noqa: ASYNC110 - the lease is renewed every ten seconds
            await asyncio.sleep(0.2)


async def test_the_pods_of_a_deployment_run_and_go_with_it(running: DevCluster, namespace: str) -> None:
    where = f"--namespace={namespace}"
    await running.kubectl("create", where, "-f", "-", input=json.dumps(DEPLOYMENT))
    await running.kubectl("wait", where, "--for=condition=Available", "deployment/web", "--timeout=20s")
    pods = json.loads(await running.kubectl("get", "pods", where, "-o", "json"))["items"]
    assert [pod["status"]["phase"] for pod in pods] == ["Running"] * 3
    for pod in pods:
        assert pod["status"]["podIP"]
        assert pod["status"]["startTime"]
        assert pod["status"]["containerStatuses"][0]["ready"] is True
    await running.kubectl("scale", where, "deployment/web", "--replicas=1")
    await running.kubectl("delete", where, "deployment/web", "--cascade=foreground", "--timeout=20s")
    assert await running.kubectl("get", "pods", where, "-o", "name") == ""


async def test_a_pod_that_is_deleted_gracefully_goes_at_once(running: DevCluster, namespace: str) -> None:
    where = f"--namespace={namespace}"
    await running.kubectl("run", "patient", where, "--image=patient", "--grace-period=600")
    await running.kubectl("wait", where, "--for=condition=Ready", "pod/patient", "--timeout=20s")
    await running.kubectl("delete", where, "pod/patient", "--timeout=10s")


async def test_prometheus_scrapes_what_it_is_told_and_keeps_the_labels(running: DevCluster) -> None:
    async def metrics(request: web.Request) -> web.Response:
        del request
        return web.Response(text='usage{namespace="ns",pod="web-1"} 42\n')

    application = web.Application()
    application.router.add_get("/metrics", metrics)
    runner = web.AppRunner(application)
    await runner.setup()
    port = running.free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        running.set_scrape_targets({"tiny": [f"127.0.0.1:{port}"]})
        async with PrometheusClient(running.prometheus_url) as prometheus, asyncio.timeout(30):
            found: list[Series] = []
            while not found:
                found = await prometheus.query('usage{job="tiny"}')
                await asyncio.sleep(0.2)
    finally:
        await runner.cleanup()
    assert (found[0].labels["namespace"], found[0].labels["pod"], found[0].values) == ("ns", "web-1", [42.0])


async def test_everything_listens_on_the_loopback_interface_only(running: DevCluster) -> None:
    listening = [
        connection.laddr.ip
        for process in processes_of(running.directory)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 7
    assert set(listening) == {"127.0.0.1"}


async def test_a_killed_api_server_comes_back_with_all_objects(running: DevCluster) -> None:
    await running.kubectl("create", "configmap", "kept")
    await running.stop_component("kube-apiserver", kill=True)
    with pytest.raises(KubectlFailed, match="refused"):
        await running.kubectl("get", "configmap", "kept")
    await running.restart_component("kube-apiserver")
    assert "kept" in await running.kubectl("get", "configmap", "kept", "-o", "name")
    assert not running.supervisor.failed.done()


async def test_a_port_that_is_taken_is_told_and_what_was_started_is_gone(
    binaries: Binaries, tmp_path: Path
) -> None:
    cluster = DevCluster(tmp_path / "cluster", binaries=binaries)
    port = int(cluster.prometheus_url.rsplit(":", 1)[1])
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(PortTaken, match="prometheus ended") as caught,
    ):
        async with cluster:
            pytest.fail("came up without its port")
    assert "address already in use" in str(caught.value)
    assert "start again, the ports are then chosen anew" in str(caught.value)
    assert processes_of(tmp_path) == []


async def test_two_clusters_run_side_by_side_and_one_dies_alone(binaries: Binaries, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        clusters = [DevCluster(tmp_path / name, binaries=binaries) for name in ("one", "two")]
        one, two = await asyncio.gather(*(stack.enter_async_context(each) for each in clusters))
        await one.kubectl("create", "configmap", "mine")
        assert "mine" not in await two.kubectl("get", "configmaps", "-o", "name")
        (etcd,) = (each for each in processes_of(two.directory) if each.name() == "etcd")
        etcd.kill()
        with pytest.raises(
            ChildDied, match=r"etcd ended unexpectedly \(killed by SIGKILL\); the end of its log"
        ):
            await asyncio.wait_for(two.supervisor.failed, timeout=10)
        assert "mine" in await one.kubectl("get", "configmaps", "-o", "name")
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name
)
def test_nothing_outlives_the_command(binaries: Binaries, tmp_path: Path, number: signal.Signals) -> None:
    with command(tmp_path / "cluster") as process:
        assert f"export KUBECONFIG={tmp_path}/cluster/" in first_line(process)
        children = processes_of(tmp_path)
        assert len(children) >= 7
        process.send_signal(number)
        status = process.wait(timeout=60)
        _, alive = psutil.wait_procs(children, timeout=15)
    assert alive == []
    assert status == (-signal.SIGKILL if number == signal.SIGKILL else 0)


def test_the_command_ends_with_the_reason_when_a_child_dies(binaries: Binaries, tmp_path: Path) -> None:
    with command(tmp_path / "cluster") as process:
        first_line(process)
        (kwok,) = (each for each in processes_of(tmp_path) if each.name() == "kwok")
        kwok.kill()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Error: kwok ended unexpectedly (killed by SIGKILL); the end of its log:" in errors
    assert f"The whole log: {tmp_path}/cluster/logs/kwok.log" in errors
    assert "Traceback" not in errors
    assert processes_of(tmp_path) == []


@contextmanager
def command(directory: Path) -> "Iterator[subprocess.Popen[str]]":
    """`vgpu-autoscaler cluster` as a person starts it; killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vgpu", "cluster", "--dir", str(directory)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def processes_of(directory: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(directory) in part for part in process.info["cmdline"] or ())
    ]
