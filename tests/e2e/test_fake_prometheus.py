"""The Prometheus of the unit tests, held against a real one: same samples, same questions, same answers."""

import math
import random
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from devcluster.binaries import Binaries
from devcluster.processes import Supervisor
from tests.support.fake_prometheus import FakePrometheus
from vgpu.prometheus import BadQuery, PrometheusClient, PrometheusError, Series
from vgpu.slices import Resource
from vgpu.usage_sources import PRESETS, bulk_query, choose, probe, raw_query, restrictable

START = int(time.time()) - 900
VALUES = (0.0, 1.5, -2.25, 1e12, 1e21, 1e-7, 17.0, math.nan)
STALE = None

QUERIES = (
    "m",
    'm{pod="a"}',
    'm{pod!="a"}',
    'm{pod=~"a|b", uuid="1",}',
    'm{pod!~"a.*"}',
    '{__name__="n", namespace=~"x-.+"}',
    'm{missing=""}',
    "m[1m]",
    "m[5m]",
    "max_over_time(m[1m])",
    "max_over_time(m[47s])",
    "max by (pod) (m)",
    "max by (pod, missing) (max_over_time(m[2m]))",
    "max by (namespace, uuid)(n)",
    "avg_over_time(m[1m])",
    "max by (pod) (avg_over_time(n[2m]))",
    "max by (pod) (m) * 0.01",
    "m / 4",
    'm{pod="a"} or n',
    'max by (pod) (max_over_time(m{pod!="c"}[1m])) or max by (pod) (max_over_time(n[1m])) * 100',
    'm{uuid="1"} / 2 or m * 3 or n',
    '(m{pod="a"} or n{pod="b"} * 2)',
    "max_over_time((m * 2)[1m:15s])",
    "max_over_time(n[2m:45s])",
    'avg_over_time((m or n{pod="c"})[100s:20s])',
    "max by (pod) (max_over_time((max by (pod, uuid) (m))[90s:7s]))",
    "(m * 2)[1m:15s]",
    '{__name__=~"m|n"}[1m]',
)
REFUSED = (
    "",
    "{}",
    '{pod=~".*"}',
    "m{",
    "m[x]",
    "max_over_time(m)",
    "max by (pod) (m[1m])",
    'm{pod=~"("}',
    "avg_over_time(m or n)",
    "m[1m] or n",
    "m[1m] * 2",
    "(m * 2)[1m]",
    "m or",
    "(m",
    "m *",
    "max by (pod) m[1m:15s]",
)
TIMES = (0, 300, 300.001, 421.5, 599, 600, 601, 880, 1500)
RANGES = ((0, 600, 60), (0, 600, 15), (250, 750, 30), (10.5, 99.9, 7.25), (0, 0, 1))
REFUSED_RANGES = ((5, 4, 1), (0, 5, 0), (0, 11_001, 1))

Samples = list[tuple[float, float | None]]


def stored() -> Iterator[tuple[str, dict[str, str], Samples]]:
    """Series with holes and odd times; one goes stale, comes back, and ends."""
    chance = random.Random(7)
    for name in ("m", "n"):
        for pod in ("a", "b", "c"):
            for uuid in ("1", "2"):
                times = [START + second + chance.choice((0, 0.001, 0.5)) for second in range(0, 880, 15)]
                samples: Samples = [(at, chance.choice(VALUES)) for at in times if chance.random() > 0.1]
                if pod == "b":
                    samples = [(at, value) for at, value in samples if not 200 < at - START < 600]
                    samples += [(START + 300.0, STALE), (START + 870.75, STALE)]
                labels = {"pod": pod, "uuid": uuid, "namespace": f"x-{pod}"}
                yield name, labels, sorted(samples, key=lambda sample: sample[0])


def fill_fake(fake: FakePrometheus) -> None:
    for name, labels, samples in stored():
        fake.add(name, labels, [(at, value) for at, value in samples if value is not STALE])
        for at, value in samples:
            if value is STALE:
                fake.end(name, labels, at)


def as_otlp() -> dict[str, object]:
    """The samples as OpenTelemetry metrics, whose flag 1 (no recorded value) is a staleness marker."""
    metrics = []
    for name, labels, samples in stored():
        attributes = [{"key": key, "value": {"stringValue": value}} for key, value in labels.items()]
        points = [
            {
                "attributes": attributes,
                "timeUnixNano": str(round(at * 1000) * 1_000_000),
                **({"flags": 1} if value is STALE else {"asDouble": "NaN" if math.isnan(value) else value}),
            }
            for at, value in samples
        ]
        metrics.append({"name": name, "gauge": {"dataPoints": points}})
    return {"resourceMetrics": [{"resource": {}, "scopeMetrics": [{"scope": {}, "metrics": metrics}]}]}


