"""When to look at which workload again, and whose turn it is to have a pod evicted."""

import heapq
import math
from collections import OrderedDict
from collections.abc import Iterator

from recommender.keys import WorkloadKey


class Agenda:
    """Each workload has one time at most; the last one that was given counts."""

    def __init__(self) -> None:
        self._due: dict[WorkloadKey, float] = {}
        self._heap: list[tuple[float, WorkloadKey]] = []
        self._ready: OrderedDict[WorkloadKey, None] = OrderedDict()

    def put(self, key: WorkloadKey, when: float) -> None:
        """Have a workload looked at at a time, in seconds since the epoch; never, where it is infinite."""
        if when == math.inf:
            self._due.pop(key, None)
            return
        if self._due.get(key) != when:
            self._due[key] = when
            heapq.heappush(self._heap, (when, key))

    def take_due(self, now: float) -> Iterator[WorkloadKey]:
        """The workloads whose time has come, each once; what is put in meanwhile may count."""
        while self.next_due() <= now:
            _, key = heapq.heappop(self._heap)
            del self._due[key]
            yield key

    def next_due(self) -> float:
        """When the next is to be looked at; infinite where none is."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    def line_up(self, key: WorkloadKey) -> None:
        """Have a workload wait for its turn; one that waits keeps its place."""
        self._ready.setdefault(key)

    def next_in_line(self) -> WorkloadKey | None:
        """Take whose turn it is."""
        return self._ready.popitem(last=False)[0] if self._ready else None

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._ready)

    def drop(self, key: WorkloadKey) -> None:
        """Have nothing done about a workload."""
        self._due.pop(key, None)
        self._ready.pop(key, None)
