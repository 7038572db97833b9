"""The webhook as a whole, between a kube-apiserver with behaviour and a real TLS client."""

import asyncio
import base64
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.support.admission import ALL, RECOMMENDED, review, web
from tests.support.builders import Json, workload
from tests.support.fake_kube import FakeKube
from tests.support.waiting import until
from vgpu.kube.errors import ApiUnreachable, KubeError, MissingCrds, NotSynced
from vgpu.kube.resources import MUTATING_WEBHOOKS, PROFILES, WORKLOADS
from vgpu.serving import ServingError
from webhook.errors import RegistrationRefusedError
from webhook.main import serve
from webhook.registration import CONFIGURATION_NAME, configuration, url_client
from webhook.settings import WebhookSettings


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def settings_for(kube: FakeKube, **options: Any) -> WebhookSettings:
    given = {
        "kubeconfig": kube.kubeconfig,
        "host": "127.0.0.1",
        "port": 0,
        "ops_host": "127.0.0.1",
        "ops_port": 0,
        "startup_timeout": 2,
        **options,
    }
    return WebhookSettings(**given)


@asynccontextmanager
async def running(settings: WebhookSettings) -> AsyncIterator[asyncio.Event]:
    """Run the webhook until the block ends, and see that it ends when asked to."""
    stop = asyncio.Event()
    task = asyncio.create_task(serve(settings, stop))
    try:
        yield stop
    finally:
        stop.set()
        async with asyncio.timeout(5):
            await task


def client_config(kube: FakeKube) -> Json | None:
    found = kube.find(MUTATING_WEBHOOKS, "", CONFIGURATION_NAME)
    config: Json | None = found and found["webhooks"][0]["clientConfig"]
    return config


async def registered(kube: FakeKube) -> tuple[str, ssl.SSLContext]:
    """Where kube-apiserver would call, and what it would check the certificate against."""
    await until(lambda: client_config(kube), what="registration")
    config = client_config(kube) or {}
    ca = base64.b64decode(config["caBundle"]).decode()
    return config["url"], ssl.create_default_context(cadata=ca)


async def admit(url: str, context: ssl.SSLContext, pod: Json) -> Json:
    connector = aiohttp.TCPConnector(ssl=context)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(url, json=review(pod)) as response,
    ):
        answer: Json = await response.json()
        return answer


async def ask(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as response:
        return response.status, await response.text()


async def wait_ready(port: int) -> None:
    async with asyncio.timeout(5):
        while True:
            try:
                if (await ask(port, "/readyz"))[0] == 200:
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.01)


async def failure_of(settings: WebhookSettings) -> BaseException:
    """What the webhook ends with, out of its task groups."""
    with pytest.raises(BaseException) as caught:
        await serve(settings, asyncio.Event())
    error: BaseException = caught.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def test_it_registers_itself_where_its_certificate_is_trusted_and_rewrites_pods() -> None:
    async with FakeKube() as kube:
        kube.put(WORKLOADS, workload("web", auto_scaling_config=ALL, recommendation=RECOMMENDED))
        async with running(settings_for(kube, registration="url")):
            url, context = await registered(kube)
            response = (await admit(url, context, web()))["response"]
        assert response["auditAnnotations"]["recommended"] == "tflops,vram"


async def test_it_registers_only_when_its_caches_are_full() -> None:
    async with FakeKube() as kube:
        kube.delay("workloadprofiles", 0.2)
        async with running(settings_for(kube, registration="url")):
            await registered(kube)
        asked = [(request.method, request.path) for request in kube.requests]
        assert asked.index(("GET", PROFILES.path())) < asked.index(("POST", MUTATING_WEBHOOKS.path()))


async def test_it_can_be_registered_behind_its_service() -> None:
    async with FakeKube() as kube:
        settings = settings_for(kube, registration="service", namespace="gpu", service_name="hook")
        async with running(settings):
            await until(lambda: client_config(kube))
        config = client_config(kube) or {}
        assert config["service"] == {"name": "hook", "namespace": "gpu", "port": 443, "path": "/mutate/pods"}


async def test_without_register_it_touches_nothing() -> None:
    async with FakeKube() as kube:
        ops = free_port()
        async with running(settings_for(kube, ops_port=ops)):
            await wait_ready(ops)
        assert kube.writes() == []


