import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry

from metrics_adapter.cards import any_cards
from metrics_adapter.metrics import AdapterMetrics
from metrics_adapter.poller import Poller
from tests.support.adapter import NOW, gated_pod
from tests.support.fake_prometheus import FakePrometheus
from tests.support.usage import cards
from tests.support.waiting import until
from vgpu.capacity import Card
from vgpu.gpu_peaks import load_models
from vgpu.kube.objects import Pod
from vgpu.prometheus import PrometheusClient
from vgpu.usage_sources import HAMI, TENSORFUSION, Preset, choose

TFLOPS = "tf_worker_usage_compute_tflops"
VRAM = "tf_worker_usage_memory_bytes"


@dataclass
class Setup:
    """A poller between a Prometheus and a store of pods, at a time that the test sets."""

    prometheus: FakePrometheus
    poller: Poller
    pods: dict[str, Pod]
    registry: CollectorRegistry
    now: float = NOW

    def use(self, pod: str, *values: float, at: float, metric: str = TFLOPS) -> None:
        self.pods.setdefault(pod, gated_pod(pod))
        for index, value in enumerate(values):
            labels = {"namespace": "default", "pod": pod, "uuid": f"GPU-{index}"}
            self.prometheus.add(metric, labels, [(at, value)])

    def values(self, metric: str = "gpu_utilization") -> dict[str, str]:
        table = self.poller.snapshot.table
        assert table is not None
        return {name: value.quantity for name, value in table.rows("pods", metric, "default").items()}

    def figure(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"vgpu_adapter_{name}", labels)


@asynccontextmanager
async def setup(*, interval: float = 10, preset: Preset = TENSORFUSION) -> AsyncIterator[Setup]:
    registry = CollectorRegistry()
    l4 = cards({"node": Card("NVIDIA-L4", 121_000, 24 * 2**30)})
    async with (
        FakePrometheus() as prometheus,
        PrometheusClient(prometheus.url, timeout=5, retries=0) as source,
    ):
        pods: dict[str, Pod] = {}
        poller = Poller(
            source=source,
            find_pod=lambda namespace, name: pods.get(name),
            preset=preset,
            cards=l4 if preset.needs_cards else any_cards(load_models()),
            interval=interval,
            freshness=60,
            metrics=AdapterMetrics(registry),
            clock=lambda: made.now,
        )
        made = Setup(prometheus, poller, pods, registry)
        yield made


async def test_a_poll_makes_a_table_of_the_newest_samples() -> None:
    async with setup() as made:
        made.use("a", 2.0, at=NOW - 25)
        made.use("a", 5.0, at=NOW - 10)
        made.use("a", 2.0**30, at=NOW - 10, metric=VRAM)
        await made.poller.poll()
        assert made.values() == {"a": "50"}
        assert made.values("gpu_memory_utilization") == {"a": "10"}


async def test_the_time_of_a_value_is_that_of_the_sample_itself() -> None:
    async with setup() as made:
        made.use("a", 5.0, at=NOW - 17.25)
        await made.poller.poll()
        table = made.poller.snapshot.table
        assert table is not None
        assert table.rows("pods", "gpu_tflops", "default")["a"].time == NOW - 17.25


async def test_samples_beyond_the_freshness_are_not_even_read() -> None:
    async with setup() as made:
        made.use("a", 5.0, at=NOW - 61)
        made.use("b", 5.0, at=NOW - 59)
        await made.poller.poll()
        assert made.values() == {"b": "50"}


async def test_a_series_of_nan_makes_its_pod_missing() -> None:
    async with setup() as made:
        made.use("a", math.nan, at=NOW - 5)
        made.use("b", 1.0, at=NOW - 5)
        await made.poller.poll()
        assert made.values() == {"b": "10"}
        assert made.figure("table_drops", reason="bad_value") == 1


async def test_a_pod_with_one_broken_gpu_is_missing_and_never_looks_half_idle() -> None:
    async with setup() as made:
        made.use("a", 9.0, math.nan, at=NOW - 5)
        await made.poller.poll()
        assert made.values("gpu_tflops") == made.values() == {}


async def test_a_source_that_lies_is_not_believed() -> None:
    async with setup() as made:
        made.use("a", 1e6, at=NOW - 5)
        made.use("a", 1e13, at=NOW - 5, metric=VRAM)
        await made.poller.poll()
        assert made.values() == made.values("gpu_memory_utilization") == {}
        assert made.figure("table_drops", reason="bad_value") == 2


