"""Usage of all pods, read in bulk from a metric source: nothing twice, and gaps fill themselves."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol

from recommender.usage.gathering import Gatherer
from recommender.usage.lengths import AnswerLength
from recommender.usage.samples import FormerPods, Outcome, PodFinder, Samples, Stretch
from recommender.usage.silence import Silence
from vgpu.prometheus import PrometheusError, Series
from vgpu.slices import Resource
from vgpu.usage_sources import CardLookup, Preset, SampleKind, bulk_query, restrictable

# Up to here, to judge samples takes less than to hand them to a thread and back is worth.
_FEW_SAMPLES: Final = 5_000
# Some proxies take a query only as part of the address, and those are not longer than this everywhere.
_LONGEST_QUERY: Final = 6_000
# Pods that a query names one by one, where it is about some only.
MOST_PODS: Final = 100


@dataclass(frozen=True, slots=True, eq=False)
class Usage:
    """What one poll brought: samples after `begin` and up to `until`.

    Attributes:
        tflops: pods' use of compute.
        vram: their use of memory.
        begin: seconds since the epoch.
        until: the last time that the poll covers, in seconds since the epoch.
        outcomes: how many samples were taken, and how many were not, by reason.
    """

    tflops: Samples
    vram: Samples
    begin: float
    until: float
    outcomes: Counter[Outcome]


class RangeSource(Protocol):
    """The part of the Prometheus client that is needed here."""

    async def query_range(self, promql: str, *, start: float, end: float, step: float) -> list[Series]:
        """Evaluate a query at start, start + step, ... up to end."""
        ...


class BulkReader:
    """Reads all pods' use of both resources over any stretch of whole steps since the epoch.

    At the end of each step a sample is the maximum (or mean) of that step, as an interval that is open on
    the left, so that two stretches side by side never see the same measurement.

    Args:
        source: the Prometheus server.
        preset: what to ask it for.
        step: seconds between two samples of a series, and the length of what one sample covers.
        find: the tracked pod of a namespace and name; called from another thread.
        cards: what is known of the nodes' cards; called from another thread.
        tflops_sample: what a sample of TFLOPS is of its step.
        former: who had a pod's name before it; called from another thread. None where nobody is to be asked.
    """

    def __init__(
        self,
        *,
        source: RangeSource,
        preset: Preset,
        step: float,
        find: PodFinder,
        cards: CardLookup,
        tflops_sample: SampleKind = "maximum",
        former: FormerPods | None = None,
    ) -> None:
        self.step = step
        self._source = source
        self._preset = preset
        self._sample: SampleKind = tflops_sample
        self._gatherer = Gatherer(preset=preset, find=find, cards=cards, former=former)

    async def read(self, stretch: Stretch, *, pods: Collection[str] = ()) -> tuple[Usage, int]:
        """Read a stretch, and how many series there were, of the resource that has more.

        Args:
            stretch: what to ask for.
            pods: names of the only pods that matter, where they are known: the server is spared the others
                where the preset and the length of a query allow it. None for all.

        Raises:
            PrometheusError: the source cannot be reached, or does not answer one of the two queries.
        """
        outcomes: Counter[Outcome] = Counter()
        tflops_query, vram_query = self._queries(pods)
        # One after the other: an answer takes many times the memory of the samples that come of it.
        tflops, some = await self._gathered(Resource.TFLOPS, tflops_query, stretch, outcomes)
        vram, others = await self._gathered(Resource.VRAM, vram_query, stretch, outcomes)
        usage = Usage(
            tflops=tflops,
            vram=vram,
            begin=stretch.begin * self.step,
            until=stretch.until * self.step,
            outcomes=outcomes,
        )
        return usage, max(some, others)

    def _queries(self, pods: Collection[str]) -> list[str]:
        if pods and len(pods) <= MOST_PODS and restrictable(self._preset):
            queries = [self._query(resource, pods) for resource in Resource]
            if max(map(len, queries)) <= _LONGEST_QUERY:
                return queries
        return [self._query(resource, ()) for resource in Resource]

    def _query(self, resource: Resource, pods: Collection[str]) -> str:
        return bulk_query(self._preset, resource, window=self.step, sample=self._sample, pods=pods)

    async def _gathered(
        self, resource: Resource, query: str, stretch: Stretch, outcomes: Counter[Outcome]
    ) -> tuple[Samples, int]:
        """The samples of one resource, and of how many series they come."""
        first, last = (stretch.begin + 1) * self.step, stretch.until * self.step
        series = await self._source.query_range(query, start=first, end=last, step=self.step)
        if sum(len(one.times) for one in series) <= _FEW_SAMPLES:
            samples = self._gatherer.gather(resource, series, stretch, outcomes)
        else:
            samples = await asyncio.to_thread(self._gatherer.gather, resource, series, stretch, outcomes)
        return samples, len(series)


class UsageReader:
    """Reads from where the last successful poll ended up to now.

    Args:
        reader: asks the metric source.
        settle: how long after its time a sample is waited for.
        series: about how many series an answer has, before the first one tells; 0 where nobody knows.
        running: whether there are running pods, of which usage is to be expected.
    """

    def __init__(
        self,
        *,
        reader: BulkReader,
        settle: float,
        series: int = 0,
        running: Callable[[], bool] = lambda: False,
    ) -> None:
        self._reader = reader
        self._step = reader.step
        self._settle = settle
        self._length = AnswerLength(series=series)
        self._silence = Silence(running)
        self._last_index: int | None = None

    @property
    def cursor(self) -> float | None:
        """The time up to which everything has been read, or None before the first poll."""
        return None if self._last_index is None else self._last_index * self._step

    def resume(self, cursor: float) -> None:
        """Go on from where another reader, of whatever step, has ended.

        A step that it has read in part is left out: nothing is counted twice.
        """
        self._last_index = math.ceil(cursor / self._step - 1e-6)

    def put_right(self, now: float) -> float:
        """Set a cursor back that lies in the future: the clock was ahead, and somebody has put it right.

        Without this nothing would be read until the present has caught up with it.

        Returns:
            By how many seconds it was set back; 0 where it was right.
        """
        last = self._last_whole_step(now)
        if self._last_index is None or self._last_index <= last + 1:
            return 0.0
        ahead = (self._last_index - last) * self._step
        self._last_index = last
        return ahead

    async def read(self, now: float) -> Usage | None:
        """The next stretch of usage, or None when there is none yet; call it until then.

        The cursor moves when both queries have succeeded, and only then. A stretch that fails is asked for
        in halves, down to a single step: a long gap of a large cluster may be more than a server manages
        at once. One that fails for another reason, or wants to be left alone, is asked for less the next
        time.

        Raises:
            PrometheusError: the source cannot be reached, or fails for a single step; the next call asks from
                the same step on.
        """
        last = self._last_whole_step(now)
        begin = last - 1 if self._last_index is None else self._last_index
        if begin >= last:
            return None
        while True:
            end = min(last, begin + self._length.points)
            stretch = Stretch(begin=begin, until=end, step=self._step, latest=now + self._step)
            try:
                usage, series = await self._reader.read(stretch)
            except PrometheusError as error:
                self._length.failed(end - begin)
                if end - begin == 1 or not error.halving_helps:
                    raise
            else:
                self._length.answered(series)
                self._silence.answered(series)
                self._last_index = end
                return usage

    def _last_whole_step(self, now: float) -> int:
        return math.floor((now - self._settle) / self._step)
