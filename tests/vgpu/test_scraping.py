import asyncio
import threading
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.parser import text_string_to_metric_families

from tests.support.waiting import until
from vgpu.scraping import Exposition
from vgpu.serving import OpsServer

IDENTITY = {"Accept-Encoding": "identity"}
GZIP = {"Accept-Encoding": "gzip, deflate"}

MORE = [b"# HELP vgpu_more More\n# TYPE vgpu_more gauge\n", b'vgpu_more{workload="a"} 1\n', b""]


def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    Gauge("vgpu_passes", "Passes", registry=made).set(3)
    return made


@asynccontextmanager
async def serving(more: Exposition | None, *, of: CollectorRegistry | None = None) -> AsyncIterator[str]:
    server = OpsServer(host="127.0.0.1", port=0, registry=of or registry(), not_ready=lambda: (), more=more)
    async with server:
        yield f"http://127.0.0.1:{server.port}"


async def fetch(
    url: str, headers: Mapping[str, str] = IDENTITY, *, decompress: bool = True
) -> tuple[aiohttp.ClientResponse, bytes]:
    async with (
        aiohttp.ClientSession(auto_decompress=decompress) as session,
        session.get(f"{url}/metrics", headers=headers) as response,
    ):
        return response, await response.read()


class Held:
    """An exposition that stops in its middle until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.waiting = 0

    def __call__(self) -> Iterator[bytes]:
        yield MORE[0]
        self.waiting += 1
        self.go.wait(10)
        yield MORE[1]


async def test_the_registry_and_what_there_is_besides_come_as_one_document() -> None:
    async with serving(lambda: MORE) as url:
        response, body = await fetch(url)
    names = [family.name for family in text_string_to_metric_families(body.decode())]
    assert response.status == 200
    assert names == ["vgpu_passes", "vgpu_more"]
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_the_format_is_the_same_for_a_client_that_would_take_another() -> None:
    async with serving(lambda: MORE) as url:
        response, body = await fetch(
            url, {**IDENTITY, "Accept": "application/openmetrics-text;version=1.0.0"}
        )
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b"# EOF" not in body


async def test_a_client_that_takes_gzip_gets_the_same_compressed() -> None:
    async with serving(lambda: MORE) as url:
        _, plain = await fetch(url)
        response, compressed = await fetch(url, GZIP, decompress=False)
    assert response.headers["Content-Encoding"] == "gzip"
    assert zlib.decompress(compressed, wbits=31) == plain


async def test_a_client_that_asks_for_the_head_gets_no_body() -> None:
    async with (
        serving(lambda: MORE) as url,
        aiohttp.ClientSession() as session,
        session.head(f"{url}/metrics") as response,
    ):
        assert response.status == 200
        assert await response.read() == b""


async def test_an_empty_registry_gives_an_empty_document() -> None:
    async with serving(None, of=CollectorRegistry()) as url:
        response, body = await fetch(url)
    assert (response.status, body) == (200, b"")


async def test_probes_are_answered_while_a_scrape_is_under_way() -> None:
    held = Held()
    async with serving(held) as url, aiohttp.ClientSession() as session:
        scrape = asyncio.create_task(fetch(url))
        await until(lambda: held.waiting == 1, what="the scrape is in its middle")
        async with session.get(f"{url}/healthz") as response:
            assert response.status == 200
        held.go.set()
        assert (await scrape)[1].endswith(MORE[1])


async def test_more_scrapes_than_a_few_at_once_are_refused() -> None:
    held = Held()
    async with serving(held) as url:
        scrapes = [asyncio.create_task(fetch(url)) for _ in range(4)]
        await until(lambda: held.waiting == 4, what="four scrapes are in their middle")
        assert (await fetch(url))[0].status == 503
        held.go.set()
        assert [response.status for response, _ in await asyncio.gather(*scrapes)] == [200] * 4
        assert (await fetch(url))[0].status == 200


async def test_what_fails_at_once_is_an_error_and_not_half_of_an_answer() -> None:
    def broken() -> Iterator[bytes]:
        raise ValueError("broken")

    async with serving(broken, of=CollectorRegistry()) as url:
        assert (await fetch(url))[0].status == 500


@pytest.mark.parametrize("headers", [IDENTITY, GZIP])
async def test_what_fails_in_the_middle_is_never_taken_for_a_whole_answer(headers: dict[str, str]) -> None:
    def broken() -> Iterator[bytes]:
        yield MORE[0]
        raise ValueError("broken")

    async with serving(broken) as url:
        with pytest.raises(aiohttp.ClientPayloadError):
            await fetch(url, headers)
