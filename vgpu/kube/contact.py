"""Whether kube-apiserver answers, and how often it has said no."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from vgpu.kube.errors import ApiError, ApiUnreachable

KINDS: Final = tuple(each.__name__ for each in (ApiUnreachable, ApiError, *ApiError.__subclasses__()))
"""The names of all errors that are counted."""

# One connection that breaks among others that work is no outage.
_SPARED: Final = 3.0
# So often one of those who wait tries, where nobody else has anything to ask.
_PROBE: Final = 1.0
# What fails where all else is answered is not to be tried without a pause for it.
_MOMENT: Final = 1.0


class Contact:
    """What has become of the requests of one client.

    Args:
        clock: seconds on a monotonic clock.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.errors: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
        """How many answers said no or did not come, by the name of the error."""
        self._clock = clock
        self._lost: ApiUnreachable | None = None
        self._since = 0.0
        self._back = asyncio.Event()
        self._probing = asyncio.Lock()

    def answered(self) -> None:
        """kube-apiserver has answered, whatever it said."""
        if self._lost is not None:
            self._lost = None
            self._back.set()

    def failed(self, error: ApiError | ApiUnreachable) -> None:
        """A request came to nothing."""
        self.errors[type(error).__name__] += 1
        if not isinstance(error, ApiUnreachable):
            self.answered()
        elif self._lost is None:
            self._lost, self._since = error, self._clock()
            self._back.clear()

    def problem(self) -> str | None:
        """That nothing has been answered for a while, and why; None where that is not so."""
        if self._lost is None or (silence := self._clock() - self._since) < _SPARED:
            return None
        return f"{self._lost}; this has been so for {silence:.0f} s"

    async def regained(self) -> None:
        """Wait while kube-apiserver does not answer, so that not everybody finds that out anew.

        Now and then one of those who wait goes on before, to try.
        """
        if self._lost is None:
            return
        async with self._probing:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PROBE):
                    await self._back.wait()

    async def rest(self, seconds: float) -> None:
        """Wait for so long, but where nobody is answered only until somebody is, and a moment."""
        moment = min(seconds, _MOMENT)
        await asyncio.sleep(moment)
        if self._lost is None:
            await asyncio.sleep(seconds - moment)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds - moment):
                await self._back.wait()

    def before(self, turn: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """What waits until kube-apiserver answers, and then for a turn."""

        async def both() -> None:
            await self.regained()
            await turn()

        return both
