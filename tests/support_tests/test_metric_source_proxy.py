import asyncio
import math
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.support.fake_prometheus import FakePrometheus
from tests.support.metric_source_proxy import (
    Matrix,
    MetricSourceProxy,
    Rewrite,
    negated,
    samples_twice,
    series_twice,
    values_become,
)
from tests.support.waiting import until
from vgpu.prometheus import PrometheusClient, PrometheusUnreachable, Series

START = 1_767_225_600.0
MINUTE = 60.0


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[FakePrometheus, MetricSourceProxy]]:
    async with FakePrometheus() as prometheus, MetricSourceProxy(prometheus.url) as proxy:
        for pod in ("a", "b"):
            prometheus.add("m", {"pod": pod}, [(START + MINUTE * index, 1.5 + index) for index in range(3)])
        yield prometheus, proxy


async def read(url: str) -> list[Series]:
    async with PrometheusClient(url) as client:
        return await client.query_range("m", start=START, end=START + 2 * MINUTE, step=MINUTE)


async def ask(proxy: MetricSourceProxy) -> tuple[int, bytes]:
    """What comes over the wire, for a query as a form in the body."""
    form = {"query": "m", "start": str(START), "end": str(START + MINUTE), "step": "60"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{proxy.url}/api/v1/query_range", data=form) as response,
    ):
        return response.status, await response.read()


async def test_a_query_is_answered_as_by_the_real_one() -> None:
    async with proxied() as (prometheus, proxy):
        answer = await read(proxy.url)
        assert answer == await read(prometheus.url)
        assert [one.values for one in answer] == [[1.5, 2.5, 3.5]] * 2


async def test_a_query_in_the_address_and_one_in_the_body_are_recorded_alike() -> None:
    async with proxied() as (_, proxy):
        await ask(proxy)
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{proxy.url}/api/v1/query", params={"query": "m", "time": "0"}) as response,
        ):
            assert response.status == 200
        told = [(each.method, each.path, each.query, each.status) for each in proxy.requests]
        assert told == [("POST", "/api/v1/query_range", "m", 200), ("GET", "/api/v1/query", "m", 200)]


async def test_headers_and_refusals_pass_in_both_directions() -> None:
    async with proxied() as (prometheus, proxy), aiohttp.ClientSession() as session:
        headers = {"X-Scope-OrgID": "team", "Authorization": "Bearer token"}
        async with session.get(f"{proxy.url}/api/v1/query?query=m{{", headers=headers) as response:
            assert response.status == 400
            assert (await response.json())["errorType"] == "bad_data"
        arrived = prometheus.requests[-1].headers
        assert {name: arrived.get(name) for name in headers} == headers


async def test_a_compressed_answer_stays_compressed() -> None:
    async with (
        proxied() as (_, proxy),
        aiohttp.ClientSession(auto_decompress=False, headers={"Accept-Encoding": "gzip"}) as session,
        session.get(f"{proxy.url}/api/v1/query", params={"query": "m"}) as response,
    ):
        assert response.headers["Content-Encoding"] == "gzip"
        assert b'"success"' in zlib.decompress(await response.read(), wbits=31)


async def test_connections_are_kept_alive() -> None:
    made = 0

    async def count(*_: object) -> None:
        nonlocal made
        made += 1

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_create_end.append(count)
    async with proxied() as (_, proxy), aiohttp.ClientSession(trace_configs=[tracing]) as session:
        for _ in range(3):
            async with session.get(f"{proxy.url}/api/v1/query?query=m") as response:
                assert response.status == 200
                await response.read()
    assert made == 1


async def test_while_it_is_down_connections_are_refused_and_afterwards_all_is_as_before() -> None:
    async with proxied() as (_, proxy):
        url = proxy.url
        await proxy.go_down()
        with pytest.raises(PrometheusUnreachable):
            await read(url)
        await proxy.come_up()
        assert proxy.url == url
        assert len(await read(url)) == 2


async def test_going_down_breaks_off_what_is_under_way() -> None:
    async with proxied() as (_, proxy):
        proxy.misbehave(delay=60)
        async with aiohttp.ClientSession() as session:
            asking = asyncio.create_task(session.get(f"{proxy.url}/api/v1/query?query=m"))
            await until(lambda: proxy.held == 1, what="the request is held back")
            assert proxy.requests == []
            await proxy.go_down()
            with pytest.raises(aiohttp.ClientError):
                await asking


async def test_an_error_is_answered_without_asking_the_real_one() -> None:
    async with proxied() as (prometheus, proxy):
        proxy.misbehave(status=500)
        assert (await ask(proxy))[0] == 500
        assert prometheus.requests == []
        proxy.behave()
        assert (await ask(proxy))[0] == 200


async def test_a_truncated_answer_looks_whole_but_is_half() -> None:
    async with proxied() as (_, proxy):
        _, whole = await ask(proxy)
        proxy.misbehave(truncated=True)
        status, half = await ask(proxy)
        assert status == 200
        assert half == whole[: len(whole) // 2]


async def test_an_answer_that_was_held_back_is_the_real_one() -> None:
    async with proxied() as (prometheus, proxy):
        proxy.misbehave(delay=0.01)
        assert await read(proxy.url) == await read(prometheus.url)
        assert proxy.held == 0


def values(answer: list[Series]) -> list[list[float]]:
    return [one.values for one in answer]


@pytest.mark.parametrize(
    ("rewrite", "expected"),
    [
        (values_become("1e30"), [[1e30] * 3] * 2),
        (values_become("+Inf"), [[math.inf] * 3] * 2),
        (negated, [[-1.5, -2.5, -3.5]] * 2),
        (series_twice, [[1.5, 2.5, 3.5]] * 4),
        (samples_twice, [[1.5, 1.5, 2.5, 2.5, 3.5, 3.5]] * 2),
    ],
)
async def test_what_a_range_query_gives_can_be_made_a_lie(
    rewrite: Rewrite, expected: list[list[float]]
) -> None:
    async with proxied() as (_, proxy):
        proxy.misbehave(rewrite=rewrite)
        assert values(await read(proxy.url)) == expected


async def test_values_can_be_made_no_numbers() -> None:
    async with proxied() as (_, proxy):
        proxy.misbehave(rewrite=values_become("NaN"))
        assert all(math.isnan(value) for one in await read(proxy.url) for value in one.values)


async def test_only_range_queries_that_succeed_are_rewritten() -> None:
    def never(matrix: Matrix) -> Matrix:
        raise AssertionError("there is no matrix to rewrite")

    async with proxied() as (_, proxy):
        proxy.misbehave(rewrite=never)
        async with PrometheusClient(proxy.url) as client:
            assert await client.query("m", time=START) != []
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{proxy.url}/api/v1/query_range?query=m") as response,
        ):
            assert response.status == 400


async def test_a_real_one_that_is_down_is_told_as_a_proxy_tells_it() -> None:
    async with proxied() as (prometheus, proxy):
        await prometheus.stop()
        assert (await ask(proxy))[0] == 502
        await prometheus.start()
        assert (await ask(proxy))[0] == 200
