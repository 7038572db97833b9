"""A Prometheus of one's own on the loopback interface: stores samples, evaluates time, fails on demand.

Usage:
    async with FakePrometheus(clock=lambda: 1_000.0) as prometheus:
        prometheus.add("tf_worker_usage_memory_bytes", {"pod": "a"}, [(940, 1.0), (1000, 2.0)])
        client = PrometheusClient(prometheus.url)
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

import msgspec
from aiohttp import web

from tests.support.promql import (
    STALE,
    InstantVector,
    Labels,
    Points,
    RangeSelector,
    StoredSeries,
    Subquery,
    steps,
)
from tests.support.promql_parser import ParseError, parse

MOST_POINTS = 11_000
"""Prometheus' own bound of points of a series in one answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrived."""

    endpoint: str
    method: str
    form: Mapping[str, str]
    headers: Mapping[str, str]

    @property
    def query(self) -> str:
        """The PromQL."""
        return self.form.get("query", "")


@dataclass(frozen=True, slots=True)
class _Canned:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class _RefusedError(Exception):
    """A request that Prometheus answers with 400 bad_data."""


class FakePrometheus:
    """The server. Everything about it may be changed while it runs."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.requests: list[Request] = []
        """Every request so far, those that were made to fail too."""
        self.delay = 0.0
        """Seconds that each answer is held back."""
        self.warnings: list[str] = []
        """Sent with each answer."""
        self.allow_post = True
        """Whether POST is answered; some proxies say 405."""
        self._clock = clock
        self._store: dict[Labels, StoredSeries] = {}
        self._canned: deque[_Canned | None] = deque()
        self._runner: web.AppRunner | None = None
        self._stopping = asyncio.Event()
        self._port = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """The address to give to a client; the same after a stop and a start."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listen, on the port of before when there was one."""
        app = web.Application()
        app.router.add_route("*", "/api/v1/{endpoint:query|query_range}", self._handle)
        self._stopping.clear()
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Be gone: connections are refused until the next start. Samples stay."""
        self._stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def add(self, name: str, labels: Mapping[str, str], samples: Iterable[tuple[float, float]]) -> None:
        """Store samples (epoch seconds, value) of a series; NaN and infinities are values like others."""
        series = self._store.setdefault(_key(name, labels), StoredSeries())
        for at, value in samples:
            series.add(at, value)

    def end(self, name: str, labels: Mapping[str, str], at: float) -> None:
        """Mark the series as gone from a time on, as a scrape does when its target stops showing it."""
        self._store.setdefault(_key(name, labels), StoredSeries()).add(at, STALE)

    def clear(self) -> None:
        """Forget all samples."""
        self._store.clear()

    def answer_next(self, status: int, body: bytes, *, headers: Mapping[str, str] | None = None) -> None:
        """Give exactly this to one of the next requests, in the order of the calls."""
        self._canned.append(_Canned(status, body, headers or {}))

    def fail_next(self, *statuses: int) -> None:
        """Answer the next requests with these statuses, as a proxy or a server that is starting would."""
        for status in statuses:
            self.answer_next(status, b"Service Unavailable\n", headers={"Content-Type": "text/plain"})

    def truncate_next(self) -> None:
        """Cut the next answer off in its middle; its length pretends that it is whole."""
        self._canned.append(None)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        form = dict(request.query)
        form.update({key: str(value) for key, value in (await request.post()).items()})
        endpoint = request.match_info["endpoint"]
        self.requests.append(Request(endpoint, request.method, form, dict(request.headers)))
        if self.delay:
            await self._hold()
        if request.method != "GET" and not (request.method == "POST" and self.allow_post):
            return web.Response(status=405)
        canned = self._canned.popleft() if self._canned else False
        if isinstance(canned, _Canned):
            return web.Response(status=canned.status, body=canned.body, headers=canned.headers)
        response = self._answer(endpoint, form)
        if canned is None and isinstance(response.body, bytes):
            response.body = response.body[: len(response.body) // 2]
        response.enable_compression()
        return response

    async def _hold(self) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), self.delay)
        except TimeoutError:
            return

    def _answer(self, endpoint: str, form: Mapping[str, str]) -> web.Response:
        try:
            data = self._instant(form) if endpoint == "query" else self._range(form)
        except (_RefusedError, ParseError) as error:
            prefix = 'invalid parameter "query": ' if isinstance(error, ParseError) else ""
            return _json(
                {"status": "error", "errorType": "bad_data", "error": f"{prefix}{error}"}, status=400
            )
        answer: dict[str, Any] = {"status": "success", "data": data}
        if self.warnings:
            answer["warnings"] = self.warnings
        return _json(answer)

    def _instant(self, form: Mapping[str, str]) -> dict[str, Any]:
        expression = parse(form.get("query", ""))
        at = _float(form, "time") if "time" in form else round(self._clock(), 3)
        if isinstance(expression, RangeSelector | Subquery):
            return _matrix(expression.raw(self._store, at))
        values = expression.at(self._store, at)
        result = [{"metric": dict(labels), "value": _point(at, value)} for labels, value in values.items()]
        return {"resultType": "vector", "result": result}

    def _range(self, form: Mapping[str, str]) -> dict[str, Any]:
        start, end, step = (_float(form, name) for name in ("start", "end", "step"))
        _check_range(start, end, step)
        expression = parse(form.get("query", ""))
        if isinstance(expression, RangeSelector | Subquery):
            raise ParseError(
                'invalid expression type "range vector" for range query, must be Scalar or instant Vector'
            )
        return _matrix(self._evaluate(expression, start, end, step).items())

    def _evaluate(
        self, expression: InstantVector, start: float, end: float, step: float
    ) -> dict[Labels, Points]:
        found: dict[Labels, Points] = {}
        for at in steps(start, end, step):
            for labels, value in expression.at(self._store, at).items():
                found.setdefault(labels, []).append((at, value))
        return found


def _check_range(start: float, end: float, step: float) -> None:
    if end < start:
        raise _RefusedError('invalid parameter "end": end timestamp must not be before start time')
    if step <= 0:
        raise _RefusedError(
            'invalid parameter "step": zero or negative query resolution step widths are not accepted. '
            "Try a positive integer"
        )
    if (end - start) / step > MOST_POINTS:
        raise _RefusedError(
            "exceeded maximum resolution of 11,000 points per timeseries. "
            "Try decreasing the query resolution (?step=XX)"
        )


def _float(form: Mapping[str, str], name: str) -> float:
    try:
        return float(form[name])
    except (KeyError, ValueError) as error:
        raise _RefusedError(
            f'invalid parameter "{name}": cannot parse "{form.get(name, "")}" to a valid timestamp'
        ) from error


def _key(name: str, labels: Mapping[str, str]) -> Labels:
    return tuple(sorted({"__name__": name, **labels}.items()))


def _matrix(found: Iterable[tuple[Labels, Points]]) -> dict[str, Any]:
    result = [
        {"metric": dict(labels), "values": [_point(at, value) for at, value in points]}
        for labels, points in found
    ]
    return {"resultType": "matrix", "result": result}


def _point(at: float, value: float) -> tuple[float, str]:
    return at, _text(value)


def _text(value: float) -> str:
    """A value as Go writes it: NaN, +Inf, -Inf, and numbers without an exponent."""
    special = {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}.get(repr(float(value)))
    return special or f"{Decimal(repr(float(value))):f}".removesuffix(".0")


def _json(body: Mapping[str, Any], *, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json")
