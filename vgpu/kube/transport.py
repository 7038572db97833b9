"""HTTP to kube-apiserver: one session, a timeout on everything, typed errors, bounded retries."""

import ipaddress
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import structlog
from aiohttp.abc import AbstractStreamWriter
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)
from yarl import URL

from vgpu.kube.contact import Contact
from vgpu.kube.credentials import Credentials
from vgpu.kube.errors import (
    ApiError,
    ApiUnreachable,
    BadAnswer,
    KubeError,
    ServerFailure,
    Throttled,
    Unauthorized,
    error_from_answer,
)

JSON = "application/json"
_ATTEMPTS = 4
_LONGEST_RETRY_AFTER = 30.0
# etcd holds at most 1.5 MiB an object by default; far above that, it is not a watch event.
_LONGEST_LINE = 64 * 1024**2

_log = structlog.get_logger(__name__)
_backoff = wait_random_exponential(multiplier=0.2, max=5)


def allow() -> None:
    """Let a request be sent."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request: HTTP method, URL path and what goes with it."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = JSON
    accept: str = JSON
    check: Callable[[], None] = allow
    """Called before every time that this is sent, and again when a connection is there; its error ends it."""

    @property
    def idempotent(self) -> bool:
        """Whether sending it twice does no more than sending it once."""
        return self.method != "POST"


class Transport:
    """Sends calls to one kube-apiserver."""

    def __init__(self, credentials: Credentials, *, user_agent: str, timeout: float) -> None:
        self.credentials = credentials
        self.timeout = timeout
        self.contact = Contact()
        self._limits = aiohttp.ClientTimeout(total=timeout)
        # Asked once: aiohttp's own `trust_env` asks two threads with every request.
        self._proxy = _proxy_of_environment(credentials.server)
        self._session = aiohttp.ClientSession(
            headers={"User-Agent": user_agent}, cookie_jar=aiohttp.DummyCookieJar()
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def send(self, call: Call) -> bytes:
        """The body of a successful answer; retried, a bounded number of times, where that is safe.

        Raises:
            KubeError: after the last attempt.
        """
        try:
            return await self._send_with_fresh_credentials(call)
        except KubeError as error:
            if not _worth_retrying(call, error):
                raise
            return await self._send_again(call, error)

    async def send_once(self, call: Call, *, timeout: float) -> bytes:
        """The body of a successful answer within `timeout` seconds, without a second attempt."""
        return await self._send(call, aiohttp.ClientTimeout(total=timeout))

    async def lines(self, call: Call, *, silence: float) -> AsyncGenerator[bytes, None]:
        """The lines of an answer that goes on, of any length; `silence` seconds without a byte end it.

        Raises:
            ApiUnreachable: the connection broke or went silent.
            Unauthorized: after the credentials were read anew, for the next attempt.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=self.timeout, sock_read=silence)
        try:
            async with (
                self._open(call, limits) as response,
                aclosing(_lines(call, response.content)) as lines,
            ):
                async for line in lines:
                    yield line
        except Unauthorized:  # the next attempt, which is the caller's, has them
            self.credentials = await self.credentials.reload()
            raise

    async def _send_again(self, call: Call, failure: KubeError) -> bytes:
        """Go on after a first attempt: what makes retries possible costs more than most requests."""
        failures = [failure]

        async def attempt() -> bytes:
            if failures:
                raise failures.pop()
            return await self._send_with_fresh_credentials(call)

        retrying = AsyncRetrying(
            stop=stop_after_attempt(_ATTEMPTS),
            wait=_wait,
            retry=retry_if_exception(lambda error: _worth_retrying(call, error)),
            before_sleep=lambda state: _log_retry(call, state),
            reraise=True,
        )
        return await retrying(attempt)

    async def _send_with_fresh_credentials(self, call: Call) -> bytes:
        try:
            return await self._send(call, self._limits)
        except Unauthorized:
            self.credentials = await self.credentials.reload()
            return await self._send(call, self._limits)

    async def _send(self, call: Call, limits: aiohttp.ClientTimeout) -> bytes:
        async with self._open(call, limits) as response:
            return await response.read()

    @asynccontextmanager
    async def _open(self, call: Call, limits: aiohttp.ClientTimeout) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer that says yes; whoever reads it to the end finds out whether it came whole."""
        try:
            async with self._answer(call, limits) as response:
                self.contact.answered()
                yield response
        except (ApiError, ApiUnreachable) as error:
            self.contact.failed(error)
            raise

    @asynccontextmanager
    async def _answer(
        self, call: Call, limits: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        server = self.credentials.server
        try:
            headers = await self._headers(call)
            call.check()
            async with self._session.request(
                call.method,
                _url(server, call),
                data=_body(call),
                headers=headers,
                timeout=limits,
                allow_redirects=False,
                ssl=self._ssl(),
                server_hostname=self.credentials.tls_server_name,
                proxy=self.credentials.proxy or self._proxy,
            ) as response:
                if response.status not in {200, 201, 202}:
                    raise error_from_answer(
                        verb=call.method,
                        path=call.path,
                        code=response.status,
                        body=await response.read(),
                        retry_after=response.headers.get("Retry-After"),
                    )
                yield response
        except TimeoutError as error:
            seconds = limits.total or limits.sock_read or 0
            raise ApiUnreachable(
                server, f"{call.method} {call.path}: nothing within {seconds:g} seconds"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            call.check()  # aiohttp makes a broken connection of an error over a body
            raise ApiUnreachable(server, f"{call.method} {call.path}: {_explain(error)}") from error

    async def _headers(self, call: Call) -> dict[str, str]:
        headers = {"Accept": call.accept}
        if call.body is not None:
            headers["Content-Type"] = call.content_type
        if authorization := await self.credentials.authorization():
            headers["Authorization"] = authorization
        return headers

    def _ssl(self) -> ssl.SSLContext | bool:
        return self.credentials.ssl_context or True


class _CheckedBody(aiohttp.BytesPayload):
    """A body that is checked right before it is written: connecting and TLS may have taken long.

    Without its body the server does nothing.
    """

    def __init__(self, body: bytes, check: Callable[[], None]) -> None:
        super().__init__(body)
        self._check = check

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        self._check()
        await super().write_with_length(writer, content_length)


def _body(call: Call) -> aiohttp.BytesPayload | None:
    return None if call.body is None else _CheckedBody(call.body, call.check)


async def _lines(call: Call, content: aiohttp.StreamReader) -> AsyncGenerator[bytes, None]:
    # Not readline(): aiohttp's stops at a limit that a large object's event exceeds.
    parts: list[bytes] = []
    async for chunk in content.iter_any():
        head, *rest = chunk.split(b"\n")
        parts.append(head)
        for part in rest:
            yield b"".join(parts)
            parts = [part]
        if sum(map(len, parts)) > _LONGEST_LINE:
            raise BadAnswer(call.method, call.path, f"a line is longer than {_LONGEST_LINE} bytes")
    yield b"".join(parts)


def _url(server: str, call: Call) -> URL:
    """Where a call goes; its path is quoted already, and is not to be parsed to find that out."""
    query = f"?{urlencode(call.params)}" if call.params else ""
    return URL(f"{server}{call.path}{query}", encoded=True)


def _proxy_of_environment(server: str) -> str | None:
    """The proxy that the environment names for a server; like client-go, none for one on this machine."""
    address = urlsplit(server)
    if _is_loopback(server) or proxy_bypass(address.hostname or ""):
        return None
    return getproxies().get(address.scheme)


def _is_loopback(server: str) -> bool:
    host = urlsplit(server).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _explain(error: Exception) -> str:
    # aiohttp's own texts of these carry the repr of the TLS context.
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return str(error.os_error)
    return str(error) or type(error).__name__


def _worth_retrying(call: Call, error: BaseException) -> bool:
    if isinstance(error, Throttled):  # turned away before anything was done
        return True
    return call.idempotent and isinstance(error, ServerFailure | ApiUnreachable)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = getattr(error, "retry_after", None) or 0.0
    return max(min(asked, _LONGEST_RETRY_AFTER), _backoff(state))


def _log_retry(call: Call, state: RetryCallState) -> None:
    _log.warning(
        "request to kube-apiserver is repeated",
        verb=call.method,
        path=call.path,
        attempt=state.attempt_number,
        wait_seconds=round(state.upcoming_sleep, 3),
        error=str(state.outcome.exception()) if state.outcome else "",
    )
