"""Who holds a Lease when everything that can go wrong does, on a clock that jumps."""

import asyncio
import random
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.leadership.leases import LABELS, LeaseTiming, lease_name
from recommender.leadership.shards import Shard
from tests.support.contending import NAMESPACE, Contender, ContentionRig, Json
from tests.support.examples import examples
from tests.support.kube_in_memory import Trouble
from vgpu.kube.resources import LEASES
from vgpu.kube.transport import Call

WHOLE, HALVES, THIRDS = [[Shard(index, count) for index in range(count)] for count in (1, 2, 3)]


def old_lease(shard: Shard, *, holder: str) -> Json:
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": "2020-01-01T00:00:00.000000Z"}
    return {"metadata": {"name": lease_name(shard), "namespace": NAMESPACE, "labels": LABELS}, "spec": spec}


def put(rig: ContentionRig, lease: Json) -> None:
    rig.kube.store.create(LEASES, NAMESPACE, lease, ("person", "Update", ""))


class Watch:
    """Looks at every moment whether two hold what only one may."""

    def __init__(self, rig: ContentionRig) -> None:
        self.rig = rig
        self.seen: set[str] = set()
        rig.loop.on_wait = self.look

    def look(self) -> None:
        leaders = [each for each in self.rig.contenders if each.leads]
        self.seen |= {each.name for each in leaders}
        shards = [each.shard for each in leaders]
        assert len(set(shards)) == len(shards), f"{[each.name for each in leaders]} hold one Lease"
        assert len({shard.count for shard in shards}) < 2, f"two divisions at once: {shards}"


@dataclass
class Weather:
    """What requests go through: delays, losses on the way there and back, errors, endless silence."""

    random: random.Random
    share: float

    def __call__(self, call: Call) -> Trouble:
        if self.random.random() > self.share:
            return Trouble(before=self.random.expovariate(20), after=self.random.expovariate(20))
        kind = self.random.randrange(5)
        slow = self.random.uniform(0, 40)
        return Trouble(
            before=slow if kind in {0, 1} else 0.01,
            after=slow if kind in {1, 2} else 0.01,
            lost=kind == 3 and self.random.random() < 0.5,
            unanswered=kind == 3,
            refused=503 if kind == 4 else 0,
        )


class Endless(LeaseTiming):
    """Waits for an answer however long it takes, as a process does that stands still while it comes."""

    @property
    def patience(self) -> float:
        return 1e9


async def disturb(rig: ContentionRig, chance: random.Random, *, until: float) -> None:
    """Processes that end and begin, an API that goes away and comes back, a machine that stands still."""
    while rig.now() < until:
        await asyncio.sleep(chance.uniform(1, 25))
        subject = chance.choice([each for each in rig.contenders if not each.task.done()])
        event = chance.randrange(4)
        if event == 0:
            subject.task.cancel()
            await asyncio.wait([subject.task])
            rig.contender(f"{subject.name}, restarted", subject.shard, subject.timing)
        elif event == 1:
            before, subject.trouble = subject.trouble, lambda _: Trouble(lost=True)
            await asyncio.sleep(chance.uniform(1, 30))
            subject.trouble = before
        elif event == 2:
            rig.loop.now += chance.uniform(1, 30)
        else:
            await asyncio.sleep(chance.uniform(1, 60))


SHARDS = st.lists(st.sampled_from([*WHOLE, *HALVES, *THIRDS]), min_size=2, max_size=5)


@given(
    seed=st.integers(0, 2**32),
    shards=st.lists(st.just(Shard()), min_size=2, max_size=3) | SHARDS,
    share=st.sampled_from([0.0, 0.1, 0.4]),
    patient=st.booleans(),
)
@settings(max_examples=examples(30))
def test_at_no_moment_two_hold_what_only_one_may(
    seed: int, shards: list[Shard], share: float, patient: bool
) -> None:
    """Whatever requests and processes go through; that somebody comes to hold it is another test."""
    rig = ContentionRig(seed)
    Watch(rig)
    timing = Endless() if patient else LeaseTiming()

    async def main() -> None:
        for number, shard in enumerate(shards):
            rig.contender(f"replica {number} of {shard}", shard, timing).trouble = Weather(rig.random, share)
            await asyncio.sleep(rig.random.choice([0, 0, rig.random.uniform(0, 10)]))
        await disturb(rig, rig.random, until=120)

    rig.run(main())


@given(seed=st.integers(0, 2**32), shards=SHARDS)
@settings(max_examples=examples(15))
def test_of_several_divisions_that_begin_together_one_comes_to_lead(seed: int, shards: list[Shard]) -> None:
    rig = ContentionRig(seed)
    watch = Watch(rig)

    async def main() -> None:
        made = [rig.contender(f"replica {n} of {shard}", shard) for n, shard in enumerate(shards)]
        await rig.until_leads(*made, within=10.0)
        await rig.pass_time(20)
        leading = {each.shard for each in made if each.leads}
        count = next(iter(leading)).count
        assert leading == {shard for shard in shards if shard.count == count}, "a shard of theirs is left out"

    rig.run(main())
    assert watch.seen


def test_a_new_division_waits_for_the_old_one_to_end() -> None:
    rig = ContentionRig()
    Watch(rig)

    async def main() -> None:
        old = rig.contender("old", WHOLE[0])
        await rig.until_leads(old)
        new = [rig.contender(f"new {shard}", shard) for shard in HALVES]
        await rig.pass_time(120)
        assert old.leads
        assert not any(each.leads for each in new)
        await old.stop()
        await rig.pass_time(3)
        assert all(each.leads for each in new)

    rig.run(main())


