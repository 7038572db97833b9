"""An event loop on a clock of its own, which jumps to the next timer instead of waiting for it."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Hours pass in milliseconds; only for code without sockets and threads.

    Args:
        on_wait: called whenever nothing is left to do before time moves on.
    """

    def __init__(self, on_wait: Callable[[], None] = lambda: None) -> None:
        self.now = 0.0
        self.on_wait = on_wait
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self.now


class _Jumping(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everything waits, and nothing would ever wake it")
        if timeout > 0:
            self._loop.on_wait()
            self._loop.now += timeout
        return []


def run(main: Coroutine[Any, Any, T], *, loop: VirtualLoop | None = None) -> T:
    """Run a coroutine to its end, and cancel what it left behind."""
    with asyncio.Runner(loop_factory=lambda: loop or VirtualLoop()) as runner:
        return runner.run(main)
