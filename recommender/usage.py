"""Usage of all pods, read in bulk from a metric source: nothing twice, and gaps fill themselves."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from recommender.pods import TrackedPod
from vgpu.prometheus import AnswerTooLarge, Series
from vgpu.usage_sources import Preset

# Prometheus refuses a range query of more points a series.
MAX_POINTS: Final = 11_000

PodFinder = Callable[[str, str], TrackedPod | None]


class Outcome(StrEnum):
    """What became of a sample."""

    ACCEPTED = "accepted"
    NOT_FINITE = "not_finite"
    NEGATIVE = "negative"
    NO_POD = "no_pod"
    UNKNOWN_POD = "unknown_pod"
    BEFORE_CREATION = "before_creation"


@dataclass(frozen=True, slots=True)
class PodUsage:
    """One pod's use of one resource: at each time the fullest of its GPUs, in TFLOPS or bytes."""

    pod: TrackedPod
    times: tuple[float, ...]
    values: tuple[float, ...]


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
    """

    def __init__(
        self, *, source: RangeSource, preset: Preset, step: float, settle: float, find: PodFinder
    ) -> None:
        self._source = source
        self._queries = bulk_queries(preset, step)
        self._preset = preset
        self._step = step
        self._settle = settle
        self._find = find
        self._points = MAX_POINTS
        self._last_index: int | None = None

    @property
    def cursor(self) -> float | None:
        """The time up to which everything has been read, or None before the first poll."""
        return None if self._last_index is None else self._last_index * self._step

    async def read(self, now: float) -> Usage | None:
        """The next stretch of usage, or None when there is none yet; call it until then.

        The cursor moves when both queries have succeeded, and only then.

        Raises:
            PrometheusError: the source did not answer as it should; the next call asks for the same stretch.
        """
        last = math.floor((now - self._settle) / self._step)
        begin = last if self._last_index is None else self._last_index + 1
        if begin > last:
            return None
        end = min(last, begin + self._points - 1)
        tflops, vram = [await self._ask(query, begin, end) for query in self._queries]
        self._last_index, self._points = end, MAX_POINTS
        return self._usage(tflops, vram, until=end * self._step)

    async def _ask(self, query: str, begin: int, end: int) -> list[Series]:
        try:
            return await self._source.query_range(
                query, start=begin * self._step, end=end * self._step, step=self._step
            )
        except AnswerTooLarge:
            # A long gap of a large cluster: try shorter stretches from the next call on.
            self._points = max(1, (end - begin + 1) // 2)
            raise

    def _usage(self, tflops: list[Series], vram: list[Series], *, until: float) -> Usage:
        outcomes: Counter[Outcome] = Counter()
        return Usage(
            tflops=by_pod(tflops, self._preset, self._find, outcomes),
            vram=by_pod(vram, self._preset, self._find, outcomes),
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


def by_pod(
    series: Iterable[Series], preset: Preset, find: PodFinder, outcomes: Counter[Outcome]
) -> tuple[PodUsage, ...]:
    """Put series together by pod, leaving out what cannot be true.

    Args:
        series: one for each GPU of a pod.
        preset: knows which labels name the pod.
        find: the tracked pod of a namespace and name.
        outcomes: counts every sample by what became of it.
    """
    pods: dict[str, TrackedPod] = {}
    samples: dict[str, dict[float, float]] = {}
    for one in series:
        pod = _pod_of(one, preset, find, outcomes)
        if pod is not None:
            pods[pod.uid] = pod
            _take(one, pod, samples.setdefault(pod.uid, {}), outcomes)
    return tuple(
        PodUsage(pods[uid], tuple(taken), tuple(taken.values())) for uid, taken in samples.items() if taken
    )


def _pod_of(series: Series, preset: Preset, find: PodFinder, outcomes: Counter[Outcome]) -> TrackedPod | None:
    identity = preset.identify(series.labels)
    if identity is None:
        outcomes[Outcome.NO_POD] += len(series.values)
        return None
    pod = find(identity.namespace, identity.pod)
    if pod is None:
        outcomes[Outcome.UNKNOWN_POD] += len(series.values)
    return pod


def _take(series: Series, pod: TrackedPod, taken: dict[float, float], outcomes: Counter[Outcome]) -> None:
    for time, value in zip(series.times, series.values, strict=True):
        outcome = _judge(time, value, pod)
        outcomes[outcome] += 1
        if outcome is Outcome.ACCEPTED:
            taken[time] = max(value, taken.get(time, value))


def _judge(time: float, value: float, pod: TrackedPod) -> Outcome:
    if not math.isfinite(value):
        return Outcome.NOT_FINITE
    if value < 0:
        return Outcome.NEGATIVE
    return Outcome.ACCEPTED if time > pod.created else Outcome.BEFORE_CREATION