def test_fewer_shards_wait_for_more_just_so() -> None:
    rig = ContentionRig()
    Watch(rig)

    async def main() -> None:
        old = [rig.contender(f"old {shard}", shard) for shard in THIRDS]
        await rig.pass_time(5)
        new = rig.contender("new", WHOLE[0])
        await rig.pass_time(60)
        assert all(each.leads for each in old)
        for each in old[:2]:
            await each.stop()
        await rig.pass_time(60)
        assert not new.leads, "the third is still there"
        await old[2].stop()
        await rig.until_leads(new, within=3.0)

    rig.run(main())


@pytest.mark.parametrize("waiting", [WHOLE[0], THIRDS[0]])
def test_a_shard_of_the_division_that_leads_fails_over_while_another_waits(waiting: Shard) -> None:
    rig = ContentionRig()
    Watch(rig)

    async def main() -> None:
        old = [rig.contender(f"old {shard}", shard) for shard in HALVES]
        await rig.pass_time(5)
        heir = rig.contender("heir", HALVES[1])
        new = rig.contender("new", waiting)
        await rig.pass_time(10)
        old[1].kill()
        await rig.until_leads(heir, within=20.0)
        assert (old[0].leads, new.leads) == (True, False)

    rig.run(main())


def test_a_division_whose_leader_died_is_waited_for_as_long_as_its_lease_says() -> None:
    rig = ContentionRig()
    put(rig, old_lease(WHOLE[0], holder="dead"))

    async def main() -> None:
        took = await rig.until_leads(rig.contender("new", HALVES[0]))
        assert 15.0 <= took <= 17.5

    rig.run(main())


def test_leases_of_an_old_division_are_deleted_once_another_leads() -> None:
    rig = ContentionRig()
    for shard in THIRDS:
        put(rig, old_lease(shard, holder="" if shard.index else "dead"))

    async def main() -> None:
        await rig.until_leads(rig.contender("new", HALVES[0]))
        await rig.until_leads(rig.contender("new too", HALVES[1]))
        await rig.pass_time(20)

    rig.run(main())
    left = [lease["metadata"]["name"] for lease in rig.kube.store.list(LEASES)]
    assert left == ["vgpu-recommender-0-of-2", "vgpu-recommender-1-of-2"]


def test_leases_that_are_not_of_a_shard_are_left_alone() -> None:
    rig = ContentionRig()
    lease = old_lease(WHOLE[0], holder="somebody")
    for name in ("vgpu-recommender-7-of-3", "another"):
        put(rig, {**lease, "metadata": {**lease["metadata"], "name": name}})

    async def main() -> None:
        await rig.until_leads(rig.contender("new"), within=1.0)
        await rig.pass_time(20)

    rig.run(main())
    assert len(rig.kube.store.list(LEASES)) == 3


def test_of_two_divisions_that_claim_at_once_the_one_of_more_shards_goes_on() -> None:
    rig = ContentionRig()
    Watch(rig)

    def late(call: Call) -> Trouble:
        """Both have looked and seen nobody before either has claimed."""
        return Trouble(before=1.0 if call.method == "POST" else 0.001)

    async def main() -> None:
        whole, half = rig.contender("whole", WHOLE[0]), rig.contender("half", HALVES[0])
        whole.trouble = half.trouble = late
        await rig.pass_time(10)
        assert (whole.leads, half.leads) == (False, True)

    rig.run(main())


@pytest.mark.parametrize("times", [1, 3])
def test_a_candidate_that_cannot_look_at_other_divisions_does_not_lead(times: int) -> None:
    rig = ContentionRig()

    async def main() -> None:
        only = rig.contender("a")
        refusals = iter(range(times))
        only.trouble = lambda call: Trouble(
            refused=503 if call.path.endswith("/leases") and next(refusals, None) is not None else 0
        )
        took = await rig.until_leads(only)
        assert took > times
        assert only.metrics.value("failures_total") == times

    rig.run(main())


def test_a_claim_whose_answer_comes_when_it_is_another_s_turn_is_worth_nothing() -> None:
    rig = ContentionRig()
    watch = Watch(rig)

    async def main() -> None:
        late = rig.contender("late", timing=Endless())
        late.trouble = lambda call: Trouble(after=20.0 if call.method == "POST" else 0.001)
        await rig.pass_time(1)
        await rig.until_leads(rig.contender("other"))
        await rig.pass_time(60)

    rig.run(main())
    assert watch.seen == {"other"}


def test_a_renewal_counts_from_when_it_was_sent() -> None:
    rig = ContentionRig()
    Watch(rig)

    async def main() -> None:
        slow = rig.contender("slow", timing=Endless())
        await rig.until_leads(slow)
        other = rig.contender("other")
        await rig.pass_time(30)
        answers = iter([Trouble(after=7.0)])
        slow.trouble = lambda _: next(answers, Trouble(lost=True))
        await rig.until_leads(other)

    rig.run(main())


def test_a_request_that_is_never_answered_is_given_up() -> None:
    rig = ContentionRig()

    async def main() -> None:
        only: Contender = rig.contender("a")
        hanging = iter([Trouble(before=1e6)])
        only.trouble = lambda _: next(hanging, Trouble())
        assert await rig.until_leads(only) < 10.0

    rig.run(main())
