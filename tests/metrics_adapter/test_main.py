import asyncio
import base64
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from metrics_adapter.errors import FrontProxyUnknown, RegistrationRefused
from metrics_adapter.main import serve
from metrics_adapter.settings import AdapterSettings
from tests.support.adapter import authentication_config_map, front_proxy_ca, pod_object, proxy_client
from tests.support.builders import node
from tests.support.fake_kube import FakeKube
from tests.support.fake_prometheus import FakePrometheus
from tests.support.waiting import until
from vgpu.kube.errors import ApiUnreachable
from vgpu.kube.resources import API_SERVICES, CONFIG_MAPS, NODES, PODS, SERVICES
from vgpu.prometheus import BadQuery

TFLOPS = "tf_worker_usage_compute_tflops"
USER = {"X-Remote-User": "admin"}
UTILIZATION = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/pods/*/gpu_utilization"
NAME = "v1beta2.custom.metrics.k8s.io"


class World:
    """A cluster, a Prometheus, and the adapter between them."""

    def __init__(self, kube: FakeKube, prometheus: FakePrometheus) -> None:
        self.kube = kube
        self.prometheus = prometheus
        self.authority = front_proxy_ca()
        kube.put(CONFIG_MAPS, authentication_config_map(self.authority))

    def use(self, pod: str, used: float, **options: Any) -> None:
        """Have a pod run that used so many TFLOPS just now."""
        if self.kube.find(PODS, "default", pod) is None:
            self.kube.put(PODS, pod_object(pod, created=time.time() - 600, **options))
        labels = {"namespace": "default", "pod": pod, "uuid": "GPU-0"}
        self.prometheus.add(TFLOPS, labels, [(time.time() - 0.1, used)])

    def settings(self, **options: Any) -> AdapterSettings:
        given = {
            "kubeconfig": self.kube.kubeconfig,
            "prometheus_url": self.prometheus.url,
            "host": "127.0.0.1",
            "port": 0,
            "ops_host": "127.0.0.1",
            "ops_port": 0,
            "interval": 0.05,
            "startup_timeout": 2,
            "registration": True,
            **options,
        }
        return AdapterSettings(**given)

    @asynccontextmanager
    async def adapter(self, tmp_path: Path, **options: Any) -> AsyncIterator[aiohttp.ClientSession]:
        """Run it until the block ends, and ask it as the aggregator of kube-apiserver does."""
        stop = asyncio.Event()
        running = asyncio.create_task(serve(self.settings(**options), stop))
        async with self.asking(running, tmp_path) as session:
            yield session
        stop.set()
        async with asyncio.timeout(5):
            await running

    @asynccontextmanager
    async def asking(
        self, running: asyncio.Task[None], tmp_path: Path
    ) -> AsyncIterator[aiohttp.ClientSession]:
        """Ask a running one."""
        await until(lambda: running.done() or self.kube.find(API_SERVICES, "", NAME))
        spec = self.kube.get(API_SERVICES, "", NAME)["spec"]
        context = proxy_client(self.authority, tmp_path, server_ca=base64.b64decode(spec["caBundle"]))
        url = f"https://localhost:{spec['service']['port']}"
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(url, connector=connector, headers=USER) as session:
            yield session


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    async with FakeKube() as kube, FakePrometheus() as prometheus:
        yield World(kube, prometheus)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def ops_of(settings: AdapterSettings) -> AsyncIterator[int]:
    """Run the adapter until the block ends; the port of its ops server."""
    stop, port = asyncio.Event(), free_port()
    running = asyncio.create_task(serve(settings.model_copy(update={"ops_port": port}), stop))
    try:
        yield port
    finally:
        stop.set()
        async with asyncio.timeout(5):
            await running


async def ask(port: int, path: str) -> tuple[int, str]:
    """What the ops server answers; nothing while it is not there."""
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}{path}") as response,
        ):
            return response.status, (await response.text()).strip()
    except aiohttp.ClientConnectionError:
        return 0, ""


async def readiness_is(port: int, wanted: str) -> None:
    """Ask until what stands in /readyz begins so."""
    text = ""
    try:
        async with asyncio.timeout(5):
            while not text.startswith(wanted):
                await asyncio.sleep(0.01)
                _, text = await ask(port, "/readyz")
    except TimeoutError:
        pytest.fail(f"/readyz says {text!r}, not {wanted!r}")


async def eventually(session: aiohttp.ClientSession, path: str, wanted: Any) -> None:
    """Ask until the values of the answer are `wanted`, or its status is."""
    answered: Any = None
    try:
        async with asyncio.timeout(5):
            while answered != wanted:
                async with session.get(path) as response:
                    body = json.loads(await response.read())
                    answered = response.status
                    if response.status == 200:
                        answered = {item["describedObject"]["name"]: item["value"] for item in body["items"]}
    except TimeoutError:
        pytest.fail(f"{path} is {answered}, not {wanted}")


async def failure_of(settings: AdapterSettings) -> BaseException:
    """What the adapter ends with, out of its task groups."""
    with pytest.raises(BaseException) as caught:
        await serve(settings, asyncio.Event())
    error: BaseException = caught.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def test_a_running_gated_pod_has_its_utilization(tmp_path: Path) -> None:
    async with world() as made:
        made.use("a", 5.0)
        made.use("b", 5.0, tflops="20")
        async with made.adapter(tmp_path) as session:
            await eventually(session, UTILIZATION, {"a": "50", "b": "25"})


async def test_a_pod_that_comes_and_one_that_goes_are_followed(tmp_path: Path) -> None:
    async with world() as made:
        made.use("a", 5.0)
        async with made.adapter(tmp_path) as session:
            await eventually(session, UTILIZATION, {"a": "50"})
            made.use("b", 1.0)
            await eventually(session, UTILIZATION, {"a": "50", "b": "10"})
            made.kube.delete(PODS, "default", "a")
            await eventually(session, UTILIZATION, {"b": "10"})


async def test_a_prometheus_that_is_away_at_the_start_gives_errors_until_it_is_there(tmp_path: Path) -> None:
    async with world() as made:
        made.use("a", 5.0)
        await made.prometheus.stop()
        async with made.adapter(tmp_path) as session:
            await eventually(session, UTILIZATION, 503)
            await made.prometheus.start()
            await eventually(session, UTILIZATION, {"a": "50"})


async def test_when_prometheus_stops_the_values_become_too_old_and_then_are_errors(tmp_path: Path) -> None:
    async with world() as made, made.adapter(tmp_path, freshness=1.5) as session:
        made.use("a", 5.0)
        await eventually(session, UTILIZATION, {"a": "50"})
        await made.prometheus.stop()
        await eventually(session, UTILIZATION, 503)


async def test_without_register_nothing_is_written_to_the_cluster(tmp_path: Path) -> None:
    async with world() as made:
        stop = asyncio.Event()
        running = asyncio.create_task(serve(made.settings(registration=False), stop))
        await until(lambda: len(made.prometheus.requests) >= 6)
        stop.set()
        await running
        assert made.kube.writes() == []
        assert made.kube.find(SERVICES, "vgpu-autoscaler", "vgpu-autoscaler-metrics-adapter") is None


async def test_while_it_waits_for_the_cluster_it_is_alive_and_says_what_it_waits_for() -> None:
    async with world() as made:
        made.kube.fail("/readyz", code=503, times=1_000)
        async with ops_of(made.settings(startup_timeout=60)) as ops:
            await readiness_is(ops, "not ready: kube-apiserver has not answered yet")
            assert await ask(ops, "/healthz") == (200, "ok")


async def test_without_the_front_proxys_config_map_it_says_so_while_it_waits() -> None:
    async with world() as made:
        made.kube.delete(CONFIG_MAPS, "kube-system", "extension-apiserver-authentication")
        async with ops_of(made.settings(startup_timeout=60)) as ops:
            await readiness_is(ops, "not ready: the cluster has not told how to recognise kube-apiserver yet")


async def test_when_it_is_asked_to_stop_it_is_not_ready_and_goes_on_serving_for_the_delay(
    tmp_path: Path,
) -> None:
    async with world() as made:
        made.use("a", 5.0)
        ops, stop = free_port(), asyncio.Event()
        settings = made.settings(ops_port=ops, shutdown_delay=600)
        running = asyncio.create_task(serve(settings, stop))
        async with made.asking(running, tmp_path) as session:
            await eventually(session, UTILIZATION, {"a": "50"})
            stop.set()
            await readiness_is(ops, "not ready: the metrics adapter is shutting down")
            await eventually(session, UTILIZATION, {"a": "50"})
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_a_kube_apiserver_that_has_told_nothing_for_long_makes_it_not_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("metrics_adapter.main._LONGEST_SILENCE", 0.5)
    async with world() as made:
        made.kube.bookmark_interval = 60
        async with ops_of(made.settings()) as ops:
            await readiness_is(ops, "ok")
            await readiness_is(ops, "not ready: kube-apiserver has told nothing of the pods for")


async def test_bookmarks_and_the_certificates_end_are_in_its_metrics() -> None:
    async with world() as made, ops_of(made.settings()) as ops:
        await readiness_is(ops, "ok")
        _, text = await ask(ops, "/metrics")
        assert 'vgpu_kube_last_contact_seconds{resource="pods"} 0.' in text
        assert "vgpu_adapter_certificate_expiry_timestamp_seconds 1." in text


async def test_it_stops_at_once_while_it_still_waits_for_the_cluster() -> None:
    async with world() as made:
        made.kube.fail("/readyz", code=503, times=1_000)
        stop = asyncio.Event()
        running = asyncio.create_task(serve(made.settings(startup_timeout=60), stop))
        await until(lambda: made.kube.requests)
        stop.set()
        async with asyncio.timeout(2):
            await running


async def test_an_api_service_of_another_ends_the_start_with_its_name() -> None:
    async with world() as made:
        other = {"group": "custom.metrics.k8s.io", "service": {"namespace": "monitoring", "name": "other"}}
        made.kube.put(API_SERVICES, {"metadata": {"name": NAME}, "spec": other})
        error = await failure_of(made.settings())
        assert isinstance(error, RegistrationRefused)
        assert "Service monitoring/other" in str(error)


async def test_a_cluster_without_a_front_proxy_ends_the_start() -> None:
    async with world() as made:
        made.kube.delete(CONFIG_MAPS, "kube-system", "extension-apiserver-authentication")
        error = await failure_of(made.settings(startup_timeout=0.2))
        assert isinstance(error, FrontProxyUnknown)


async def test_a_query_that_prometheus_refuses_ends_the_start() -> None:
    async with world() as made:
        made.prometheus.answer_next(
            400, b'{"status":"error","errorType":"bad_data","error":"unexpected character"}'
        )
        error = await failure_of(made.settings())
        assert isinstance(error, BadQuery)
        assert "setting 'preset'" in str(error)


async def test_a_cluster_that_does_not_answer_ends_the_start_with_its_address() -> None:
    async with FakeKube() as kube:
        kubeconfig = kube.kubeconfig.read_text()
        url = kube.url
    async with world() as made:
        made.kube.kubeconfig.write_text(kubeconfig)
        error = await failure_of(made.settings(startup_timeout=0.3))
        assert isinstance(error, ApiUnreachable)
        assert url in str(error)


async def test_parts_of_a_card_are_served_by_the_card_of_the_pods_node(tmp_path: Path) -> None:
    async with world() as made:
        made.kube.put(NODES, node("node", product="NVIDIA-L4"))
        made.kube.put(PODS, pod_object("web", created=time.time() - 600))
        labels = {"namespace": "default", "pod": "web", "device_uuid": "GPU-0"}
        name = "hami_container_device_utilization_ratio"
        made.prometheus.add(name, labels, [(time.time() - 0.1, 5.0)])
        async with made.adapter(tmp_path, preset="hami") as session:
            await eventually(session, UTILIZATION, {"web": "60500m"})


async def test_a_pod_on_a_node_that_shares_its_cards_has_no_value(tmp_path: Path) -> None:
    async with world() as made:
        for name, product in (("alone", "NVIDIA-L4"), ("shared", "NVIDIA-L4-SHARED")):
            made.kube.put(NODES, node(name, product=product))
            made.kube.put(PODS, pod_object(name, created=time.time() - 600, node=name))
            labels = {"namespace": "default", "pod": name, "UUID": name, "modelName": "NVIDIA L4"}
            made.prometheus.add("DCGM_FI_DEV_GPU_UTIL", labels, [(time.time() - 0.1, 5.0)])
        async with made.adapter(tmp_path, preset="dcgm") as session:
            await eventually(session, UTILIZATION, {"alone": "60500m"})
