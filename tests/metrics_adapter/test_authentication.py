import asyncio

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from metrics_adapter.authentication import FrontProxy, load_front_proxy
from metrics_adapter.errors import AccessDenied, FrontProxyUnknown, Unauthenticated
from tests.support.adapter import authentication_config_map, front_proxy_ca
from tests.support.fake_kube import FakeKube
from tests.support.waiting import until
from vgpu.kube.errors import Forbidden
from vgpu.kube.resources import CONFIG_MAPS

PROXY = FrontProxy(ca_pem=b"ca", allowed_names=frozenset({"front-proxy-client"}))


def certificate(*names: str) -> dict[str, object]:
    return {"subject": ((("organizationName", "kubernetes"),), *((("commonName", name),) for name in names))}


def headers(*pairs: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(pairs))


ALICE = headers(("x-remote-user", "alice"), ("X-Remote-Group", "a"), ("X-Remote-Group", "b"))


def test_the_front_proxy_may_ask_for_a_user() -> None:
    PROXY.require(certificate("front-proxy-client"), ALICE)


@pytest.mark.parametrize("missing", [None, {}])
def test_headers_without_a_certificate_are_ignored(missing: dict[str, object] | None) -> None:
    with pytest.raises(AccessDenied, match='User "system:anonymous"'):
        PROXY.require(missing, ALICE)


@pytest.mark.parametrize("names", [("mallory",), (), ("front-proxy-client", "mallory")])
def test_a_certificate_of_another_name_is_not_the_front_proxys(names: tuple[str, ...]) -> None:
    with pytest.raises(Unauthenticated):
        PROXY.require(certificate(*names), ALICE)


def test_without_allowed_names_any_certificate_of_the_ca_will_do() -> None:
    FrontProxy(ca_pem=b"ca").require(certificate("anyone"), ALICE)


def test_a_front_proxy_that_names_no_user_gets_nothing() -> None:
    with pytest.raises(AccessDenied):
        PROXY.require(certificate("front-proxy-client"), headers(("X-Remote-Group", "system:masters")))


def test_the_user_may_stand_in_any_of_the_headers_that_the_cluster_names() -> None:
    proxy = FrontProxy(ca_pem=b"ca", username_headers=("X-First", "X-Second"))
    proxy.require(certificate("any"), headers(("X-Second", "bob")))
    with pytest.raises(AccessDenied):
        proxy.require(certificate("any"), ALICE)


def test_the_config_map_names_ca_names_and_headers() -> None:
    authority = front_proxy_ca()
    proxy = FrontProxy.from_config_map(authentication_config_map(authority)["data"])
    assert proxy == FrontProxy(ca_pem=authority.certificate, allowed_names=frozenset({"front-proxy-client"}))


def test_a_config_map_without_a_ca_means_that_the_aggregation_layer_is_off() -> None:
    with pytest.raises(FrontProxyUnknown, match="aggregation layer is off"):
        FrontProxy.from_config_map({"client-ca-file": "..."})


def test_a_list_that_cannot_be_read_is_named() -> None:
    data = {"requestheader-client-ca-file": "ca", "requestheader-allowed-names": "front-proxy-client"}
    with pytest.raises(FrontProxyUnknown, match="requestheader-allowed-names is not a JSON list"):
        FrontProxy.from_config_map(data)


async def test_a_config_map_that_comes_a_moment_later_is_waited_for() -> None:
    async with FakeKube() as fake, fake.client() as client:
        loading = asyncio.create_task(load_front_proxy(client, timeout=5))
        await until(lambda: fake.requests)
        fake.put(CONFIG_MAPS, authentication_config_map(front_proxy_ca()))
        assert (await loading).allowed_names == {"front-proxy-client"}


async def test_a_config_map_that_never_comes_is_an_error_that_says_who_publishes_it() -> None:
    async with FakeKube() as fake, fake.client() as client:
        with pytest.raises(FrontProxyUnknown, match="--requestheader-client-ca-file"):
            await load_front_proxy(client, timeout=0.2)


async def test_a_config_map_that_may_not_be_read_is_no_reason_to_wait() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.fail("extension-apiserver-authentication", code=403, reason="Forbidden")
        with pytest.raises(Forbidden):
            await load_front_proxy(client, timeout=30)