@asynccontextmanager
async def real_prometheus(binaries: Binaries, folder: Path) -> AsyncIterator[PrometheusClient]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    (folder / "prometheus.yml").write_text("{}\n", encoding="utf-8")
    argv: list[str | Path] = [
        binaries.prometheus,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-otlp-receiver",
    ]
    url = f"http://127.0.0.1:{port}"
    async with Supervisor(folder) as supervisor, PrometheusClient(url) as client:

        async def ready() -> bool:
            try:
                return await client.query("up") == []
            except PrometheusError:
                return False

        await supervisor.start("prometheus", argv, ready=ready)
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{url}/api/v1/otlp/v1/metrics", json=as_otlp()) as response,
        ):
            assert response.status == 200, await response.text()
        yield client


@pytest.fixture(scope="module")
async def both(
    binaries: Binaries, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[PrometheusClient, PrometheusClient]]:
    folder = tmp_path_factory.mktemp("prometheus")
    async with (
        real_prometheus(binaries, folder) as real,
        FakePrometheus() as fake,
        PrometheusClient(fake.url) as imitation,
    ):
        fill_fake(fake)
        yield imitation, real


def comparable(series: list[Series]) -> list[tuple[list[tuple[str, str]], list[float], list[str]]]:
    """Series in one order; of the values the digits that do not depend on the order of a sum."""
    return sorted(
        (sorted(one.labels.items()), list(one.times), [f"{value:.12g}" for value in one.values])
        for one in series
    )


@pytest.mark.parametrize("query", QUERIES)
async def test_the_fake_answers_an_instant_query_like_prometheus(
    both: tuple[PrometheusClient, PrometheusClient], query: str
) -> None:
    for offset in TIMES:
        fake, real = [comparable(await client.query(query, time=START + offset)) for client in both]
        assert fake == real, offset


@pytest.mark.parametrize("query", [query for query in QUERIES if not query.endswith("]")])
async def test_the_fake_answers_a_range_query_like_prometheus(
    both: tuple[PrometheusClient, PrometheusClient], query: str
) -> None:
    for start, end, step in RANGES:
        fake, real = [
            comparable(await client.query_range(query, start=START + start, end=START + end, step=step))
            for client in both
        ]
        assert fake == real, (start, end, step)


@pytest.mark.parametrize("query", REFUSED)
async def test_the_fake_refuses_what_prometheus_refuses(
    both: tuple[PrometheusClient, PrometheusClient], query: str
) -> None:
    for client in both:
        with pytest.raises(BadQuery):
            await client.query(query)


@pytest.mark.parametrize(("query", "span"), [("m[1m]", RANGES[0]), *(("m", span) for span in REFUSED_RANGES)])
async def test_the_fake_refuses_a_range_that_prometheus_refuses(
    both: tuple[PrometheusClient, PrometheusClient], query: str, span: tuple[float, float, float]
) -> None:
    start, end, step = span
    for client in both:
        with pytest.raises(BadQuery):
            await client.query_range(query, start=START + start, end=START + end, step=step)


@pytest.mark.parametrize("name", PRESETS)
async def test_prometheus_takes_the_queries_of_every_preset(
    both: tuple[PrometheusClient, PrometheusClient], name: str
) -> None:
    own = {"tflops_query": "sum by (pod) (m) # of all", "vram_query": "n"} if name == "custom" else {}
    preset = choose(name, **own)  # type: ignore[arg-type]  # as settings give them
    _, real = both
    for resource in Resource:
        pods = ["web-0", "a.b"] if restrictable(preset) else []
        await real.query(probe(preset, resource))
        await real.query(raw_query(preset.measure(resource), window=60))
        query = bulk_query(preset, resource, window=60, sample="mean", pods=pods)
        await real.query_range(query, start=START, end=START + 600, step=60)


async def test_windows_of_a_whole_step_hold_each_sample_once_and_shorter_ones_lose_some(
    both: tuple[PrometheusClient, PrometheusClient],
) -> None:
    _, real = both

    async def counted(window: str) -> float:
        query = f"count_over_time(m[{window}])"
        found = await real.query_range(query, start=START, end=START + 900, step=60)
        return sum(sum(series.values) for series in found)

    samples = sum(len(series.times) for series in await real.query("m[1h]", time=START + 900))
    assert await counted("60000ms") == samples
    assert await counted("59999ms") < samples


async def test_the_samples_have_holes_and_ends(both: tuple[PrometheusClient, PrometheusClient]) -> None:
    _, real = both
    found = [
        {series.labels["pod"] for series in await real.query("m", time=START + at)} for at in (299, 301, 880)
    ]
    assert found == [{"a", "b", "c"}, {"a", "c"}, {"a", "c"}]
