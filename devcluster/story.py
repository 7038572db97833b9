"""Tells what happens in a cluster, step by step: each step waits for a fact, and says so when it is there."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from devcluster.errors import DevClusterError

T = TypeVar("T")

POLL = 0.25
"""Seconds between two looks at the cluster."""


class StoryFailed(DevClusterError):
    """A step did not happen in time.

    Attributes:
        step: What was waited for.
        seen: What was there instead.
    """

    def __init__(self, *, step: str, timeout: float, seen: str) -> None:
        super().__init__(f"did not happen within {timeout:.0f} s: {step}; last seen: {seen or 'nothing'}")
        self.step = step
        self.seen = seen


@dataclass(frozen=True, slots=True)
class NotYet:
    """What a look at the cluster found while the awaited fact is not there."""

    seen: str


class Narrator:
    """Prints the story with the seconds since its begin.

    Args:
        console: Where to print.
        clock: Seconds, steadily rising.
    """

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._began = clock()

    @property
    def elapsed(self) -> float:
        """Seconds since the story began."""
        return self._clock() - self._began

    def say(self, text: str) -> None:
        """Tells a step that has happened."""
        self._console.print(f"{self.elapsed:6.1f} s  {text}", highlight=False, markup=False, soft_wrap=True)

    def detail(self, text: str) -> None:
        """Adds to the last step."""
        self._console.print(f"          {text}", highlight=False, style="cyan", markup=False, soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Shows figures side by side; the first column names them."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for column in columns:
            table.add_column(column, justify="left" if column == columns[0] else "right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        self._console.print(Padding(table, (0, 0, 0, 10)))


async def until(step: str, look: Callable[[], Awaitable[T | NotYet]], *, timeout: float) -> T:
    """Looks at the cluster until the fact is there, and returns it.

    Args:
        step: What is waited for, for the error.
        look: Returns the fact, or `NotYet` with what is there instead.
        timeout: Seconds to wait at the most.

    Raises:
        StoryFailed: The fact was not there in time.
    """
    seen = ""
    try:
        async with asyncio.timeout(timeout):
            while True:
                found = await look()
                if not isinstance(found, NotYet):
                    return found
                seen = found.seen
                await asyncio.sleep(POLL)
    except TimeoutError as error:
        raise StoryFailed(step=step, timeout=timeout, seen=seen) from error