async def test_a_poll_is_two_queries_however_many_pods_there_are() -> None:
    async with setup() as made:
        for index in range(50):
            made.use(f"pod-{index:02}", 1.0, 2.0, at=NOW - 5)
        await made.poller.poll()
        assert len(made.values()) == 50
        assert [request.query for request in made.prometheus.requests] == [
            f"{TFLOPS}[60000ms]",
            f"{VRAM}[60000ms]",
        ]


@pytest.mark.parametrize(
    ("metric", "labels"),
    [
        ("hami_container_device_utilization_ratio", {"namespace": "default", "pod": "a", "device_uuid": "G"}),
        (
            "Device_utilization_desc_of_container",
            {"podnamespace": "default", "podname": "a", "deviceuuid": "G"},
        ),
    ],
)
async def test_a_preset_of_two_names_is_still_one_query(metric: str, labels: dict[str, str]) -> None:
    async with setup(preset=HAMI) as made:
        made.pods["a"] = gated_pod("a")
        made.prometheus.add(metric, labels, [(NOW - 5, 5.0)])
        await made.poller.poll()
        assert made.values() == {"a": "60500m"}
        assert len(made.prometheus.requests) == 2


async def test_an_operators_own_expression_is_evaluated_over_the_freshness() -> None:
    preset = choose("custom", tflops_query="max by (namespace, pod) (used) * 2", vram_query="memory")
    async with setup(preset=preset) as made:
        made.pods["a"] = gated_pod("a")
        made.prometheus.add("used", {"namespace": "default", "pod": "a", "x": "1"}, [(NOW - 20, 2.0)])
        await made.poller.poll()
        assert made.values() == {"a": "40"}


async def test_a_failed_poll_keeps_the_old_table_and_says_that_it_is_failing() -> None:
    async with setup() as made:
        made.use("a", 5.0, at=NOW - 5)
        await made.poller.poll()
        table = made.poller.snapshot.table
        made.now += 10
        made.prometheus.fail_next(503)
        await made.poller.poll()
        assert made.poller.snapshot.table is table
        assert made.poller.snapshot.failing
        assert made.figure("source_errors_total", error="BadAnswer") == 1


async def test_a_poll_whose_second_query_fails_is_a_failed_poll() -> None:
    async with setup() as made:
        made.use("a", 5.0, at=NOW - 5)
        made.prometheus.answer_next(200, b'{"status":"success","data":{"resultType":"matrix","result":[]}}')
        made.prometheus.fail_next(500)
        await made.poller.poll()
        assert made.poller.snapshot.table is None
        assert made.poller.snapshot.failing


async def test_a_source_that_is_gone_and_comes_back_is_read_again() -> None:
    async with setup() as made:
        await made.prometheus.stop()
        await made.poller.poll()
        assert made.poller.not_ready() == ["the metric source has not been read yet"]
        assert made.figure("source_errors_total", error="PrometheusUnreachable") == 1
        await made.prometheus.start()
        made.use("a", 5.0, at=NOW - 5)
        await made.poller.poll()
        assert not made.poller.snapshot.failing
        assert made.values() == {"a": "50"}


async def test_a_source_that_has_nothing_gives_an_empty_table() -> None:
    async with setup() as made:
        await made.poller.poll()
        assert made.values() == {}


async def test_ready_is_a_table_that_is_not_older_than_two_intervals() -> None:
    async with setup() as made:
        await made.poller.poll()
        made.now += 20
        assert made.poller.not_ready() == []
        made.now += 1
        assert made.poller.not_ready() == ["the metrics are 21 s old, more than two intervals (20 s)"]


async def test_it_polls_again_and_again() -> None:
    async with setup(interval=0.01) as made:
        running = asyncio.create_task(made.poller.run())
        await until(lambda: len(made.prometheus.requests) >= 6)
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()


async def test_age_size_and_drops_of_the_table_are_metrics() -> None:
    async with setup() as made:
        made.use("a", 1.0, 2.0, at=NOW - 5)
        made.use("gone", 1.0, at=NOW - 5)
        del made.pods["gone"]
        await made.poller.poll()
        made.now += 3
        assert made.figure("table_age_seconds") == 3
        assert made.figure("table_timestamp_seconds") == NOW
        assert made.figure("table_values", metric="gpu_utilization") == 1
        assert made.figure("table_values", metric="gpu_memory_bytes") == 0
        assert made.figure("table_drops", reason="no_pod") == 1
