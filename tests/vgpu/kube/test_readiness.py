import pytest

from tests.support.fake_kube import FakeKube
from vgpu.kube.errors import (
    ApiUnreachable,
    MissingCrds,
    Unauthorized,
)
from vgpu.kube.resources import PROFILES, WORKLOADS


async def test_a_ready_server_is_reachable() -> None:
    async with FakeKube() as fake, fake.client() as client:
        await client.wait_reachable(timeout=1)


async def test_a_server_that_gets_ready_is_waited_for() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.fail("/readyz", code=503, times=3)
        await client.wait_reachable(timeout=5)
    assert len(fake.requests) == 4


async def test_a_server_that_hides_its_health_is_reachable() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.fail("/readyz", code=403, reason="Forbidden")
        await client.wait_reachable(timeout=1)


async def test_a_server_that_is_away_is_named_with_the_source_of_its_address() -> None:
    async with FakeKube() as fake, fake.client() as client:
        await fake.stop()
        with pytest.raises(
            ApiUnreachable,
            match=rf"{fake.url} does not answer: .*Connect call failed.*tried for 0\.2 s.*kubeconfig",
        ):
            await client.wait_reachable(timeout=0.2)


async def test_wrong_credentials_end_the_wait_at_once() -> None:
    async with FakeKube(token="right") as fake, fake.client() as client:
        fake.token = "other"
        with pytest.raises(Unauthorized):
            await client.wait_reachable(timeout=60)


async def test_installed_crds_are_found() -> None:
    async with FakeKube() as fake, fake.client() as client:
        await client.require_crds(WORKLOADS, PROFILES)


async def test_missing_crds_are_named() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.unserve(PROFILES)
        with pytest.raises(MissingCrds) as caught:
            await client.require_crds(WORKLOADS, PROFILES)
    assert caught.value.names == ("workloadprofiles.tensor-fusion.ai",)


async def test_a_group_that_is_not_there_misses_all_its_crds() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.unserve(PROFILES)
        fake.unserve(WORKLOADS)
        with pytest.raises(MissingCrds) as caught:
            await client.require_crds(WORKLOADS, PROFILES)
    assert len(caught.value.names) == 2
