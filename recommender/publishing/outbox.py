"""Workloads of which something is to be written: at a steady pace, and in turns between namespaces."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from recommender.keys import WorkloadKey

BURST: Final = 10
"""So many writes may follow one another at once after a rest."""

T = TypeVar("T")


class Pace:
    """Lets through so much a second: in no second more than `rate` and `burst` together.

    Args:
        rate: turns a second in the long run.
        burst: how many turns a rest saves up.
        clock: seconds on a monotonic clock.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        rate: float,
        *,
        burst: int = BURST,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._gap = 1 / rate
        self._saved = (burst - 1) * self._gap
        self._clock = clock
        self._sleep = sleep
        self._next = clock() - self._saved

    async def turn(self) -> None:
        """Wait until it is the caller's turn; callers go in the order in which they came."""
        now = self._clock()
        mine = max(self._next, now - self._saved)
        self._next = mine + self._gap
        if mine > now:
            await self._sleep(mine - now)


class Outbox(Generic[T]):
    """One entry for each workload that waits, the newest; each is taken by one writer at a time.

    What is urgent comes first. Among the rest of what waits, namespaces take turns, and within a namespace
    who came first is first: a thousand workloads of one hold up a single one of another by one turn.

    Args:
        turn: waits until another entry may be taken.
    """

    def __init__(self, turn: Callable[[], Awaitable[None]]) -> None:
        self._turn = turn
        self._entries: dict[WorkloadKey, T] = {}
        self._urgent, self._others = _Lane(), _Lane()
        self._lanes: dict[WorkloadKey, _Lane] = {}
        self._being_written: set[WorkloadKey] = set()
        self._bell = asyncio.Event()
        self._gate = asyncio.Lock()

    def __len__(self) -> int:
        """How many workloads wait."""
        return len(self._entries)

    def put(self, key: WorkloadKey, entry: T, *, urgent: bool) -> None:
        """Have something of a workload written; it takes the place of what waits of it, which is older."""
        self._entries[key] = entry
        lane = self._lanes.get(key)
        # What was urgent stays so: it has not been written yet.
        wanted = self._urgent if urgent or lane is self._urgent else self._others
        if lane is not None and lane is not wanted:
            lane.remove(key)
        self._lanes[key] = wanted
        if key not in self._being_written:
            self._line_up(key)

    def drop(self, key: WorkloadKey) -> None:
        """Have nothing of a workload written any more, if nobody is about it already."""
        self._entries.pop(key, None)
        lane = self._lanes.pop(key, None)
        if lane is not None:
            lane.remove(key)

    def is_being_written(self, key: WorkloadKey) -> bool:
        """Whether a writer has taken the workload and is not done with it."""
        return key in self._being_written

    async def take(self) -> tuple[WorkloadKey, T]:
        """The next entry, in its turn; waits until there is one. Whoever takes it says when it is `done`."""
        async with self._gate:
            while True:
                await self._bell.wait()
                await self._turn()
                key = self._urgent.pop() or self._others.pop()
                if not self._urgent and not self._others:
                    self._bell.clear()
                if key is not None:
                    del self._lanes[key]
                    self._being_written.add(key)
                    return key, self._entries.pop(key)

    def done(self, key: WorkloadKey) -> None:
        """A writer is done with a workload: what has come of it meanwhile may be taken."""
        self._being_written.discard(key)
        if key in self._entries:
            self._line_up(key)

    def _line_up(self, key: WorkloadKey) -> None:
        self._lanes[key].add(key)
        self._bell.set()


class _Lane:
    """Workloads in the order in which they are to be taken."""

    def __init__(self) -> None:
        self._namespaces: OrderedDict[str, OrderedDict[WorkloadKey, None]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._namespaces)

    def add(self, key: WorkloadKey) -> None:
        """Line up at the end of its namespace, unless it stands there."""
        self._namespaces.setdefault(key.namespace, OrderedDict()).setdefault(key)

    def remove(self, key: WorkloadKey) -> None:
        waiting = self._namespaces.get(key.namespace)
        if waiting is not None:
            waiting.pop(key, None)
            if not waiting:
                del self._namespaces[key.namespace]

    def pop(self) -> WorkloadKey | None:
        """The next; its namespace then has its turn after all others."""
        namespace = next(iter(self._namespaces), None)
        if namespace is None:
            return None
        waiting = self._namespaces[namespace]
        key, _ = waiting.popitem(last=False)
        if waiting:
            self._namespaces.move_to_end(namespace)
        else:
            del self._namespaces[namespace]
        return key
