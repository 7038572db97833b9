"""Waiting for something to become true, instead of sleeping and hoping."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object], *, timeout: float = 5.0, what: str = "") -> None:
    """Return as soon as the condition holds; AssertionError after `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            while not condition():  # noqa: ASYNC110 - conditions are plain functions over the code's own state
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"not within {timeout:g} s: {what or condition}") from None
