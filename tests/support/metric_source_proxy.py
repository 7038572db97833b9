"""Stands between a service and a real Prometheus, and lets the second one be down, slow, broken or a liar.

async with MetricSourceProxy(prometheus_url) as proxy:
    ...                                             # give proxy.url to the service
    proxy.misbehave(status=500)                     # from the next request on
    proxy.misbehave(rewrite=values_become("NaN"))   # instead of the 500s
    proxy.behave()
    await proxy.go_down()                           # connections are refused
    await proxy.come_up()
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qsl

import aiohttp
import msgspec
from aiohttp import hdrs, web

Matrix = list[dict[str, Any]]
"""The series of a range query, as in the answer: `{"metric": LABELS, "values": [[TIME, TEXT], ...]}`."""

Rewrite = Callable[[Matrix], Matrix]

# Of one connection, not of what goes over it; aiohttp makes them anew for the other one.
_OF_A_CONNECTION: Final = frozenset(
    {"connection", "content-length", "host", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"}
)
_UPSTREAM_TIMEOUT: Final = aiohttp.ClientTimeout(total=120)
_LARGEST_REQUEST: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came, and what was done about it."""

    method: str
    path: str
    form: Mapping[str, str]
    status: int

    @property
    def query(self) -> str:
        """The PromQL."""
        return self.form.get("query", "")


@dataclass(frozen=True, slots=True)
class _Behaviour:
    delay: float = 0.0
    status: int | None = None
    truncated: bool = False
    rewrite: Rewrite | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class MetricSourceProxy:
    """A reverse proxy on the loopback interface; passes everything on until it is told otherwise.

    Args:
        upstream: the address of the real one.
    """

    def __init__(self, upstream: str) -> None:
        self.requests: list[Asked] = []
        """Every request that was answered so far, whatever the answer."""
        self.held = 0
        """How many requests are being held back."""
        self._upstream = upstream.rstrip("/")
        self._behaviour = _Behaviour()
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """The address to give to the service; the same after it was down."""
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(auto_decompress=False, timeout=_UPSTREAM_TIMEOUT)
        await self.come_up()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.go_down()
        if self._session is not None:
            await self._session.close()

    def misbehave(
        self,
        *,
        delay: float = 0.0,
        status: int | None = None,
        truncated: bool = False,
        rewrite: Rewrite | None = None,
    ) -> None:
        """Do this to all answers from now on, and nothing of what was said before.

        Args:
            delay: seconds that each answer is held back.
            status: what is answered instead of asking the real one.
            truncated: whether only the first half of the answer is sent, as if it were all.
            rewrite: what becomes of the series of a range query.
        """
        self._behaviour = _Behaviour(delay, status, truncated, rewrite)

    def behave(self) -> None:
        """Pass everything on as it is."""
        self._behaviour = _Behaviour()

    async def go_down(self) -> None:
        """Be gone: connections are closed, whatever they wait for, and new ones refused."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def come_up(self) -> None:
        """Listen, on the port of before when there was one."""
        app = web.Application(client_max_size=_LARGEST_REQUEST)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # What is under way is broken off at once, as in a crash; no time at all would mean for ever.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]

    async def _handle(self, request: web.Request) -> web.Response:
        behaviour = self._behaviour
        form = dict(request.query) | dict(parse_qsl((await request.read()).decode(errors="replace")))
        if behaviour.delay:
            await self._hold(behaviour.delay)
        answer = await self._answer(request, behaviour)
        self.requests.append(Asked(request.method, request.path, form, answer.status))
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    async def _hold(self, seconds: float) -> None:
        self.held += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self.held -= 1

    async def _answer(self, request: web.Request, behaviour: _Behaviour) -> _Answer:
        if behaviour.status is not None:
            return _Answer(behaviour.status, b"made to fail\n")
        headers = _passed_on(request.headers)
        if behaviour.rewrite is not None or behaviour.truncated:
            # Without this header the answer is not compressed.
            headers = {name: value for name, value in headers.items() if name.lower() != "accept-encoding"}
        answer = await self._forward(request, headers)
        if behaviour.rewrite is not None:
            answer = _rewritten(answer, behaviour.rewrite)
        if behaviour.truncated:
            answer = replace(answer, body=answer.body[: len(answer.body) // 2])
        return answer

    async def _forward(self, request: web.Request, headers: Mapping[str, str]) -> _Answer:
        assert self._session is not None, "it works inside of `async with`"
        try:
            async with self._session.request(
                request.method,
                f"{self._upstream}{request.path_qs}",
                data=await request.read(),
                headers=headers,
                skip_auto_headers=(hdrs.ACCEPT_ENCODING, hdrs.USER_AGENT, hdrs.ACCEPT),
                allow_redirects=False,
            ) as response:
                return _Answer(response.status, await response.read(), _passed_on(response.headers))
        except (aiohttp.ClientError, TimeoutError) as error:
            return _Answer(502, f"the real one does not answer: {error}\n".encode())


def values_become(text: str) -> Rewrite:
    """Every value of every series becomes this one, written as Prometheus writes it: NaN, +Inf, 1e30, -1."""

    def rewrite(matrix: Matrix) -> Matrix:
        return [{**series, "values": [[at, text] for at, _ in series["values"]]} for series in matrix]

    return rewrite


def negated(matrix: Matrix) -> Matrix:
    """Every value with a minus before it."""
    return [{**series, "values": [[at, f"-{text}"] for at, text in series["values"]]} for series in matrix]


def series_twice(matrix: Matrix) -> Matrix:
    """Every series stands there twice, labels and all."""
    return [series for each in matrix for series in (each, each)]


def samples_twice(matrix: Matrix) -> Matrix:
    """Every sample stands in its series twice."""
    return [
        {**series, "values": [sample for each in series["values"] for sample in (each, each)]}
        for series in matrix
    ]


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _OF_A_CONNECTION}


def _rewritten(answer: _Answer, rewrite: Rewrite) -> _Answer:
    if answer.status != 200:
        return answer
    document = msgspec.json.decode(answer.body)
    if not isinstance(document, dict) or document.get("data", {}).get("resultType") != "matrix":
        return answer
    document["data"]["result"] = rewrite(document["data"]["result"])
    return replace(answer, body=msgspec.json.encode(document))
