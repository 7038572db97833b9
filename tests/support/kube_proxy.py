"""Stands between a service and a real kube-apiserver: writes down what is written, and holds requests back.

async with KubeProxy(cluster.kubeconfig) as proxy:
    proxy.write_kubeconfig(path)                        # for the service
    hold = proxy.hold(lambda request: request.writes and request.name.endswith("-1"))
    await hold.reached.wait()                           # the request is here, and the service waits for it
    ...                                                 # kill the service
    hold.drop()                                         # kube-apiserver never gets it
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiohttp
import msgspec
import yaml
from aiohttp import hdrs, web
from yarl import URL

from vgpu.kube.credentials import Credentials

# Of one connection, not of what goes over it; aiohttp makes them anew for the other one.
_OF_A_CONNECTION: Final = frozenset(
    {"connection", "content-length", "host", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"}
)
_NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None)
_LARGEST_REQUEST: Final = 8 << 20
_LONGEST_HOLD: Final = 60.0


@dataclass(slots=True, eq=False)
class KubeRequest:
    """A request as it came.

    Attributes:
        at: when, seconds of the monotonic clock.
        method: HTTP's.
        path: without the query.
        body: what was sent.
        status: of the answer; None while there is none.
    """

    at: float
    method: str
    path: str
    body: bytes
    status: int | None = None

    @property
    def writes(self) -> bool:
        """Whether it changes something. A question about permissions does not."""
        return self.method != "GET" and "selfsubjectaccessreviews" not in self.path

    @property
    def name(self) -> str:
        """The name of the object that is written, be it in the path or only in the body."""
        try:
            document = msgspec.json.decode(self.body)
            return str(document["metadata"]["name"])
        except (msgspec.DecodeError, KeyError, TypeError):
            return self.path.rsplit("/", 1)[-1]


Matches = Callable[[KubeRequest], bool]


@dataclass(slots=True, eq=False)
class Hold:
    """Holds the first request that matches, until it is let go or dropped.

    Attributes:
        matches: which request.
        answered: whether kube-apiserver gets it, and only its answer is held back.
        reached: set when a request is held.
    """

    matches: Matches
    answered: bool = False
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    _dropped: bool = False
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    def let_go(self) -> None:
        """Let the request, or its answer, go on."""
        self._over.set()

    def drop(self) -> None:
        """Let it go nowhere."""
        self._dropped = True
        self._over.set()

    async def passes(self) -> bool:
        """Hold a request; whether it may go on then."""
        self.reached.set()
        async with asyncio.timeout(_LONGEST_HOLD):
            await self._over.wait()
        return not self._dropped


class KubeProxy:
    """A reverse proxy on the loopback interface, with the rights of a kubeconfig's user.

    Args:
        kubeconfig: of the real one.
    """

    def __init__(self, kubeconfig: Path) -> None:
        self.requests: list[KubeRequest] = []
        """Every request so far, in the order in which they came."""
        self._kubeconfig = kubeconfig
        self._hold: Hold | None = None
        self._server = ""
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        credentials = await Credentials.load(self._kubeconfig)
        self._server = credentials.server
        connector = aiohttp.TCPConnector(ssl=credentials.ssl_context or True, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False, timeout=_NO_TIMEOUT)
        app = web.Application(client_max_size=_LARGEST_REQUEST)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # Watches never end by themselves; and no timeout at all is what aiohttp takes 0 for.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    def write_kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig for the service; the path."""
        cluster = {"server": f"http://127.0.0.1:{self._port}"}
        named = {
            "clusters": [{"name": "proxy", "cluster": cluster}],
            "users": [{"name": "proxy", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
        }
        path.write_text(
            yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": "proxy", **named})
        )
        return path

    def hold(self, matches: Matches, *, answered: bool = False) -> Hold:
        """Hold the next request that matches, or only its answer, in place of what was said before."""
        self._hold = Hold(matches, answered)
        return self._hold

    def writes_since(self, at: float) -> list[KubeRequest]:
        """The writes that came after a time of the monotonic clock, refused ones too."""
        return [request for request in self.requests if request.writes and request.at > at]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        seen = KubeRequest(time.monotonic(), request.method, request.path, await request.read())
        self.requests.append(seen)
        hold = self._held(seen)
        if hold is not None and not hold.answered and not await hold.passes():
            return _gone(request)
        return await self._forward(request, seen, hold)

    def _held(self, seen: KubeRequest) -> Hold | None:
        hold = self._hold
        if hold is None or hold.reached.is_set() or not hold.matches(seen):
            return None
        return hold

    async def _forward(
        self, request: web.Request, seen: KubeRequest, hold: Hold | None
    ) -> web.StreamResponse:
        assert self._session is not None, "it works inside of `async with`"
        async with self._session.request(
            request.method,
            URL(f"{self._server}{request.raw_path}", encoded=True),
            data=seen.body or None,
            headers=_passed_on(request),
            allow_redirects=False,
        ) as answer:
            seen.status = answer.status
            if hold is not None and hold.answered and not await hold.passes():
                return _gone(request)
            response = web.StreamResponse(status=answer.status, headers=_passed_on(answer))
            with suppress(ConnectionResetError):  # whoever asked has been killed
                await response.prepare(request)
                async for piece in answer.content.iter_any():
                    await response.write(piece)
                await response.write_eof()
            return response


def _gone(request: web.Request) -> web.Response:
    """No answer at all: the connection ends."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)


def _passed_on(message: web.Request | aiohttp.ClientResponse) -> dict[str, str]:
    headers = {name: value for name, value in message.headers.items() if name.lower() not in _OF_A_CONNECTION}
    headers.pop(hdrs.EXPECT, None)
    return headers
