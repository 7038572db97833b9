import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest

from tests.support.fake_kube import FakeKube
from tests.support.waiting import until
from vgpu.kube.contact import KINDS
from vgpu.kube.objects import CustomObject, Pod
from vgpu.kube.reflector import Reflector
from vgpu.kube.resources import PODS, WORKLOADS
from vgpu.telemetry import LateGauge, new_registry, watch_reflectors, watch_requests


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


def test_a_value_that_is_not_known_has_no_series_but_a_description() -> None:
    registry = CollectorRegistry()
    gauge = LateGauge("vgpu_read_timestamp_seconds", "When it was read", registry=registry)
    assert b"# TYPE vgpu_read_timestamp_seconds gauge" in generate_latest(registry)
    assert registry.get_sample_value("vgpu_read_timestamp_seconds") is None
    gauge.set(0)
    assert registry.get_sample_value("vgpu_read_timestamp_seconds") == 0
    gauge.clear()
    assert registry.get_sample_value("vgpu_read_timestamp_seconds") is None


def test_a_late_gauge_cannot_take_the_name_of_another_metric() -> None:
    registry = CollectorRegistry()
    LateGauge("vgpu_read_timestamp_seconds", "When it was read", registry=registry)
    with pytest.raises(ValueError, match="vgpu_read_timestamp_seconds"):
        LateGauge("vgpu_read_timestamp_seconds", "When it was read", registry=registry)


def test_counters_do_not_tell_when_they_were_made() -> None:
    registry = new_registry(service="test")
    Counter("vgpu_polls", "Polls", registry=registry).inc()
    assert b"_created" not in generate_latest(registry)


async def test_a_watch_that_is_interrupted_and_a_request_that_is_refused_are_counted_by_their_error() -> None:
    registry = new_registry(service="test")
    async with FakeKube() as fake, fake.client() as client:
        pods = Reflector(client, PODS, type=Pod)
        watch_reflectors(registry, [pods])
        watch_requests(registry, client.contact)
        running = asyncio.create_task(pods.run())
        await until(fake.open_watches)
        fake.compact()
        fake.fail("/pods", code=410, reason="Expired")
        fake.drop_watches()
        interruptions = "vgpu_kube_watch_interruptions_total"
        await until(lambda: registry.get_sample_value(interruptions, {"resource": "pods", "error": "Gone"}))
        running.cancel()
    counted = {
        error: registry.get_sample_value("vgpu_kube_request_errors_total", {"error": error})
        for error in KINDS
    }
    assert counted["Gone"] == 1
    assert counted["Forbidden"] == 0
