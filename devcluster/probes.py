"""Is it ready? Asked over HTTP."""

import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

_TIMEOUT = aiohttp.ClientTimeout(total=2.0)


def answers(
    url: str, *, context: Callable[[], ssl.SSLContext] | None = None
) -> Callable[[], Awaitable[bool]]:
    """A probe that says whether `url` answers 200; `context` makes what TLS needs when it is asked."""

    async def probe() -> bool:
        connector = aiohttp.TCPConnector(ssl=context() if context else True)
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


def trusting(authority: Path) -> ssl.SSLContext:
    """TLS to a server of this authority, a PEM file."""
    return ssl.create_default_context(cafile=authority)
