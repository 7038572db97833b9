from typing import Any

from prometheus_client import CollectorRegistry

from tests.support.fake_kube import FakeKube
from vgpu.kube.objects import CustomObject, Pod
from vgpu.kube.reflector import Reflector
from vgpu.kube.resources import PODS, WORKLOADS
from vgpu.telemetry import new_registry, watch_reflectors


def silence(registry: CollectorRegistry, resource: str) -> float | None:
    return registry.get_sample_value("vgpu_kube_last_contact_seconds", {"resource": resource})


async def test_the_silence_of_each_reflector_is_a_metric_from_the_start() -> None:
    registry = new_registry(service="test")
    async with FakeKube() as fake, fake.client() as client:
        reflectors: list[Reflector[Any]] = [
            Reflector(client, PODS, type=Pod),
            Reflector(client, WORKLOADS, type=CustomObject),
        ]
        watch_reflectors(registry, reflectors)
        for resource in ("pods", "tensorfusionworkloads.tensor-fusion.ai"):
            assert 0 <= (silence(registry, resource) or 0) < 5


async def test_the_silence_is_that_of_the_time_of_the_scrape() -> None:
    registry = new_registry(service="test")
    async with FakeKube() as fake, fake.client() as client:
        reflector = Reflector(client, PODS, type=Pod)
        watch_reflectors(registry, [reflector])
        earlier = silence(registry, "pods") or 0
        assert (silence(registry, "pods") or 0) > earlier


async def test_how_many_objects_cannot_be_read_is_a_metric() -> None:
    registry = new_registry(service="test")
    async with FakeKube() as fake, fake.client() as client:
        watch_reflectors(registry, [Reflector(client, PODS, type=Pod)])
        assert registry.get_sample_value("vgpu_kube_unreadable_objects", {"resource": "pods"}) == 0
