"""Has running pods made anew, workload by workload, in a task of its own.

Only workloads with the update mode Recreate are known here, and each only while there is something to do or
to wait for: a look at a workload brings it in, and so does every change of its pods.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, Self

import structlog

from recommender.cluster.pods import TrackedPod
from recommender.decisions.verdicts import Verdict
from recommender.errors import NotLeader
from recommender.histories.pacing import with_breaks
from recommender.keys import WorkloadKey, key_of
from recommender.metrics import RecommenderMetrics
from recommender.publishing.events import Tell
from recommender.publishing.happenings import POD_EVICTED, UPDATE_HELD, Happening
from recommender.settings import RecommenderSettings
from recommender.updating.agenda import Agenda
from recommender.updating.eviction import Evictor, Outcome, Result
from recommender.updating.holds import Holds
from recommender.updating.members import NO_PROGRESS, Limits, Member, Progress, Situation
from recommender.updating.planning import Plan, plan
from recommender.updating.progress import after_eviction, after_refusal, settled
from recommender.updating.reasons import WORTH_TELLING, Reason
from recommender.updating.survey import Wanted, survey, wanted
from vgpu.kube.objects import CustomObject, ObjectMeta
from vgpu.naming import Owner
from vgpu.slices import Amounts

_LONGEST_WAIT: Final = 60.0
_SHORTEST_WAIT: Final = 0.05
# Of a request without an answer nobody knows better than that it was done.
_WENT: Final = frozenset({Outcome.EVICTED, Outcome.UNKNOWN})

PodsOf = Callable[[WorkloadKey], Iterable[TrackedPod]]
Cap = Callable[[str | None, Amounts], Amounts]

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator allows in the whole cluster.

    Attributes:
        limits: what is allowed of one workload.
        least: the fraction by which a request or limit has to differ for a pod to be made anew.
        gap: seconds between two evictions.
    """

    limits: Limits
    least: float
    gap: float

    @classmethod
    def from_settings(cls, settings: RecommenderSettings) -> Self:
        """The rules that the settings give."""
        limits = Limits(
            cool_down=settings.eviction_cool_down,
            minimum_age=settings.eviction_minimum_age,
            fraction=settings.eviction_fraction,
        )
        return cls(limits, least=settings.eviction_threshold, gap=60 / settings.evictions_per_minute)


@dataclass(frozen=True, slots=True)
class _Followed:
    """A workload that wants something of its pods."""

    metadata: ObjectMeta
    wanted: Wanted
    progress: Progress = NO_PROGRESS
    told: Reason | None = None


