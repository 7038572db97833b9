"""The past of workloads that are seen for the first time, read a stretch at a time beside the live loop."""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Final

import structlog

from recommender.checkpoints.snapshot import PendingBackfill
from recommender.keys import WorkloadKey
from recommender.usage.lengths import AnswerLength
from recommender.usage.reading import MOST_PODS, BulkReader, Usage
from recommender.usage.samples import Stretch
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


@dataclass(slots=True, eq=False)
class _Rest:
    """What is still to be read of some workloads: whole steps since the epoch, after `begin`, up to `end`.

    A cluster's workloads mostly begin together: a few of these stand for a hundred thousand of them.
    """

    begin: int
    end: int
    keys: dict[WorkloadKey, None]


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
        self._reading: list[_Rest] = []
        self._waiting: list[_Rest] = []
        self._rest_of: dict[WorkloadKey, _Rest] = {}
        self._read: Stretch | None = None
        self._failures = 0
        self._tries = 0
        self._given_up_in_a_row = 0
        self.given_up = 0
        """How many steps of the past could not be read, and never will be."""

    def __len__(self) -> int:
        """How many workloads there are of which something is still to be read."""
        return len(self._rest_of)

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
        earliest = {
            length: math.ceil((until - length) / self._step - _ALMOST) for length in set(lengths.values())
        }
        groups: defaultdict[int, dict[WorkloadKey, None]] = defaultdict(dict)
        for key, length in lengths.items():
            first, alive = earliest[length], created.get(key, until) // self._step
            groups[first if first > alive else int(alive)][key] = None
        for begin, keys in groups.items():
            self._wait(keys, begin, end)

    def forget(self, key: WorkloadKey) -> None:
        """Read no more of a workload that is gone."""
        rest = self._rest_of.pop(key, None)
        if rest is not None:
            del rest.keys[key]
            self._reading = [each for each in self._reading if each.keys]
            self._waiting = [each for each in self._waiting if each.keys]

    def pending(self) -> tuple[PendingBackfill, ...]:
        """What is still to be read: what a checkpoint has to hold so that nothing is read twice."""
        rests = sorted((*self._reading, *self._waiting), key=lambda rest: (rest.begin, rest.end))
        return tuple(
            PendingBackfill(tuple(rest.keys), rest.begin * self._step, rest.end * self._step)
            for rest in rests
        )

    def resume(self, pending: Iterable[PendingBackfill]) -> None:
        """Take up what another run has left; a step of this one that it has read in part is left out."""
        for group in pending:
            begin = math.ceil(group.begin / self._step - _ALMOST)
            self._wait(dict.fromkeys(group.keys), begin, math.floor(group.end / self._step + _ALMOST))

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
            self._reading, self._waiting = self._waiting, []
            self._length.expect(len(self._rest_of))
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
        # Without those that were forgotten meanwhile.
        return usage, frozenset(chain.from_iterable(rest.keys for rest in self._within(stretch)))

    def fed(self) -> None:
        """What the latest step brought has been taken in: from now on it is not pending any more.

        A step that follows takes it for granted.
        """
        if self._read is not None:
            self._done(self._read)
            self._read = None

    def _wait(self, keys: dict[WorkloadKey, None], begin: int, end: int) -> None:
        for key in self._rest_of.keys() & keys.keys():
            self.forget(key)
        if begin < end and keys:
            rest = _Rest(begin, end, keys)
            self._waiting.append(rest)
            self._rest_of.update(dict.fromkeys(keys, rest))

    def _next_stretch(self) -> Stretch:
        """The newest steps that are still to be read, and of which workloads each."""
        end = max(rest.end for rest in self._reading)
        begin = max(end - self._length.points, min(rest.begin for rest in self._reading))
        wanted: dict[WorkloadKey, tuple[float, float]] = {}
        for rest in self._reading:
            if rest.end > begin:
                wanted.update(dict.fromkeys(rest.keys, (rest.begin * self._step, rest.end * self._step)))
        return Stretch(begin, end, self._step, latest=end * self._step, wanted=wanted)

    def _pods(self, keys: Collection[WorkloadKey]) -> frozenset[str]:
        """The only pods that matter; none where they are too many to name."""
        if len(keys) > MOST_PODS:
            return frozenset()
        return frozenset(name for key in keys for name in self._pods_of(key))

    def _within(self, stretch: Stretch) -> list[_Rest]:
        """What a stretch is read for."""
        return [rest for rest in self._reading if rest.end > stretch.begin]

    def _done(self, stretch: Stretch) -> None:
        for rest in self._within(stretch):
            rest.end = stretch.begin
        self._end([rest for rest in self._reading if rest.end <= rest.begin])

    def _end(self, rests: Collection[_Rest]) -> None:
        """Of these there is nothing to read any more."""
        for rest in rests:
            self._reading.remove(rest)
            for key in rest.keys:
                del self._rest_of[key]

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
            first = min(rest.begin for rest in self._reading)
            steps, self._given_up_in_a_row = stretch.until - first, 0
            self._end(tuple(self._reading))
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