async def test_it_tells_prometheus_about_itself() -> None:
    async with FakeKube() as kube:
        kube.put(WORKLOADS, workload("web"))
        ops = free_port()
        async with running(settings_for(kube, ops_port=ops)):
            await wait_ready(ops)
            _, text = await ask(ops, "/metrics")
        assert 'vgpu_webhook_cache_objects{resource="tensorfusionworkloads"} 1.0' in text
        assert 'vgpu_kube_last_contact_seconds{resource="nodes"} ' in text
        assert "vgpu_webhook_certificate_expiry_timestamp_seconds 1." in text
        assert 'vgpu_webhook_admission_duration_seconds_bucket{le="0.0005"}' in text
        assert 'service="webhook"' in text


async def test_while_its_caches_are_being_filled_it_is_alive_but_not_ready_and_admits_everything() -> None:
    async with FakeKube() as kube:
        kube.delay("workloadprofiles", 30)
        ops, port = free_port(), free_port()
        async with running(settings_for(kube, ops_port=ops, port=port, startup_timeout=30)):
            await until(lambda: any("workloadprofiles" in request.path for request in kube.requests))
            assert (await ask(ops, "/healthz"))[0] == 200
            status, reasons = await ask(ops, "/readyz")
            unverified = ssl.create_default_context()
            unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
            answer = await admit(f"https://127.0.0.1:{port}/mutate/pods", unverified, web())
        assert status == 503
        assert "workloadprofiles have not been listed yet" in reasons
        assert answer["response"]["allowed"] is True
        assert "still reading" in answer["response"]["warnings"][0]


async def test_when_it_is_asked_to_stop_it_is_not_ready_and_goes_on_serving_for_the_delay() -> None:
    async with FakeKube() as kube:
        ops, stop = free_port(), asyncio.Event()
        settings = settings_for(kube, registration="url", ops_port=ops, shutdown_delay=600)
        task = asyncio.create_task(serve(settings, stop))
        url, context = await registered(kube)
        await wait_ready(ops)
        stop.set()
        async with asyncio.timeout(5):
            while (await ask(ops, "/readyz"))[0] != 503:
                pass
        assert (await admit(url, context, web()))["response"]["allowed"] is True
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_an_admission_in_flight_is_finished() -> None:
    async with FakeKube() as kube, running(settings_for(kube, registration="url")) as stop:
        url, context = await registered(kube)
        body = json.dumps(review(web())).encode()
        port = int(url.split(":")[2].split("/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        head = f"POST /mutate/pods HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body[:100])
        await writer.drain()
        # Another request over the same loop: by its answer the server has read what was sent before it.
        await admit(url, context, web())
        stop.set()
        await asyncio.sleep(0)
        writer.write(body[100:])
        async with asyncio.timeout(5):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_after_a_stop_before_it_is_ready_it_ends_at_once() -> None:
    async with FakeKube() as kube:
        await kube.stop()
        async with running(settings_for(kube, startup_timeout=60)) as stop:
            await asyncio.sleep(0)
            stop.set()


async def test_an_api_server_that_does_not_answer_is_named() -> None:
    async with FakeKube() as kube:
        await kube.stop()
        error = await failure_of(settings_for(kube, startup_timeout=0.2))
        assert isinstance(error, ApiUnreachable)
        assert kube.url in str(error)


async def test_missing_crds_are_named() -> None:
    async with FakeKube() as kube:
        kube.unserve(PROFILES)
        error = await failure_of(settings_for(kube))
        assert isinstance(error, MissingCrds)
        assert "workloadprofiles.tensor-fusion.ai" in str(error)


async def test_a_missing_permission_is_named() -> None:
    async with FakeKube() as kube:
        kube.fail("jobs", code=403, reason="Forbidden", times=1000)
        error = await failure_of(settings_for(kube, startup_timeout=0.5))
        assert isinstance(error, NotSynced)
        assert "jobs" in str(error)


async def test_a_registration_of_somebody_else_ends_it() -> None:
    async with FakeKube() as kube:
        foreign = configuration(client=url_client("https://x"), ca_pem=b"", namespace="gpu")
        foreign["metadata"]["labels"] = {}
        kube.put(MUTATING_WEBHOOKS, foreign)
        error = await failure_of(settings_for(kube, registration="url"))
        assert isinstance(error, RegistrationRefusedError)


async def test_a_port_that_is_taken_is_named() -> None:
    async with FakeKube() as kube:
        error = await failure_of(settings_for(kube, port=kube.port))
        assert isinstance(error, ServingError)
        assert "'port'" in str(error)


async def test_a_kubeconfig_that_is_not_there_is_named() -> None:
    async with FakeKube() as kube:
        error = await failure_of(settings_for(kube, kubeconfig="/nonexistent/kubeconfig"))
        assert isinstance(error, KubeError)
        assert "/nonexistent/kubeconfig" in str(error)