class Updater:
    """Evicts pods whose slice is not what a new pod would get.

    Args:
        evictor: does it.
        rules: what the operator allows.
        pods_of: the pods of a workload.
        cap: what a card gives, by the workload's `gpuModel` and what its own slice requests.
        tell: takes note of what happens.
        metrics: counts evictions, and what holds them back.
        clock: seconds since the epoch.
        monotonic: seconds on a clock that nobody sets.
    """

    def __init__(
        self,
        *,
        evictor: Evictor,
        rules: Rules,
        pods_of: PodsOf,
        cap: Cap,
        tell: Tell,
        metrics: RecommenderMetrics,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._evictor = evictor
        self._rules = rules
        self._pods_of = pods_of
        self._cap = cap
        self._tell = tell
        self._metrics = metrics
        self._clock = clock
        self._monotonic = monotonic
        self._followed: dict[WorkloadKey, _Followed] = {}
        self._agenda = Agenda()
        self._holds = Holds(metrics)
        # A term that has just begun does not know when the last one evicted.
        self._next_turn = monotonic() + rules.gap
        self._bell = asyncio.Event()
        for outcome in Outcome:
            metrics.evictions.labels(outcome)

    def __len__(self) -> int:
        """How many workloads are followed."""
        return len(self._followed)

    def consider(self, live: CustomObject, verdict: Verdict, *, invalid: bool) -> None:
        """Look at the pods of a workload soon, if it wants them made anew.

        Args:
            live: the workload, whose status is in step with the verdict: that is what new pods get.
            verdict: what was found out about it.
            invalid: whether its template or profile has a mistake.
        """
        key, metadata = key_of(live.metadata), live.metadata
        what = wanted(live, verdict, invalid=invalid)
        if what is None:
            self.forget(key)
            return
        known = self._followed.get(key)
        new = _Followed(metadata, what)
        self._followed[key] = new if known is None else replace(known, metadata=metadata, wanted=what)
        self._agenda.put(key, self._clock())
        self._bell.set()

    def pause(self, key: WorkloadKey) -> None:
        """Evict no pod of a workload until it is considered again: its status is being written."""
        self._agenda.drop(key)

    def forget(self, key: WorkloadKey) -> None:
        """Drop a workload that is no more, or wants nothing of its pods any more."""
        if self._followed.pop(key, None) is not None:
            self._agenda.drop(key)
            self._holds.settle(key)

    async def run(self) -> None:
        """Evict, until cancelled.

        Raises:
            NotLeader: this replica may write no more.
        """
        while True:
            await self._wait()
            await self.work_off()

    async def work_off(self) -> None:
        """Look at all workloads whose time has come, and evict as much as may be now."""
        async for key in with_breaks(tuple(self._agenda.take_due(self._clock()))):
            self._look_at(key)
        while self._monotonic() >= self._next_turn and (turn := self._agenda.next_in_line()) is not None:
            planned = self._planned(turn)  # it may have waited for long
            if planned is not None:
                await self._evict(turn, *planned)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._until_due()):
                await self._bell.wait()
        except TimeoutError:
            return
        self._bell.clear()

    def _until_due(self) -> float:
        due = self._agenda.next_due() - self._clock()
        if self._agenda.waiting:
            due = min(due, self._next_turn - self._monotonic())
        return max(_SHORTEST_WAIT, min(due, _LONGEST_WAIT))

    def _look_at(self, key: WorkloadKey) -> None:
        """Find out what is to be done; what is evicted waits for its turn."""
        planned = self._planned(key)
        if planned is not None:
            self._agenda.line_up(key)
            self._holds.settle(key)

    def _planned(self, key: WorkloadKey) -> tuple[Situation, Plan] | None:
        """The plan, where it evicts a pod; of all others the rest is seen to."""
        followed = self._followed.get(key)
        if followed is None:
            return None
        try:
            situation = self._survey(key, followed.wanted)
        except Exception:  # a mistake of ours about one workload must not stop the others
            logger.exception("pods of a workload cannot be compared", workload=str(key))
            self._hold(key, Plan(held=Reason.FAILED, again=self._clock() + _LONGEST_WAIT))
            return None
        now, limits = self._clock(), self._rules.limits
        progress = settled(followed.progress, situation, limits, now)
        self._followed[key] = replace(followed, progress=progress)
        found = plan(situation, progress, limits, now)
        if found.evict:
            return situation, found
        if found.held is not None:
            self._hold(key, found)
        elif now < progress.until:
            self._agenda.put(key, progress.until)  # the rest counts when there is something to do before
            self._holds.settle(key)
        else:
            self.forget(key)
        return None

    def _survey(self, key: WorkloadKey, wanted: Wanted) -> Situation:
        spec = wanted.spec
        card = self._cap(spec.gpu_model, spec.resources.requests)
        return survey(wanted, self._pods_of(key), card=card, least=self._rules.least)

    async def _evict(self, key: WorkloadKey, situation: Situation, found: Plan) -> None:
        evicted: list[Member] = []
        looked_at: set[Owner] = set()
        for member in found.evict:
            self._next_turn = max(self._next_turn, self._monotonic()) + self._rules.gap
            # Once for all that go at a time: the first has its controller make another already.
            result = await self._evict_one(key, member, situation, look=member.root not in looked_at)
            looked_at.add(member.root)
            self._metrics.evictions.labels(result.outcome).inc()
            if result.outcome not in _WENT:
                self._stop_at(key, result, member)
                break
            evicted.append(member)
            if result.outcome is Outcome.EVICTED:
                self._tell_of(key, member)
        if evicted:
            self._went(key, situation, evicted)

    async def _evict_one(
        self, key: WorkloadKey, member: Member, situation: Situation, *, look: bool
    ) -> Result:
        present = sum(each.root == member.root for each in situation.members)
        single = situation.single_allowed
        try:
            if look and (
                held := await self._evictor.held(
                    key.namespace, member, present=present, single_allowed=single
                )
            ):
                return held
            return await self._evictor.evict(key.namespace, member)
        except NotLeader:
            raise
        except Exception:  # likewise
            logger.exception("pod cannot be evicted", workload=str(key), pod=member.name)
            return Result(Outcome.FAILED, Reason.FAILED)

    def _tell_of(self, key: WorkloadKey, member: Member) -> None:
        if (followed := self._followed.get(key)) is not None:
            note = f"Pod {member.name} was evicted: a new one gets what is recommended"
            self._tell(followed.metadata, Happening(POD_EVICTED, note), related=_pod(key, member))

    def _went(self, key: WorkloadKey, situation: Situation, evicted: list[Member]) -> None:
        followed = self._followed.get(key)
        if followed is None:  # deleted meanwhile
            return
        now = self._clock()
        progress = after_eviction(followed.progress, situation, evicted, now)
        self._followed[key] = replace(followed, progress=progress, told=None)
        self._hold(key, plan(situation, progress, self._rules.limits, now))

    def _stop_at(self, key: WorkloadKey, result: Result, member: Member) -> None:
        """Take note of why a pod was not evicted, and when to try again."""
        followed = self._followed.get(key)
        if followed is None:
            return
        now = self._clock()
        if result.reason is None:  # gone already, or busy: the watch tells of it, or else it is seen later
            self._agenda.put(key, now + _LONGEST_WAIT)
            return
        progress = after_refusal(followed.progress, result.reason, now, retry_after=result.retry_after)
        self._followed[key] = replace(followed, progress=progress)
        self._hold(key, Plan(held=result.reason, member=member, again=progress.until))

    def _hold(self, key: WorkloadKey, found: Plan) -> None:
        """Take note that nothing is evicted now, and tell why, once, if a user would wonder."""
        reason, followed = found.held, self._followed[key]
        if reason is None:
            return
        self._agenda.put(key, found.again)
        self._holds.hold(key, reason)
        text = WORTH_TELLING.get(reason)
        if text is None or followed.told is reason:
            return
        self._followed[key] = replace(followed, told=reason)
        note = f"Running pods keep their slice: {_worded(text, found.member)}"
        self._tell(followed.metadata, Happening(UPDATE_HELD, note))


def _worded(text: str, member: Member | None) -> str:
    return f"{text} ({member.gang})" if member is not None and member.gang is not None else text


def _pod(key: WorkloadKey, member: Member) -> ObjectMeta:
    return ObjectMeta(name=member.name, namespace=key.namespace, uid=member.uid)
