"""Is it ready? Asked over HTTP."""

import ssl
from collections.abc import Awaitable, Callable

import aiohttp

_TIMEOUT = aiohttp.ClientTimeout(total=2.0)


def answers(url: str, *, context: ssl.SSLContext | None = None) -> Callable[[], Awaitable[bool]]:
    """A probe that says whether `url` answers 200; `context` is for TLS."""

    async def probe() -> bool:
        connector = aiohttp.TCPConnector(ssl=context or True)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session,
                session.get(url) as response,
            ):
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    return probe


def unverified() -> ssl.SSLContext:
    """TLS to a child whose certificate it made itself: only for asking whether it is well."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def trusting(authority: str, certificate: str, key: str) -> ssl.SSLContext:
    """TLS with a client certificate, to a server of this authority; all three are file names."""
    context = ssl.create_default_context(cafile=authority)
    context.load_cert_chain(certificate, key)
    return context
