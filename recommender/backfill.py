"""The past of workloads that are seen for the first time, read a stretch at a time beside the live loop."""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from recommender.checkpoints.snapshot import PendingBackfill
from recommender.keys import WorkloadKey
from recommender.lengths import AnswerLength
from recommender.samples import Stretch
from recommender.usage import MOST_PODS, BulkReader, Usage
from vgpu.prometheus import AnswerTooLarge, BadQuery, PrometheusError

# What will not become better by itself is given up soon; an outage may last.
_TRIES_OF_HOPELESS: Final = 3
_TRIES: Final = 30
# So many steps in a row that had to be given up: the rest of the past would not come either.
_MOST_GIVEN_UP: Final = 10
_LONGEST_PAUSE: Final = 60.0
_ALMOST: Final = 1e-6

logger = structlog.get_logger(__name__)

PodNames = Callable[[WorkloadKey], Iterable[str]]
"""The names of a workload's pods."""


@dataclass(slots=True)
class _Rest:
    """What is still to be read of a workload: whole steps since the epoch, after `begin` and up to `end`."""

    begin: int
    end: int


class Backfill:
    """Reads the time before new workloads were first seen, for all of them together.

    Those that come while others are being read wait for these, and are then read together in their turn. Of
    each group the newest steps are read first: they count most. A sample stands for one step of the live
    loop, so that its weight is that of a live one. Where only few pods are concerned, and the preset allows
    it, the source is asked for these alone.

    Args:
        reader: asks the metric source.
        pods_of: the names of a workload's pods.
        pause: seconds to rest between two stretches while the source answers.
    """

    def __init__(self, *, reader: BulkReader, pods_of: PodNames, pause: float) -> None:
        self._reader = reader
        self._step = reader.step
        self._pods_of = pods_of
        self._pause = pause
        self._length = AnswerLength()
        self._reading: dict[WorkloadKey, _Rest] = {}
        self._waiting: dict[WorkloadKey, _Rest] = {}
        self._read: Stretch | None = None
        self._failures = 0
        self._tries = 0
        self._given_up_in_a_row = 0
        self.given_up = 0
        """How many steps of the past could not be read, and never will be."""

    def __len__(self) -> int:
        """How many workloads there are of which something is still to be read."""
        return len(self._reading) + len(self._waiting)

    @property
    def pause(self) -> float:
        """Seconds to rest before the next step; longer after each failure in a row."""
        return min(max(_LONGEST_PAUSE, self._pause), self._pause * 2.0 ** min(self._failures, 30))

    def begin(
        self,
        lengths: Mapping[WorkloadKey, float],
        *,
        until: float,
        created: Mapping[WorkloadKey, float],
    ) -> None:
        """Take in workloads that are seen for the first time.

        Args:
            lengths: how many seconds of the past of each are wanted; 0 for none.
            until: where the live loop begins, by its cursor.
            created: when the oldest pod of each was created: there is nothing before.
        """
        end = math.floor(until / self._step + _ALMOST)
        for key, length in lengths.items():
            earliest = math.ceil((until - length) / self._step - _ALMOST)
            self._wait(key, max(earliest, math.floor(created.get(key, until) / self._step)), end)

    def forget(self, key: WorkloadKey) -> None:
        """Read no more of a workload that is gone."""
        self._reading.pop(key, None)
        self._waiting.pop(key, None)

    def pending(self) -> tuple[PendingBackfill, ...]:
        """What is still to be read: what a checkpoint has to hold so that nothing is read twice."""
        groups: defaultdict[tuple[int, int], list[WorkloadKey]] = defaultdict(list)
        for key, rest in (*self._reading.items(), *self._waiting.items()):
            groups[rest.begin, rest.end].append(key)
        return tuple(
            PendingBackfill(tuple(sorted(keys)), begin * self._step, end * self._step)
            for (begin, end), keys in sorted(groups.items())
        )

    def resume(self, pending: Iterable[PendingBackfill]) -> None:
        """Take up what another run has left; a step of this one that it has read in part is left out."""
        for group in pending:
            begin = math.ceil(group.begin / self._step - _ALMOST)
            end = math.floor(group.end / self._step + _ALMOST)
            for key in group.keys:
                self._wait(key, begin, end)

    async def step(self) -> tuple[Usage, frozenset[WorkloadKey]] | None:
        """Read one stretch.

        Returns:
            What it brought, and the workloads that it was read for: it is to be fed as their earlier usage,
            and then `fed` is to be called. None when nothing was read, as there is nothing more or a step
            had to be given up; `len` tells.

        Raises:
            PrometheusError: the source fails; the next call asks for less, or for the same again.
        """
        self.fed()
        if not self._reading:
            self._reading, self._waiting = self._waiting, {}
            self._length.expect(len(self._reading))
        if not self._reading:
            return None
        stretch = self._next_stretch()
        wanted = stretch.wanted or {}
        try:
            usage, series = await self._reader.read(stretch, pods=self._pods(wanted))
        except PrometheusError as error:
            if not self._failed(stretch, error):
                raise
            return None
        self._length.answered(series)
        self._failures = self._tries = self._given_up_in_a_row = 0
        self._read = stretch
        return usage, frozenset(key for key in wanted if key in self._reading)

    def fed(self) -> None:
        """What the latest step brought has been taken in: from now on it is not pending any more.

        A step that follows takes it for granted.
        """
        if self._read is not None:
            self._done(self._read)
            self._read = None

    def _wait(self, key: WorkloadKey, begin: int, end: int) -> None:
        self.forget(key)
        if begin < end:
            self._waiting[key] = _Rest(begin, end)

    def _next_stretch(self) -> Stretch:
        """The newest steps that are still to be read, and of which workloads each."""
        end = max(rest.end for rest in self._reading.values())
        begin = max(end - self._length.points, min(rest.begin for rest in self._reading.values()))
        wanted = {
            key: (rest.begin * self._step, rest.end * self._step)
            for key, rest in self._reading.items()
            if rest.end > begin
        }
        return Stretch(begin, end, self._step, latest=end * self._step, wanted=wanted)

    def _pods(self, keys: Collection[WorkloadKey]) -> frozenset[str]:
        """The only pods that matter; none where they are too many to name."""
        if len(keys) > MOST_PODS:
            return frozenset()
        return frozenset(name for key in keys for name in self._pods_of(key))

    def _done(self, stretch: Stretch) -> None:
        for key in stretch.wanted or ():
            rest = self._reading.get(key)
            if rest is None:  # forgotten meanwhile
                continue
            rest.end = min(rest.end, stretch.begin)
            if rest.end <= rest.begin:
                del self._reading[key]

    def _failed(self, stretch: Stretch, error: PrometheusError) -> bool:
        """Ask for less the next time; whether the only step was given up, as it will never be answered."""
        hopeless = isinstance(error, AnswerTooLarge | BadQuery)
        asked = stretch.until - stretch.begin
        self._length.failed(asked)
        if asked > 1:
            # A server that says at once that this is too much need not be spared.
            self._failures = 0 if hopeless else self._failures + 1
            return False
        self._failures += 1
        self._tries += 1
        if self._tries < (_TRIES_OF_HOPELESS if hopeless else _TRIES):
            return False
        self._give_up(stretch, error)
        return True

    def _give_up(self, stretch: Stretch, error: PrometheusError) -> None:
        self._failures = self._tries = 0
        self._given_up_in_a_row += 1
        steps = stretch.until - stretch.begin
        if self._given_up_in_a_row >= _MOST_GIVEN_UP:
            first = min(rest.begin for rest in self._reading.values())
            steps, self._given_up_in_a_row = stretch.until - first, 0
            self._reading.clear()
        else:
            self._done(stretch)
        self.given_up += steps
        logger.warning(
            "usage of the past is given up",
            error=str(error),
            until=stretch.until * self._step,
            seconds=steps * self._step,
            workloads=len(stretch.wanted or ()),
        )
