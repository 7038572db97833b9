"""The poller: asks the metric source for everything at once, each interval, and makes the table of it."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from metrics_adapter.metrics import AdapterMetrics
from metrics_adapter.samples import Drop, SampleReader
from metrics_adapter.snapshot import Snapshot
from metrics_adapter.table import FindPod, Table, build_table
from vgpu.prometheus import PrometheusError, Series
from vgpu.slices import Resource
from vgpu.usage_sources import CardLookup, Preset, raw_query

_log = structlog.get_logger(__name__)


class Source(Protocol):
    """Where usage is read: a PrometheusClient."""

    async def query(self, promql: str, *, time: float | None = None) -> Sequence[Series]:
        """The raw samples that a range selector covers at `time`; PrometheusError where that fails."""


class Poller:
    """Owns the snapshot that requests are answered from.

    A poll is two queries, however many pods, HPAs and requests there are.
    """

    def __init__(
        self,
        *,
        source: Source,
        find_pod: FindPod,
        preset: Preset,
        cards: CardLookup,
        interval: float,
        freshness: float,
        metrics: AdapterMetrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare; nothing is asked before `poll` or `run`.

        Args:
            source: Where usage is read.
            find_pod: Looks a pod up in the cache; called from another thread.
            preset: What to ask for, and whose series an answer holds.
            cards: What is known of the nodes' cards; asked from another thread.
            interval: Seconds from the start of one poll to the next.
            freshness: Seconds after which a sample is not used any more.
            metrics: Are told of every poll.
            clock: Epoch seconds.
        """
        self.snapshot = Snapshot()
        self._source = source
        self._find_pod = find_pod
        self._queries = {
            resource: raw_query(preset.measure(resource), window=freshness) for resource in Resource
        }
        self._samples = SampleReader(preset=preset, cards=cards, node_of=self._node_of)
        self._interval = interval
        self._metrics = metrics
        self._clock = clock
        metrics.watch_age(self.age)

    def age(self) -> float:
        """Seconds since the source was asked for the table; infinite before the first."""
        table = self.snapshot.table
        return self._clock() - table.time if table else float("inf")

    def not_ready(self) -> list[str]:
        """Why there is nothing to answer from; empty when there is."""
        if self.snapshot.table is None:
            return ["the metric source has not been read yet"]
        limit = 2 * self._interval
        if self.age() > limit:
            return [f"the metrics are {self.age():.0f} s old, more than two intervals ({limit:g} s)"]
        return []

    async def run(self) -> None:
        """Poll until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            await self.poll()
            await asyncio.sleep(max(0.0, started + self._interval - loop.time()))

    async def poll(self) -> None:
        """Read the source once. Where that fails the old table stays, and says itself when it is too old."""
        started = time.perf_counter()
        try:
            table = await self._read()
        except PrometheusError as error:
            self._metrics.poll_failed(error)
            self._log_failure(error)
            self.snapshot = Snapshot(self.snapshot.table, failing=True)
            return
        if self.snapshot.failing:
            _log.info("metric source is read again")
        self.snapshot = Snapshot(table)
        self._metrics.polled(table, seconds=time.perf_counter() - started)

    def _log_failure(self, error: PrometheusError) -> None:
        # Once is enough for a person; how long it lasts stands in the metrics and in /readyz.
        log = _log.debug if self.snapshot.failing else _log.warning
        log("metric source cannot be read", error=str(error), table_age=self.age())

    async def _read(self) -> Table:
        now = self._clock()
        # Range selectors give raw samples: plain ones would hide how old each of them is.
        tflops = await self._source.query(self._queries[Resource.TFLOPS], time=now)
        vram = await self._source.query(self._queries[Resource.VRAM], time=now)
        # In a thread: with ten thousand pods it takes a second, in which requests must be answered too.
        return await asyncio.to_thread(self._make_table, now, tflops, vram)

    def _make_table(self, now: float, tflops: Sequence[Series], vram: Sequence[Series]) -> Table:
        drops: Counter[Drop] = Counter()
        samples = {
            resource: self._samples.newest(series, resource, drops)
            for resource, series in ((Resource.TFLOPS, tflops), (Resource.VRAM, vram))
        }
        return build_table(samples, find_pod=self._find_pod, now=now, drops=drops)

    def _node_of(self, namespace: str, pod: str) -> str:
        found = self._find_pod(namespace, pod)
        return found.spec.node_name if found is not None else ""
