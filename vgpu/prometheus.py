"""A client of the Prometheus HTTP API, which Thanos, Mimir, VictoriaMetrics and GreptimeDB speak as well."""

import asyncio
from types import TracebackType
from typing import Final, Self

import structlog

from vgpu.prometheus_access import Access
from vgpu.prometheus_answers import (
    AccessError,
    Answer,
    AnswerTooLarge,
    BadAnswer,
    BadQuery,
    PrometheusError,
    PrometheusTimeout,
    PrometheusUnreachable,
    Question,
    Series,
    cut,
    read_answer,
)
from vgpu.prometheus_transport import Limits, PrometheusTransport, without_password

__all__ = [
    "Access",
    "AccessError",
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

_REMEMBERED_WARNINGS: Final = 100
# An answer without the stores that are away just now would look like one of pods that are gone: Thanos and
# VictoriaMetrics are to fail instead. VictoriaMetrics gives the points of the last 30 s as copies of older
# ones unless it is told that data arrive at once; callers wait themselves until samples have arrived.
# Others ignore what they do not know.
_ALWAYS: Final = {"partial_response": "false", "deny_partial_response": "1", "latency_offset": "1ms"}


class PrometheusClient:
    """Queries of one server, as an async context manager.

    What may pass (no connection, too many requests, a server in trouble) is tried again a few times, within
    the one time that a query may take; so is a query after a 401 if its file holds another secret by now. A
    query that follows a failed one is tried only once: callers poll, and ask again by themselves. Redirects
    are not followed, and proxies of the environment are not used.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 10.0,
        retries: int = 0,
        max_answer_bytes: int = 48 << 20,
        access: Access | None = None,
    ) -> None:
        """Make a client; nothing is connected before the first query.

        Args:
            url: The server's address up to, and without, /api/v1.
            timeout: Seconds for a whole query, the server's own work and all attempts included.
            retries: How often a query is tried again at most.
            max_answer_bytes: Bytes of an answer, after decompression, that are read at most.
            access: How the client shows who it is, whom it trusts, and further headers.
        """
        self._transport = PrometheusTransport(
            url.rstrip("/"),
            limits=Limits(seconds=timeout, retries=retries, answer_bytes=max_answer_bytes),
            access=access or Access(),
        )
        self._warned: set[str] = set()

    async def __aenter__(self) -> Self:
        """Read passwords, tokens and certificates.

        Raises:
            AccessError: One of their files is not what it should be; names the file.
        """
        await self._transport.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._transport.close()

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
        question = Question(f"{self._transport.shown_url}/api/v1/{endpoint}", form["query"])
        reply = await self._transport.ask(endpoint, {**form, **_ALWAYS}, question)
        if 300 <= reply.status < 400:
            elsewhere = cut(without_password(reply.location or "elsewhere"))
            raise BadAnswer(question.told(f"redirects to {elsewhere}; give that server's address"))
        try:
            # In a thread: ten thousand series take 30 ms, in which a service must answer too.
            answer = await asyncio.to_thread(read_answer, reply.body, status=reply.status, question=question)
        except PrometheusError as error:
            if reply.retry_after is not None:
                error.halving_helps = False
            raise
        self._tell(answer, question)
        return answer.series

    def _tell(self, answer: Answer, question: Question) -> None:
        query, url = cut(question.query), question.url
        for warning in map(cut, answer.warnings):
            if self._is_new(warning):
                log.warning("metric source warns", warning=warning, query=query, url=url)
        for info in map(cut, answer.infos):
            if self._is_new(info):
                log.info("metric source remarks", info=info, query=query, url=url)

    def _is_new(self, warning: str) -> bool:
        if warning in self._warned or len(self._warned) >= _REMEMBERED_WARNINGS:
            return False
        self._warned.add(warning)
        return True


def _number(value: float) -> str:
    """A time or step with the millisecond that Prometheus keeps, never in exponent notation."""
    return f"{value:.3f}"
