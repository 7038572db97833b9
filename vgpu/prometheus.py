"""A client of the Prometheus HTTP API, which Thanos, Mimir, VictoriaMetrics and GreptimeDB speak as well."""
# ruff: noqa: N818 - the errors are named by what happened

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Final, Self, TypeVar

import aiohttp
import msgspec
import structlog

from vgpu.errors import AutoscalerError, ExitCode

log = structlog.get_logger(__name__)

_CHUNK: Final = 1 << 16
_REMEMBERED_WARNINGS: Final = 100
_TEXT_IN_ERRORS: Final = 300
T = TypeVar("T")


class PrometheusError(AutoscalerError):
    """The metric source did not give an answer that can be used."""

    exit_code: ClassVar[int] = ExitCode.METRIC_SOURCE


class PrometheusUnreachable(PrometheusError):
    """No connection, or one that broke off."""


class PrometheusTimeout(PrometheusError):
    """No whole answer in time."""


class BadQuery(PrometheusError):
    """The server understood the request and refuses the query: asking again will not help."""

    def __init__(self, message: str, *, query: str, reason: str) -> None:
        super().__init__(message)
        self.query = query
        self.reason = reason


class AnswerTooLarge(PrometheusError):
    """The answer has more bytes than are read into memory."""


class BadAnswer(PrometheusError):
    """An answer that is an error of the server, or not what the API promises."""


@dataclass(frozen=True, slots=True)
class Series:
    """One time series: its labels, times (epoch seconds, rising) and as many values (NaN, infinities too)."""

    labels: Mapping[str, str]
    times: list[float]
    values: list[float]


class _Answer(msgspec.Struct):
    status: str
    data: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""
    error_type: str = msgspec.field(default="", name="errorType")
    warnings: list[str] = []


class _Data(msgspec.Struct):
    kind: str = msgspec.field(name="resultType")
    result: msgspec.Raw


_Point = tuple[float, str]


class _VectorItem(msgspec.Struct):
    metric: dict[str, str]
    value: _Point | None = None
    """Missing where the sample is a native histogram."""


class _MatrixItem(msgspec.Struct):
    metric: dict[str, str]
    values: list[_Point] = []


_ANSWER: Final = msgspec.json.Decoder(_Answer)
_DATA: Final = msgspec.json.Decoder(_Data)
_VECTOR: Final = msgspec.json.Decoder(list[_VectorItem])
_MATRIX: Final = msgspec.json.Decoder(list[_MatrixItem])
_SCALAR: Final = msgspec.json.Decoder(_Point)


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
        asked = f"{self._shown_url}/api/v1/{endpoint} asked for {_cut(form['query'])!r}"
        status, location, body = await self._ask(endpoint, form, asked)
        if 300 <= status < 400:
            raise BadAnswer(f"{asked} redirects to {location or 'elsewhere'}; give that server's address")
        answer = _decode(_ANSWER, body, asked, status=status)
        if answer.status != "success" or status >= 400:
            raise _refusal(answer, status=status, asked=asked, query=form["query"])
        self._warn(answer.warnings, form["query"])
        data = _decode(_DATA, answer.data, asked, status=status)
        return _to_series(data, asked)

    async def _ask(self, endpoint: str, form: dict[str, str], asked: str) -> tuple[int, str | None, bytes]:
        try:
            status, location, body = await self._send(endpoint, form, asked)
            if status == 405 and self._method == "POST":
                self._method = "GET"
                status, location, body = await self._send(endpoint, form, asked)
        except TimeoutError as error:
            raise PrometheusTimeout(f"{asked} did not answer within {self._timeout:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise PrometheusUnreachable(f"{asked} cannot be reached: {reason}") from error
        return status, location, body

    async def _send(self, endpoint: str, form: dict[str, str], asked: str) -> tuple[int, str | None, bytes]:
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
                    raise AnswerTooLarge(
                        f"{asked} gave more than {self._max_answer_bytes} bytes; make the query select less"
                    )
            return response.status, response.headers.get("Location"), bytes(body)

    def _warn(self, warnings: list[str], query: str) -> None:
        for warning in warnings:
            if warning not in self._warned and len(self._warned) < _REMEMBERED_WARNINGS:
                self._warned.add(warning)
                log.warning("metric source warns", warning=warning, query=_cut(query), url=self._shown_url)


def _refusal(answer: _Answer, *, status: int, asked: str, query: str) -> PrometheusError:
    reason = answer.error or answer.error_type or "no reason given"
    if answer.error_type == "timeout":
        return PrometheusTimeout(f"{asked} gave up: {reason}")
    if status == 400 or answer.error_type == "bad_data":
        return BadQuery(f"{asked} refuses the query: {reason}", query=query, reason=reason)
    return BadAnswer(f"{asked} failed (HTTP {status}): {reason}")


def _to_series(data: _Data, asked: str) -> list[Series]:
    try:
        if data.kind == "matrix":
            return [_of_points(item.metric, item.values) for item in _decode(_MATRIX, data.result, asked)]
        if data.kind == "vector":
            items = _decode(_VECTOR, data.result, asked)
            return [_of_points(item.metric, [item.value]) for item in items if item.value is not None]
        if data.kind == "scalar":
            return [_of_points({}, [_decode(_SCALAR, data.result, asked)])]
    except ValueError as error:
        raise BadAnswer(f"{asked} gave a value that is not a number: {error}") from error
    raise BadAnswer(f"{asked} answered with a {data.kind}; a query must give numbers")


def _of_points(labels: dict[str, str], points: list[_Point]) -> Series:
    # float() reads Go's NaN, +Inf and -Inf too.
    return Series(labels, [point[0] for point in points], [float(point[1]) for point in points])


def _decode(
    decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw, asked: str, *, status: int = 200
) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        beginning = _cut(bytes(memoryview(body)[:_TEXT_IN_ERRORS]).decode("utf-8", "replace"))
        raise BadAnswer(
            f"{asked} gave no answer of the Prometheus API (HTTP {status}): {error}; it begins {beginning!r}"
        ) from error


def _number(value: float) -> str:
    """A time or step with the millisecond that Prometheus keeps, never in exponent notation."""
    return f"{value:.3f}"


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_IN_ERRORS else f"{text[:_TEXT_IN_ERRORS]}..."
