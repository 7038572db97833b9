"""Posts questions to external scalers, as to strangers: bounded in time and size, and nothing is followed."""

import asyncio
import os
from typing import Any, Final, Self

import aiohttp
from aiohttp import hdrs
from pydantic import SecretStr
from yarl import URL

from recommender.external_scaler.addresses import Address
from recommender.external_scaler.answers import Answer, read_answer
from recommender.external_scaler.errors import InvalidAnswer, ScalerError, Unreachable
from recommender.external_scaler.networks import Lookups, socket_factory

TIMEOUT: Final = 10.0
"""Seconds for a whole exchange, as documented: name, connection, TLS, request and answer."""
LARGEST_ANSWER: Final = 64 * 1024
"""Bytes that are read of an answer."""

_CHUNK: Final = 1 << 14


class TokenRefused(InvalidAnswer):
    """The scaler does not take the token."""


class ScalerClient:
    """One session with all external scalers; an async context manager.

    Nothing of one exchange is left for the next, who may be somebody else's: no cookies, no redirects. No
    proxy, since whoever sets one in the environment means other addresses.

    Args:
        allow_local: whether loopback, link-local and such addresses may be connected to.
        timeout: seconds for a whole exchange.
    """

    def __init__(self, *, allow_local: bool, timeout: float = TIMEOUT) -> None:
        self._allow_local = allow_local
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None
        self._lookups: Lookups | None = None

    async def __aenter__(self) -> Self:
        self._lookups = Lookups()
        connector = aiohttp.TCPConnector(
            limit=0,  # whoever asks sees to that
            resolver=self._lookups,
            use_dns_cache=False,
            # With several attempts at once an address that is refused would be passed over.
            happy_eyeballs_delay=None,
            socket_factory=socket_factory(allow_local=self._allow_local),
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),  # of which the caller's includes all
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
        if self._lookups is not None:
            await self._lookups.close()
        self._session = self._lookups = None

    async def ask(self, address: Address, body: bytes, token: SecretStr | None) -> Answer:
        """Post a question.

        Args:
            address: one that is allowed.
            body: the question.
            token: what shows who asks.

        Raises:
            ScalerError: there is no answer that counts; the message has neither token nor query.
        """
        try:
            async with asyncio.timeout(self._timeout):
                status, answer = await self._post(address, body, token)
        except TimeoutError:
            raise Unreachable(f"{address.shown} did not answer within {self._timeout:g} s") from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise Unreachable(f"{address.shown} cannot be trusted: {error.certificate_error}") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unreachable(f"{address.shown} cannot be reached: {_told(error)}") from None
        except ScalerError as error:
            raise type(error)(f"{address.shown}: {error}") from None
        _require_success(address, status)
        if len(answer) > LARGEST_ANSWER:
            raise InvalidAnswer(f"{address.shown} answered with more than {LARGEST_ANSWER} bytes")
        return read_answer(answer, secret=token.get_secret_value() if token is not None else "")

    async def _post(self, address: Address, body: bytes, token: SecretStr | None) -> tuple[int, bytes]:
        if self._session is None:
            raise RuntimeError("a ScalerClient is used inside `async with`")
        headers: dict[Any, str] = {
            hdrs.CONTENT_TYPE: "application/json",
            hdrs.ACCEPT: "application/json",
            hdrs.ACCEPT_ENCODING: "identity",
            hdrs.USER_AGENT: "vgpu-autoscaler-recommender",
        }
        if token is not None:
            headers[hdrs.AUTHORIZATION] = f"Bearer {token.get_secret_value()}"
        answer = bytearray()
        async with self._session.post(
            _url(address), data=body, headers=headers, allow_redirects=False
        ) as response:
            async for chunk in response.content.iter_chunked(_CHUNK):
                answer += chunk
                if len(answer) > LARGEST_ANSWER:
                    response.close()  # reading the rest could take for ever
                    break
            return response.status, bytes(answer)


def _url(address: Address) -> URL:
    """The address from its parts, so that what is sent is what was checked."""
    return URL.build(
        scheme=address.scheme,
        authority=address.authority,
        path=address.path or "/",
        query_string=address.query,
        encoded=True,
    )


def _require_success(address: Address, status: int) -> None:
    told = f"{address.shown} answered with HTTP {status}"
    if status == 200:
        return
    if status == 401:
        raise TokenRefused(f"{told}: it does not take the token")
    if 300 <= status < 400:
        raise InvalidAnswer(f"{told}: redirects are not followed")
    raise Unreachable(told) if status >= 500 or status == 429 else InvalidAnswer(told)


def _told(error: Exception) -> str:
    """What went wrong, in words of ours: those of a library may repeat what was sent or received."""
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return type(error).__name__
