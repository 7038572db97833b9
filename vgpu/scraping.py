"""/metrics: a registry, and what is too much for one, sent as it is made while everything else goes on."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Final

import structlog
from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

Exposition = Callable[[], Iterable[bytes]]
"""Gives families in Prometheus' text format 0.0.4, in chunks that take some milliseconds each; called, and
iterated, in threads."""

# Of 170 MB about 15 remain, for as much time again as making and sending them; better levels take far longer.
_LEVEL: Final = 1
_GZIP: Final = 31

# Each holds a copy of what it shows until it has been sent.
_MOST_AT_ONCE: Final = 4
# Prometheus itself gives up after its scrape timeout, ten seconds unless told otherwise.
_TIMEOUT: Final = 120.0

log = structlog.get_logger(__name__)


def metrics(
    registry: CollectorRegistry, more: Exposition | None = None
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler that answers scrapes, always in the text format 0.0.4.

    Args:
        registry: What is shown.
        more: What is shown besides: other families than those of the registry.
    """
    under_way = 0

    async def scrape(request: web.Request) -> web.StreamResponse:
        nonlocal under_way
        if under_way >= _MOST_AT_ONCE:
            return web.Response(status=503, text=f"{_MOST_AT_ONCE} scrapes are under way already\n")
        under_way += 1
        try:
            async with asyncio.timeout(_TIMEOUT):
                return await _answer(request, registry, more)
        except TimeoutError:
            log.warning("a scrape was given up, it took too long to send", seconds=_TIMEOUT)
            raise
        finally:
            under_way -= 1

    return scrape


async def _answer(
    request: web.Request, registry: CollectorRegistry, more: Exposition | None
) -> web.StreamResponse:
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_PLAIN_0_0_4})
    compressed = "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "")
    if compressed:
        response.headers[hdrs.CONTENT_ENCODING] = "gzip"
    response.headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
    # Gauges of the registry read what belongs to the event loop.
    chunks = _chunks(generate_latest(registry), more)
    if compressed:
        chunks = _compressed(chunks)
    # What goes wrong in this is answered with 500; later on the answer is cut off, so that nobody takes it
    # for a whole one.
    first = await asyncio.to_thread(next, chunks, b"")
    await response.prepare(request)
    if request.method != hdrs.METH_HEAD:
        await _send(response, first, chunks)
    return response


async def _send(response: web.StreamResponse, chunk: bytes, rest: Iterator[bytes]) -> None:
    while chunk:
        await response.write(chunk)
        chunk = await asyncio.to_thread(next, rest, b"")
    await response.write_eof()


def _chunks(first: bytes, more: Exposition | None) -> Iterator[bytes]:
    if first:
        yield first
    if more is not None:
        yield from (chunk for chunk in more() if chunk)


def _compressed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    compressor = zlib.compressobj(_LEVEL, wbits=_GZIP)
    for chunk in chunks:
        if compressed := compressor.compress(chunk):
            yield compressed
    yield compressor.flush()
