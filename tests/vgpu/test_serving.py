import asyncio
import os
import signal
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from tests.support.waiting import until
from vgpu.certificates import ServingPair, issue_serving_pair, server_context
from vgpu.serving import HttpsServer, OpsServer, ServingError, run_until_signal
from vgpu.telemetry import new_registry


def ops_server(
    *,
    registry: CollectorRegistry | None = None,
    port: int = 0,
    host: str = "127.0.0.1",
    reasons: Sequence[str] = (),
) -> OpsServer:
    return OpsServer(
        host=host, port=port, registry=registry or CollectorRegistry(), not_ready=lambda: reasons
    )


async def fetch(server: OpsServer, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{server.port}{path}") as response,
    ):
        return response.status, await response.text()


def pair_for(*names: str) -> ServingPair:
    return issue_serving_pair(
        dns_names=names, ip_addresses=["127.0.0.1"], now=datetime.now(UTC), common_name="test"
    )


async def test_metrics_are_those_of_the_registry_alone() -> None:
    registry = CollectorRegistry()
    Counter("passes", "Passes", registry=registry).inc(3)
    async with ops_server(registry=registry) as server:
        status, text = await fetch(server, "/metrics")
    assert status == 200
    assert "passes_total 3.0" in text
    assert "process_" not in text


async def test_a_new_registry_says_what_is_running() -> None:
    async with ops_server(registry=new_registry(service="webhook")) as server:
        _, text = await fetch(server, "/metrics")
    assert 'vgpu_autoscaler_build_info{python="' in text
    assert 'service="webhook"' in text
    assert "process_resident_memory_bytes" in text


async def test_two_services_in_one_process_do_not_share_metrics() -> None:
    assert new_registry(service="webhook") is not new_registry(service="webhook")


async def test_a_service_is_healthy_while_it_is_not_ready() -> None:
    async with ops_server(reasons=["pods are not listed yet"]) as server:
        assert (await fetch(server, "/healthz"))[0] == 200


async def test_a_service_that_is_not_ready_says_why() -> None:
    async with ops_server(reasons=["pods are not listed yet", "no certificate"]) as server:
        status, text = await fetch(server, "/readyz")
    assert status == 503
    assert text == "not ready: pods are not listed yet\nnot ready: no certificate\n"


async def test_readiness_is_asked_anew_each_time() -> None:
    reasons = ["pods are not listed yet"]
    async with ops_server(reasons=reasons) as server:
        reasons.clear()
        assert await fetch(server, "/readyz") == (200, "ok\n")


async def test_a_port_in_use_is_named_with_its_setting() -> None:
    async with ops_server() as first:
        with pytest.raises(
            ServingError, match=f"127.0.0.1:{first.port}: address already in use; set 'ops_port'"
        ):
            await ops_server(port=first.port).__aenter__()


async def test_an_address_of_another_machine_is_named_with_its_setting() -> None:
    with pytest.raises(ServingError, match=r"set 'ops_host' \(now '192.0.2.1'\)"):
        await ops_server(host="192.0.2.1").__aenter__()


async def test_a_server_that_was_left_is_gone() -> None:
    async with ops_server() as server:
        port = server.port
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


class Backend:
    """An application whose one answer waits until it is let go."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.go = asyncio.Event()
        self.app = web.Application()
        self.app.router.add_get("/", self._handle)

    async def _handle(self, request: web.Request) -> web.Response:
        self.started.set()
        await self.go.wait()
        return web.Response(text="done")


async def get_securely(port: int, pair: ServingPair, *, name: str) -> str:
    context = ssl.create_default_context(cadata=pair.ca_pem.decode())
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"https://127.0.0.1:{port}/", ssl=context, server_hostname=name) as response,
    ):
        return await response.text()


async def test_https_is_served_under_the_names_of_the_certificate() -> None:
    pair, backend = pair_for("webhook.team.svc"), Backend()
    backend.go.set()
    async with HttpsServer(backend.app, host="127.0.0.1", port=0, ssl_context=server_context(pair)) as server:
        assert await get_securely(server.port, pair, name="webhook.team.svc") == "done"


async def test_https_under_another_name_is_refused_by_the_client() -> None:
    pair, backend = pair_for("webhook.team.svc"), Backend()
    async with HttpsServer(backend.app, host="127.0.0.1", port=0, ssl_context=server_context(pair)) as server:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await get_securely(server.port, pair, name="other.team.svc")


async def test_a_client_without_certificate_passes_where_certificates_are_optional() -> None:
    pair, backend = pair_for("adapter.team.svc"), Backend()
    backend.go.set()
    context = server_context(pair, client_ca_pem=pair.ca_pem)
    async with HttpsServer(backend.app, host="127.0.0.1", port=0, ssl_context=context) as server:
        assert await get_securely(server.port, pair, name="adapter.team.svc") == "done"


async def test_an_answer_in_flight_is_finished_before_the_server_is_gone() -> None:
    pair, backend = pair_for("webhook.team.svc"), Backend()
    server = HttpsServer(backend.app, host="127.0.0.1", port=0, ssl_context=server_context(pair))
    async with asyncio.TaskGroup() as tasks, server:
        answer = tasks.create_task(get_securely(server.port, pair, name="webhook.team.svc"))
        await asyncio.wait_for(backend.started.wait(), 5)
        tasks.create_task(let_go_when_closed(server, backend))
    assert answer.result() == "done"


async def let_go_when_closed(server: HttpsServer, backend: Backend) -> None:
    port = server.port

    async def refused() -> None:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                return
            writer.close()

    await asyncio.wait_for(refused(), 5)
    backend.go.set()


async def test_the_https_port_in_use_is_named_with_its_setting() -> None:
    async with ops_server() as first:
        context = server_context(pair_for("webhook.team.svc"))
        second = HttpsServer(web.Application(), host="127.0.0.1", port=first.port, ssl_context=context)
        with pytest.raises(ServingError, match="set 'port'"):
            await second.__aenter__()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_asks_the_service_to_stop(number: signal.Signals) -> None:
    finished = []

    async def service(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stop.wait(), 5)
        finished.append(number)

    await run_until_signal(service)
    assert finished == [number]


async def test_after_the_first_signal_the_second_is_not_held_back() -> None:
    async def service(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await until(stop.is_set)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    await run_until_signal(service)


async def test_signals_are_released_when_the_service_fails() -> None:
    async def service(stop: asyncio.Event) -> None:
        raise ServingError(host="a", port=1, settings=("host", "port"), error=OSError(13, ""))

    with pytest.raises(ServingError):
        await run_until_signal(service)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
