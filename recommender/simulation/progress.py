"""Shows on a terminal how far a long simulation has come."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")

# What is over by then needs no bar.
_SECONDS_BEFORE: Final = 1.0
_ITEMS_BETWEEN: Final = 500


def watched(
    items: Iterable[T], what: str, *, console: Console, total: int | None, weight: Callable[[T], int]
) -> Iterator[T]:
    """Pass items on, and show a bar once that takes long; nothing where nobody looks at a terminal.

    Args:
        items: whatever takes its time.
        what: what is done with them.
        console: where to show it.
        total: the weight of all of them, or None where that is not known.
        weight: how much of the whole an item is.
    """
    if not console.is_terminal:
        yield from items
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=console, transient=True)
    task = progress.add_task(what, total=total)
    begun, done = time.monotonic(), 0
    try:
        for count, item in enumerate(items):
            yield item
            done += weight(item)
            if count % _ITEMS_BETWEEN == 0 and time.monotonic() - begun >= _SECONDS_BEFORE:
                progress.start()
                progress.update(task, completed=done)
    finally:
        progress.live.stop()
