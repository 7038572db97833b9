"""Asks the external scalers when they are due: each in its turn, and none in the way of another.

The addresses of one entry of the operator's list share a number of requests at once. Those that answered in a
moment the last time do not share it with those that did not, so that they never wait for them.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import structlog

from recommender.cluster.failures import in_parallel
from recommender.decisions.verdicts import read_published
from recommender.external_scaler.addresses import Address, AllowList, NotListed
from recommender.external_scaler.answers import Answer, question
from recommender.external_scaler.book import Asked, ScalerBook
from recommender.external_scaler.client import TIMEOUT, ScalerClient, TokenRefused
from recommender.external_scaler.errors import NotAllowed, ScalerError, Unreachable
from recommender.external_scaler.secrets import Tokens
from recommender.keys import WorkloadKey
from recommender.metrics import RecommenderMetrics
from vgpu.kube.objects import CustomObject

# By then a workload that was decided about for the first time is asked, and a clock that was set is noticed.
_LONGEST_WAIT: Final = 0.25
_SHORTEST_WAIT: Final = 0.02
_QUICK: Final = 2.0
"""Seconds in which an answer comes from a scaler that is well."""
_BROKEN: Final = "it cannot be asked, by a mistake of the recommender; its log has it"

logger = structlog.get_logger(__name__)


class _Lane(NamedTuple):
    """What shares a number of requests: an entry of the list, and whether its scalers were quick before."""

    entry: int
    quick: bool


@dataclass(slots=True)
class _Line:
    """Workloads that wait in a lane, and how many requests of it are under way."""

    waiting: deque[WorkloadKey] = field(default_factory=deque)
    under_way: int = 0


class ScalerAsker:
    """Asks on behalf of workloads, and notes the outcome in the book.

    Args:
        book: knows who is to be asked.
        allowed: the addresses that the operator allows.
        client: sends the requests.
        tokens: shows who asks.
        find: a workload as it is known now.
        metrics: counts requests.
        clock: seconds since the epoch.
        at_once: requests under way at once in one lane.
    """

    def __init__(
        self,
        *,
        book: ScalerBook,
        allowed: AllowList,
        client: ScalerClient,
        tokens: Tokens,
        find: Callable[[WorkloadKey], CustomObject | None],
        metrics: RecommenderMetrics,
        clock: Callable[[], float],
        at_once: int,
    ) -> None:
        self._book = book
        self._allowed = allowed
        self._client = client
        self._tokens = tokens
        self._find = find
        self._metrics = metrics
        self._clock = clock
        self._at_once = at_once
        self._quick: set[WorkloadKey] = set()
        self._lines: dict[_Lane, _Line] = {}

    async def run(self) -> None:
        """Ask until cancelled; without an allow-list there is nobody to be asked."""
        if not self._allowed:
            return
        async with self._client, asyncio.TaskGroup() as requests:
            while True:
                for key in self._book.take_due(self._clock()):
                    self._line_up(key, requests)
                await asyncio.sleep(self._pause())

    async def ask_due(self) -> None:
        """Ask all that are due now, and wait for what comes of it."""
        async with self._client:
            await in_parallel(self.ask, list(self._book.take_due(self._clock())))

    def _pause(self) -> float:
        due = self._book.next_due()
        seconds = _LONGEST_WAIT if due is None else due - self._clock()
        return max(_SHORTEST_WAIT, min(seconds, _LONGEST_WAIT))

    def _line_up(self, key: WorkloadKey, requests: asyncio.TaskGroup) -> None:
        lane = self._lane(key)
        line = self._lines.setdefault(lane, _Line())
        line.waiting.append(key)
        if line.under_way < self._at_once:
            line.under_way += 1
            requests.create_task(self._serve(lane, line), name="external scaler")

    async def _serve(self, lane: _Lane, line: _Line) -> None:
        """Ask one after the other of those that wait in a lane, until none does."""
        try:
            while line.waiting:
                await self.ask(line.waiting.popleft())
        finally:
            line.under_way -= 1
            if not line.waiting and not line.under_way:
                self._lines.pop(lane, None)

    def _lane(self, key: WorkloadKey) -> _Lane:
        asked = self._book.asked(key)
        try:
            entry = self._allowed.check(asked.scaler.url)[1] if asked is not None else -1
        except NotListed:
            entry = -1
        return _Lane(entry, key in self._quick)

    async def ask(self, key: WorkloadKey) -> None:
        """Ask on behalf of one workload; whatever goes wrong is told in the book."""
        asked, live = self._book.asked(key), self._find(key)
        if asked is None or live is None:
            self._quick.discard(key)
            self._book.put_off(key, self._clock())
            return
        begun, start = self._clock(), time.perf_counter()
        try:
            answer = await self._post(key, asked, live, self._address(asked))
        except ScalerError as error:
            self._failed(key, error, begun, start)
        except Exception:  # a mistake of ours about one workload must not stop the others
            logger.exception("an external scaler cannot be asked", workload=str(key))
            self._failed(key, Unreachable(_BROKEN), begun, start)
        else:
            self._measure("Answered", key, start)
            self._book.answered(key, answer, begun=begun, now=self._clock())

    def _address(self, asked: Asked) -> Address:
        try:
            return self._allowed.check(asked.scaler.url)[0]
        except NotListed as error:
            raise NotAllowed(str(error)) from error

    async def _post(self, key: WorkloadKey, asked: Asked, live: CustomObject, address: Address) -> Answer:
        current = read_published(live.status).recommendation or asked.baseline
        try:
            async with asyncio.timeout(TIMEOUT):
                token = await self._tokens.of(key.namespace, asked.scaler)
                return await self._client.ask(address, question(key, current), token)
        except TokenRefused:
            self._tokens.forget(key.namespace, asked.scaler)
            raise
        except TimeoutError:
            raise Unreachable(f"{address.shown} was not asked within {TIMEOUT:g} s") from None

    def _failed(self, key: WorkloadKey, error: ScalerError, begun: float, start: float) -> None:
        self._measure(error.reason, key, start)
        logger.info(
            "external scaler gave no answer", workload=str(key), reason=error.reason, error=str(error)
        )
        self._book.failed(key, error, begun=begun, now=self._clock())

    def _measure(self, outcome: str, key: WorkloadKey, start: float) -> None:
        seconds = time.perf_counter() - start
        self._metrics.external_scaler_asked(outcome, seconds)
        (self._quick.add if outcome == "Answered" and seconds < _QUICK else self._quick.discard)(key)
