"""Usage of all pods, read in bulk from a metric source: nothing twice, and gaps fill themselves."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from recommender.samples import Bounds, Outcome, PodFinder, PodUsage, by_pod, judge_sample
from vgpu.prometheus import PrometheusError, PrometheusUnreachable, Series
from vgpu.slices import Amounts, Resource
from vgpu.usage_sources import Preset

# Prometheus refuses a range query of more points a series.
MAX_POINTS: Final = 11_000
# So many answers of one length let the next be twice as long: a server at its limit seldom has to fail again.
_ANSWERS_TO_GROW: Final = 4


@dataclass(frozen=True, slots=True)
class Usage:
    """What one poll brought.

    Attributes:
        tflops: a pod's use of compute, one entry for each pod.
        vram: its use of memory.
        until: the last time that the poll covers, in seconds since the epoch.
        outcomes: how many samples were taken, and how many were not, by reason.
    """

    tflops: tuple[PodUsage, ...]
    vram: tuple[PodUsage, ...]
    until: float
    outcomes: Counter[Outcome]


class RangeSource(Protocol):
    """The part of the Prometheus client that is needed here."""

    async def query_range(self, promql: str, *, start: float, end: float, step: float) -> list[Series]:
        """Evaluate a query at start, start + step, ... up to end."""
        ...


class UsageReader:
    """Reads from where the last successful poll ended up to now.

    Times lie on a grid of whole steps since the epoch. At each of them a sample is the maximum of the step
    before it, as an interval that is open on the left, so that two polls never see the same measurement.

    Args:
        source: the Prometheus server.
        preset: what to ask it for.
        step: seconds between two samples of a series, and the length of what one sample covers.
        settle: how long after its time a sample is waited for.
        find: the tracked pod of a namespace and name.
        largest: what the largest card gives, as far as it is known.
    """

    def __init__(
        self,
        *,
        source: RangeSource,
        preset: Preset,
        step: float,
        settle: float,
        find: PodFinder,
        largest: Callable[[], Amounts],
    ) -> None:
        self._source = source
        self._queries = bulk_queries(preset, step)
        self._preset = preset
        self._step = step
        self._settle = settle
        self._find = find
        self._largest = largest
        self._points = MAX_POINTS
        self._answered = 0
        self._last_index: int | None = None

    @property
    def cursor(self) -> float | None:
        """The time up to which everything has been read, or None before the first poll."""
        return None if self._last_index is None else self._last_index * self._step

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
        at once, which it says by a refusal, by a timeout, or by going down.

        Raises:
            PrometheusError: the source cannot be reached, or fails for a single step; the next call asks from
                the same step on.
        """
        last = self._last_whole_step(now)
        begin = last if self._last_index is None else self._last_index + 1
        if begin > last:
            return None
        while True:
            end = min(last, begin + self._points - 1)
            try:
                tflops, vram = [await self._ask(query, begin, end) for query in self._queries]
            except PrometheusError as error:
                self._shrink(end - begin + 1)
                if begin == end or isinstance(error, PrometheusUnreachable):
                    raise
            else:
                self._grow()
                self._last_index = end
                bounds = Bounds(latest=now + self._step, largest=self._largest())
                return self._usage(tflops, vram, until=end * self._step, bounds=bounds)

    def _last_whole_step(self, now: float) -> int:
        return math.floor((now - self._settle) / self._step)

    async def _ask(self, query: str, begin: int, end: int) -> list[Series]:
        return await self._source.query_range(
            query, start=begin * self._step, end=end * self._step, step=self._step
        )

    def _shrink(self, asked: int) -> None:
        self._answered = 0
        if asked > 1:  # that a single step fails says nothing about lengths
            self._points = asked // 2

    def _grow(self) -> None:
        self._answered += 1
        if self._answered >= _ANSWERS_TO_GROW:
            self._answered, self._points = 0, min(MAX_POINTS, self._points * 2)

    def _usage(self, tflops: list[Series], vram: list[Series], *, until: float, bounds: Bounds) -> Usage:
        outcomes: Counter[Outcome] = Counter()

        def taken(resource: Resource, series: list[Series]) -> tuple[PodUsage, ...]:
            judge = partial(judge_sample, resource=resource, bounds=bounds)
            return by_pod(series, self._preset, self._find, judge, outcomes)

        return Usage(
            tflops=taken(Resource.TFLOPS, tflops),
            vram=taken(Resource.VRAM, vram),
            until=until,
            outcomes=outcomes,
        )


def bulk_queries(preset: Preset, step: float) -> tuple[str, str]:
    """The PromQL that reads TFLOPS and VRAM of all pods at once, one series for each GPU of a pod."""
    labels = ", ".join((*preset.namespace_labels, *preset.pod_labels, *preset.gpu_labels))
    window = f"{round(step * 1000)}ms"

    def bulk(selector: str) -> str:
        return f"max by ({labels}) (max_over_time({selector}[{window}]))"

    return bulk(preset.tflops), bulk(preset.vram)
