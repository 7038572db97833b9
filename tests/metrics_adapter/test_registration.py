import base64
from typing import Any

import pytest

from metrics_adapter.catalog import CUSTOM_METRICS
from metrics_adapter.errors import RegistrationRefused
from metrics_adapter.registration import Endpoint, register
from tests.support.fake_kube import FakeKube
from vgpu.kube.resources import API_SERVICES, NAMESPACES, SERVICES

ENDPOINT = Endpoint(namespace="vgpu", service="adapter", port=6443, ca_pem=b"the CA")
NAMES = ("v1beta2.custom.metrics.k8s.io", "v1beta1.custom.metrics.k8s.io")


def api_service(name: str, service: dict[str, Any] | None) -> dict[str, Any]:
    spec = {"group": "custom.metrics.k8s.io", "version": name.split(".", maxsplit=1)[0], "service": service}
    return {"metadata": {"name": name}, "spec": spec}


async def test_the_aggregator_is_led_to_the_port_on_localhost() -> None:
    async with FakeKube() as fake, fake.client() as client:
        await register(client, CUSTOM_METRICS, ENDPOINT)
        spec = fake.get(SERVICES, "vgpu", "adapter")["spec"]
        assert (spec["type"], spec["externalName"]) == ("ExternalName", "localhost")
        assert [port["port"] for port in spec["ports"]] == [6443]


async def test_each_version_is_registered_with_the_ca_and_v1beta2_preferred() -> None:
    async with FakeKube() as fake, fake.client() as client:
        await register(client, CUSTOM_METRICS, ENDPOINT)
        second, first = (fake.get(API_SERVICES, "", name)["spec"] for name in NAMES)
        assert second["versionPriority"] > first["versionPriority"]
        for spec in (first, second):
            assert spec["service"] == {"namespace": "vgpu", "name": "adapter", "port": 6443}
            assert base64.b64decode(spec["caBundle"]) == b"the CA"
            assert "insecureSkipTLSVerify" not in spec


async def test_a_missing_namespace_is_created_and_one_that_is_there_is_left_alone() -> None:
    async with FakeKube() as fake, fake.client() as client:
        await register(client, CUSTOM_METRICS, ENDPOINT)
        created = fake.get(NAMESPACES, "", "vgpu")
        await register(client, CUSTOM_METRICS, ENDPOINT)
        assert fake.get(NAMESPACES, "", "vgpu") == created


async def test_a_second_start_takes_its_own_registration_over_with_a_new_port_and_ca() -> None:
    async with FakeKube() as fake, fake.client() as client:
        await register(client, CUSTOM_METRICS, ENDPOINT)
        await register(client, CUSTOM_METRICS, Endpoint("vgpu", "adapter", 7443, b"a new CA"))
        spec = fake.get(API_SERVICES, "", NAMES[0])["spec"]
        assert spec["service"]["port"] == 7443
        assert base64.b64decode(spec["caBundle"]) == b"a new CA"
        assert fake.get(SERVICES, "vgpu", "adapter")["spec"]["ports"][0]["port"] == 7443


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("service", "holder"),
    [
        ({"namespace": "monitoring", "name": "prometheus-adapter"}, "Service monitoring/prometheus-adapter"),
        ({"namespace": "monitoring", "name": "adapter"}, "Service monitoring/adapter"),
        (None, "kube-apiserver itself"),
    ],
)
async def test_an_api_service_of_another_is_never_taken_over_and_nothing_is_written(
    name: str, service: dict[str, Any] | None, holder: str
) -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.put(API_SERVICES, api_service(name, service))
        with pytest.raises(RegistrationRefused, match=f"APIService {name} belongs to {holder}"):
            await register(client, CUSTOM_METRICS, ENDPOINT)
        assert fake.writes() == []


async def test_the_service_of_an_installed_adapter_is_never_turned_to_localhost() -> None:
    async with FakeKube() as fake, fake.client() as client:
        metadata = {"name": "adapter", "namespace": "vgpu"}
        fake.put(SERVICES, {"metadata": metadata, "spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1"}})
        with pytest.raises(RegistrationRefused, match="Service vgpu/adapter is of type ClusterIP"):
            await register(client, CUSTOM_METRICS, ENDPOINT)
        assert fake.writes() == []
