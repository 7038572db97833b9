"""Sends queries to a Prometheus HTTP API: authentication, deadlines, attempts, and how much is read."""

import asyncio
import ipaddress
import os
import ssl
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import structlog
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    retry_if_result,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from vgpu.prometheus_access import Access, Credentials
from vgpu.prometheus_answers import (
    AnswerTooLarge,
    PrometheusTimeout,
    PrometheusUnreachable,
    Question,
    may_pass,
)

log = structlog.get_logger(__name__)

_CHUNK: Final = 1 << 16
_BACKOFF: Final = wait_random_exponential(multiplier=0.2, max=2)
# An address that swallows packets must leave time to try another one.
_CONNECT_SHARE: Final = 1 / 3
_UNREADABLE: Final = "an address that cannot be read"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server sent.

    Attributes:
        status: HTTP status.
        body: after decompression.
        location: where a redirect leads.
        retry_after: seconds for which the server wants to be left alone; None where it does not say.
        passing: whether the same query may well be answered a moment later.
    """

    status: int
    body: bytearray
    location: str | None
    retry_after: float | None
    passing: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one query may take.

    Attributes:
        seconds: the server's own work and all attempts included.
        retries: further attempts.
        answer_bytes: what is read of an answer, after decompression.
    """

    seconds: float
    retries: int
    answer_bytes: int


class PrometheusUntrusted(PrometheusUnreachable):
    """The server's certificate is not one to trust: asking again will not help."""


