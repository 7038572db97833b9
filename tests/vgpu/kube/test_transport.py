import asyncio
import time

import pytest
from tenacity import wait_none

from tests.support.builders import pod, workload
from tests.support.fake_kube import FakeKube
from vgpu.kube import transport
from vgpu.kube.errors import (
    ApiUnreachable,
    Forbidden,
    ServerFailure,
    Throttled,
    Unauthorized,
)
from vgpu.kube.objects import Pod
from vgpu.kube.resources import PODS, WORKLOADS


@pytest.fixture(autouse=True)
def _no_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a server asks for is waited."""
    monkeypatch.setattr(transport, "_backoff", wait_none())


async def test_an_idempotent_request_is_repeated_after_a_server_failure() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.put(PODS, pod("web-0"))
        fake.fail("/pods/web-0", code=503, times=2)
        assert (await client.get(PODS, "web-0", namespace="default", type=Pod)).metadata.name == "web-0"
    assert len(fake.requests) == 3


async def test_an_idempotent_request_is_repeated_after_a_cut_connection() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.put(WORKLOADS, workload("web"))
        fake.drop("/web", method="PATCH")
        await client.merge_patch(WORKLOADS, "web", {"spec": {"gpuCount": 2}}, namespace="default")
        assert fake.get(WORKLOADS, "default", "web")["spec"]["gpuCount"] == 2


async def test_repeating_is_bounded() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.fail("/pods", code=500, times=100)
        with pytest.raises(ServerFailure):
            await client.list(PODS, type=Pod)
    assert len(fake.requests) == 4


async def test_a_creation_that_may_have_happened_is_not_repeated() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.fail("workloads", code=500)
        with pytest.raises(ServerFailure):
            await client.create(WORKLOADS, workload("web"), namespace="default")
    assert len(fake.requests) == 1


async def test_throttling_is_waited_out_for_as_long_as_the_server_says() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.fail("workloads", code=429, reason="TooManyRequests", retry_after=1)
        started = time.monotonic()
        await client.create(WORKLOADS, workload("web"), namespace="default")
    assert time.monotonic() - started >= 1.0
    assert len(fake.objects(WORKLOADS)) == 1


async def test_throttling_without_end_is_reported_as_such() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.fail("/pods", code=429, reason="TooManyRequests", times=100)
        with pytest.raises(Throttled):
            await client.list(PODS, type=Pod)


async def test_a_refusal_is_not_repeated() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.fail("/pods", code=403, reason="Forbidden")
        with pytest.raises(Forbidden, match="Role"):
            await client.list(PODS, type=Pod)
    assert len(fake.requests) == 1


async def test_a_server_that_does_not_answer_in_time_is_unreachable() -> None:
    async with FakeKube() as fake, fake.client(timeout=0.05) as client:
        fake.delay("/pods", 30, times=100)
        with pytest.raises(ApiUnreachable, match=r"GET /api/v1/pods: nothing within 0\.05 seconds"):
            await client.list(PODS, type=Pod)


async def test_cancelling_a_request_is_not_mistaken_for_a_timeout() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.delay("/pods", 30)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.list(PODS, type=Pod)
    assert len(fake.requests) == 1


async def test_a_server_elsewhere_is_reached_by_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with FakeKube() as fake:
        text = fake.kubeconfig.read_text()
        fake.kubeconfig.write_text(text.replace(fake.url, "http://kube.invalid"))
        monkeypatch.setenv("http_proxy", fake.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        fake.put(PODS, pod("web-0"))
        async with fake.client() as client:
            assert (await client.get(PODS, "web-0", namespace="default", type=Pod)).metadata.name == "web-0"


async def test_a_server_that_the_environment_excepts_is_reached_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with FakeKube() as fake:
        text = fake.kubeconfig.read_text()
        fake.kubeconfig.write_text(text.replace(fake.url, "http://0.0.0.0:1"))  # nobody is there
        monkeypatch.setenv("http_proxy", fake.url)
        monkeypatch.setenv("no_proxy", "0.0.0.0")
        async with fake.client() as client:
            with pytest.raises(ApiUnreachable):
                await client.create(PODS, pod("web-0"), namespace="default")
        assert not fake.requests


async def test_a_server_on_this_machine_is_reached_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with FakeKube() as fake, fake.client() as client:
        assert await client.raw_get("/readyz") == b"ok"


async def test_an_expired_token_is_read_anew() -> None:
    async with FakeKube(token="first") as fake, fake.client() as client:
        fake.token = "second"
        fake.write_kubeconfig()
        assert await client.list(PODS, type=Pod) == ([], str(fake.store.revision))


async def test_a_wrong_token_is_unauthorized() -> None:
    async with FakeKube(token="right") as fake, fake.client() as client:
        fake.token = "changed on the server alone"
        with pytest.raises(Unauthorized, match="credentials"):
            await client.list(PODS, type=Pod)
