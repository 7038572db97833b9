"""HTTP servers of the services: the plain one for operators, the TLS one for kube-apiserver, and signals."""

import asyncio
import errno
import os
import signal
import ssl
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import ClassVar, Self

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry

from vgpu.errors import StartupError
from vgpu.scraping import Exposition, metrics

log = structlog.get_logger(__name__)


class ServingError(StartupError):
    """A server cannot listen where its settings say."""

    def __init__(self, *, host: str, port: int, settings: tuple[str, str], error: OSError) -> None:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        port_is_wrong = error.errno in {errno.EADDRINUSE, errno.EACCES}
        setting, value = (settings[1], port) if port_is_wrong else (settings[0], host)
        super().__init__(
            f"cannot listen on {host}:{port}: {reason.lower()}; "
            f"set {setting!r} (now {value!r}) to one that is free and allowed"
        )
        self.port = port


class _Server:
    """An aiohttp application on one socket, started and stopped as an async context manager."""

    settings: ClassVar[tuple[str, str]] = ("host", "port")
    """The names of the settings that hold its host and port, for the error when it cannot listen."""

    def __init__(
        self,
        app: web.Application,
        *,
        host: str,
        port: int,
        ssl_context: ssl.SSLContext | None,
        shutdown_timeout: float,
    ) -> None:
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=shutdown_timeout
        )
        self._host = host
        self._port = port
        self._ssl_context = ssl_context

    @property
    def port(self) -> int:
        """The port it listens on; where the setting is 0, the one that was taken."""
        addresses = self._runner.addresses
        return int(addresses[0][1]) if addresses else self._port

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, ssl_context=self._ssl_context, backlog=1024)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise ServingError(
                host=self._host, port=self._port, settings=self.settings, error=error
            ) from error
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._runner.cleanup()


class OpsServer(_Server):
    """Plain HTTP for operators: /metrics, /healthz (the process answers), /readyz (it can do its work)."""

    settings: ClassVar[tuple[str, str]] = ("ops_host", "ops_port")

    def __init__(
        self,
        *,
        host: str,
        port: int,
        registry: CollectorRegistry,
        not_ready: Callable[[], Sequence[str]],
        more: Exposition | None = None,
    ) -> None:
        """Make the server; nothing listens before `async with`.

        Args:
            host: Address to listen on.
            port: Port to listen on; 0 takes a free one.
            registry: What /metrics shows.
            not_ready: Why the service is not ready, a sentence for each reason; empty when it is.
            more: What /metrics shows besides: other families than those of the registry.
        """
        app = web.Application()
        app.router.add_get("/metrics", metrics(registry, more))
        app.router.add_get("/healthz", alive)
        app.router.add_get("/readyz", readiness(not_ready))
        super().__init__(app, host=host, port=port, ssl_context=None, shutdown_timeout=1.0)


class HttpsServer(_Server):
    """An application over TLS. Leaving it closes idle connections and lets answers in flight finish."""

    def __init__(
        self,
        app: web.Application,
        *,
        host: str,
        port: int,
        ssl_context: ssl.SSLContext,
        shutdown_timeout: float = 10.0,
    ) -> None:
        """Make the server; nothing listens before `async with`.

        Args:
            app: What is served.
            host: Address to listen on.
            port: Port to listen on; 0 takes a free one.
            ssl_context: Certificate and protocol versions (`certificates.server_context`).
            shutdown_timeout: Seconds that answers in flight get to finish.
        """
        super().__init__(
            app, host=host, port=port, ssl_context=ssl_context, shutdown_timeout=shutdown_timeout
        )


async def run_until_signal(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run a service; SIGTERM or SIGINT sets the event that asks it to finish, a second one ends it at once.

    Args:
        main: The service: returns soon after its event is set.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)

    def ask_to_stop(number: signal.Signals) -> None:
        log.info("stopping", signal=number.name)
        stop.set()
        release()

    def release() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, ask_to_stop, number)
    try:
        await main(stop)
    finally:
        release()


async def alive(request: web.Request) -> web.Response:
    """Says that the process answers."""
    del request
    return web.Response(text="ok\n")


def readiness(not_ready: Callable[[], Sequence[str]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    """A handler that says whether the service can do its work: 503 with the reasons while it cannot.

    Args:
        not_ready: Why not, a sentence for each reason; asked anew with each request.
    """

    async def ready(request: web.Request) -> web.Response:
        del request
        reasons = not_ready()
        if reasons:
            return web.Response(status=503, text="".join(f"not ready: {reason}\n" for reason in reasons))
        return web.Response(text="ok\n")

    return ready