class PrometheusTransport:
    """One session with one server.

    Args:
        url: the server's address up to, and without, /api/v1.
        limits: how much one query may take.
        access: how the client shows who it is, whom it trusts, and further headers.
    """

    def __init__(self, url: str, *, limits: Limits, access: Access) -> None:
        self.shown_url = without_password(url)
        self._url = url
        self._limits = limits
        self._access = access
        self._credentials = Credentials(access)
        self._answers = True
        self._method = "POST"
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Read passwords, tokens and certificates; nothing is connected yet.

        Raises:
            AccessError: one of their files is not what it should be; names the file.
        """
        await asyncio.to_thread(self._credentials.load)
        if _sends_secrets_in_the_clear(self._url, self._access):
            log.warning("secrets go to the metric source without encryption", url=self.shown_url)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._limits.seconds * _CONNECT_SHARE)
        self._session = aiohttp.ClientSession(timeout=timeout, auto_decompress=True, trust_env=False)

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ask(self, endpoint: str, form: dict[str, str], question: Question) -> Reply:
        """The server's answer, whatever it says.

        Args:
            endpoint: `query` or `query_range`.
            form: the parameters.
            question: what is asked, for the errors.

        Raises:
            PrometheusUnreachable: no connection, or one that broke off; after the last attempt.
            PrometheusTimeout: no whole answer in time.
            AnswerTooLarge: more bytes than are read.
        """
        retrying = AsyncRetrying(
            # After a failed query one attempt is enough until an answer comes: who halves what he asks for
            # with each failure must not wait for every half.
            stop=stop_after_attempt(1 + (self._limits.retries if self._answers else 0))
            | stop_before_delay(self._limits.seconds),
            wait=_wait,
            retry=retry_if_result(_is_passing) | retry_if_exception(_is_away),
            before_sleep=_log_retry,
            retry_error_callback=_last,
        )
        answers = False
        try:
            async with asyncio.timeout(self._limits.seconds):
                reply: Reply = await retrying(self._attempt, endpoint, form, question)
                answers = not reply.passing
                return reply
        except TimeoutError as error:
            seconds = f"{self._limits.seconds:g} s"
            raise PrometheusTimeout(question.told(f"did not answer within {seconds}")) from error
        except AnswerTooLarge:
            answers = True
            raise
        finally:
            self._answers = answers

    async def _attempt(self, endpoint: str, form: dict[str, str], question: Question) -> Reply:
        try:
            reply = await self._send(endpoint, form, question)
            if reply.status == 405 and self._method == "POST":
                self._method = "GET"
                reply = await self._send(endpoint, form, question)
            if reply.status == 401 and self._credentials.reread():
                reply = await self._send(endpoint, form, question)
        except aiohttp.ClientConnectorCertificateError as error:
            reason = error.certificate_error
            told = question.told(f"cannot be trusted: {reason}; see prometheus_ca_file")
            raise PrometheusUntrusted(told) from error
        except (aiohttp.ClientError, OSError) as error:
            raise PrometheusUnreachable(question.told(f"cannot be reached: {_reason(error)}")) from error
        return reply

    async def _send(self, endpoint: str, form: dict[str, str], question: Question) -> Reply:
        if self._session is None:
            raise RuntimeError("a PrometheusClient is used inside `async with`")
        options: dict[str, Any] = {
            "data" if self._method == "POST" else "params": form,
            "headers": self._credentials.headers(),
            "ssl": self._credentials.context() or True,
            "server_hostname": self._access.server_name,
            # A redirected POST would lose its form, so redirects are shown to the person who set the address.
            "allow_redirects": False,
        }
        url = f"{self._url}/api/v1/{endpoint}"
        async with self._session.request(self._method, url, **options) as response:
            body = bytearray()
            async for chunk in response.content.iter_chunked(_CHUNK):
                body += chunk
                if len(body) > self._limits.answer_bytes:
                    raise AnswerTooLarge(
                        question.told(
                            f"gave more than {self._limits.answer_bytes} bytes; a long stretch is asked for "
                            "in parts, and where that does not do, raise prometheus_max_answer"
                        )
                    )
            return Reply(
                status=response.status,
                body=body,
                location=response.headers.get("Location"),
                retry_after=_seconds(response.headers.get("Retry-After")),
                passing=may_pass(body, status=response.status),
            )


def _is_passing(reply: Reply) -> bool:
    return reply.passing


def _is_away(error: BaseException) -> bool:
    return isinstance(error, PrometheusUnreachable) and not isinstance(error, PrometheusUntrusted)


def _last(state: RetryCallState) -> Reply:
    """What the last attempt gave, be it an error."""
    if state.outcome is None:
        raise RuntimeError("there was no attempt")
    reply: Reply = state.outcome.result()
    return reply


def _wait(state: RetryCallState) -> float:
    asked = 0.0
    if state.outcome is not None and not state.outcome.failed:
        asked = state.outcome.result().retry_after or 0.0
    return max(asked, _BACKOFF(state))


def _log_retry(state: RetryCallState) -> None:
    outcome = state.outcome
    if outcome is not None and outcome.failed:
        problem = str(outcome.exception())
    else:
        problem = f"HTTP {outcome.result().status}" if outcome is not None else ""
    log.info("query is repeated", attempt=state.attempt_number, problem=problem)


def _seconds(retry_after: str | None) -> float | None:
    """How long a server wants to be left alone: seconds, or until a date; 0 where that cannot be read."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _sends_secrets_in_the_clear(url: str, access: Access) -> bool:
    parts = urlsplit(url)
    secret = access.authenticates or parts.password is not None
    return parts.scheme == "http" and secret and not _is_loopback(parts.hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def without_password(url: str) -> str:
    """An address as it may be shown: scheme, host, port and path, where they can be told from a password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return _UNREADABLE
    if "@" in parts.path:  # what seems to be the host may be a part of a password
        return _UNREADABLE
    if not host:
        return parts.path
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{'' if port is None else f':{port}'}{parts.path}"


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        # Its own text carries the repr of the TLS context.
        error = error.os_error
    if isinstance(error, aiohttp.InvalidURL):
        return "that is no address"  # its own text has all of it, a password too
    code = error.errno if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else None
    if code is not None and code > 0:
        return os.strerror(code)
    return str(error) or type(error).__name__
