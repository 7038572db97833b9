"""A client of the Prometheus HTTP API, which Thanos, Mimir, VictoriaMetrics and GreptimeDB speak as well."""

import asyncio
import os
import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import structlog

from vgpu.prometheus_answers import (
    AnswerTooLarge,
    BadAnswer,
    BadQuery,
    PrometheusError,
    PrometheusTimeout,
    PrometheusUnreachable,
    Question,
    Series,
    cut,
    series_of,
)

__all__ = [
    "AnswerTooLarge",
    "BadAnswer",
    "BadQuery",
    "PrometheusClient",
    "PrometheusError",
    "PrometheusTimeout",
    "PrometheusUnreachable",
    "Series",
]

log = structlog.get_logger(__name__)

_CHUNK: Final = 1 << 16
_REMEMBERED_WARNINGS: Final = 100


class PrometheusClient:
    """Queries of one server, as an async context manager. It does not repeat a failed query: callers poll."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 10.0,
        max_answer_bytes: int = 256 << 20,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Make a client; nothing is connected before the first query.

        Args:
            url: The server's address up to, and without, /api/v1.
            timeout: Seconds for a whole query, the server's own work included.
            max_answer_bytes: Bytes of an answer, after decompression, that are read at most.
            headers: Sent with every query: X-Scope-OrgID, for instance.
        """
        self._url = url.rstrip("/")
        self._shown_url = re.sub(r"//[^/@]*@", "//", self._url)
        self._timeout = timeout
        self._max_answer_bytes = max_answer_bytes
        self._headers = dict(headers or {})
        self._method = "POST"
        self._warned: set[str] = set()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers=self._headers, timeout=aiohttp.ClientTimeout(total=self._timeout), auto_decompress=True
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def query(self, promql: str, *, time: float | None = None) -> list[Series]:
        """Ask for the values at one time.

        Args:
            promql: The query. Of a plain one, each series has one point; of a range selector (`x[5m]`), the
                raw samples with their own times.
            time: Epoch seconds; None is the server's now.

        Raises:
            PrometheusError: One of its tree; each names the server and the query.
        """
        form = {"query": promql} if time is None else {"query": promql, "time": _number(time)}
        return await self._series("query", form)

    async def query_range(self, promql: str, *, start: float, end: float, step: float) -> list[Series]:
        """Ask for the values at start, start + step, ... up to end.

        Args:
            promql: The query.
            start: Epoch seconds of the first point.
            end: Epoch seconds that no point lies after.
            step: Seconds between two points.

        Raises:
            PrometheusError: One of its tree; each names the server and the query.
        """
        form = {"query": promql, "start": _number(start), "end": _number(end), "step": _number(step)}
        return await self._series("query_range", form)

    async def require_valid(self, promql: str, *, setting: str) -> None:
        """Have the server parse a query that a person wrote.

        Args:
            promql: The query.
            setting: The setting that holds it.

        Raises:
            BadQuery: The server refuses it; the message names the setting and repeats the server's reason.
            PrometheusError: Nothing can be said about the query, the server being away or ill.
        """
        try:
            await self.query(promql)
        except BadQuery as error:
            raise BadQuery(f"setting {setting!r}: {error}", query=promql, reason=error.reason) from error

    async def _series(self, endpoint: str, form: dict[str, str]) -> list[Series]:
        question = Question(f"{self._shown_url}/api/v1/{endpoint}", form["query"])
        status, location, body = await self._ask(endpoint, form, question)
        if 300 <= status < 400:
            raise BadAnswer(
                question.told(f"redirects to {location or 'elsewhere'}; give that server's address")
            )
        # In a thread: ten thousand series take a third of a second, in which a service must answer too.
        series, warnings = await asyncio.to_thread(series_of, body, status=status, question=question)
        self._warn(warnings, question)
        return series

    async def _ask(
        self, endpoint: str, form: dict[str, str], question: Question
    ) -> tuple[int, str | None, bytes]:
        try:
            status, location, body = await self._send(endpoint, form, question)
            if status == 405 and self._method == "POST":
                self._method = "GET"
                status, location, body = await self._send(endpoint, form, question)
        except TimeoutError as error:
            raise PrometheusTimeout(question.told(f"did not answer within {self._timeout:g} s")) from error
        except (aiohttp.ClientError, OSError) as error:
            raise PrometheusUnreachable(question.told(f"cannot be reached: {_reason(error)}")) from error
        return status, location, body

    async def _send(
        self, endpoint: str, form: dict[str, str], question: Question
    ) -> tuple[int, str | None, bytes]:
        if self._session is None:
            raise RuntimeError("a PrometheusClient is used inside `async with`")
        where = {"data": form} if self._method == "POST" else {"params": form}
        # A redirected POST would lose its form, so redirects are shown to the person who set the address.
        options: dict[str, Any] = {**where, "allow_redirects": False}
        url = f"{self._url}/api/v1/{endpoint}"
        async with self._session.request(self._method, url, **options) as response:
            body = bytearray()
            async for chunk in response.content.iter_chunked(_CHUNK):
                body += chunk
                if len(body) > self._max_answer_bytes:
                    text = f"gave more than {self._max_answer_bytes} bytes; make the query select less"
                    raise AnswerTooLarge(question.told(text))
            return response.status, response.headers.get("Location"), bytes(body)

    def _warn(self, warnings: list[str], question: Question) -> None:
        for warning in warnings:
            if warning not in self._warned and len(self._warned) < _REMEMBERED_WARNINGS:
                self._warned.add(warning)
                query, url = cut(question.query), question.url
                log.warning("metric source warns", warning=warning, query=query, url=url)


def _reason(error: Exception) -> str:
    code = error.errno if isinstance(error, OSError) else None
    if code is not None and code > 0:
        return os.strerror(code)
    return str(error) or type(error).__name__


def _number(value: float) -> str:
    """A time or step with the millisecond that Prometheus keeps, never in exponent notation."""
    return f"{value:.3f}"
