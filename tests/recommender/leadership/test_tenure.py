import asyncio
import contextlib
from collections.abc import Callable

import pytest

from recommender.errors import MissingNamespace, NotLeader, StuckTerm, TermOver
from recommender.leadership.election import Held, Tenure, fence
from recommender.leadership.leases import LeaseTiming, lease_name
from recommender.leadership.shards import Shard
from recommender.leadership.tenure import Leadership, new_identity
from recommender.settings import RecommenderSettings
from tests.support.contending import NAMESPACE, Contender, ContentionRig, Metrics
from tests.support.fake_kube import FakeKube
from tests.support.kube_in_memory import Trouble
from tests.support.waiting import until
from vgpu.errors import ExitCode
from vgpu.kube.client import KubeClient
from vgpu.kube.resources import CONFIG_MAPS, LEASES

DURATION, DEADLINE, RETRY = 15.0, 10.0, 2.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_tenure_that_has_run_out_cannot_be_prolonged() -> None:
    clock = Clock()
    tenure = Tenure(clock=clock, until=10.0)
    clock.now = 10.0
    tenure.prolong(30.0)
    assert tenure.remaining() == 0


def test_a_tenure_remains_for_good_only_while_it_has_not_been_seen_to_end() -> None:
    clock = Clock()
    tenure = Tenure(clock=clock, until=10.0)
    tenure.prolong(20.0)
    clock.now = 15.0
    assert tenure.remaining() == 5.0
    tenure.end()
    assert tenure.remaining() == 0


def test_a_fence_lets_through_until_the_tenure_has_run_out() -> None:
    clock = Clock()
    check = fence(Tenure(clock=clock, until=10.0))
    clock.now = 9.9
    check()
    clock.now = 10.0
    with pytest.raises(NotLeader, match="not sent"):
        check()


def test_two_processes_of_one_name_are_told_apart() -> None:
    assert new_identity("recommender-0").startswith("recommender-0_")
    assert new_identity("recommender-0") != new_identity("recommender-0")


def test_the_first_replica_leads_and_says_so_in_its_lease() -> None:
    rig = ContentionRig()

    async def main() -> None:
        first = rig.contender("a")
        await rig.until_leads(first, within=1.0)

    rig.run(main())
    begin = rig.lease()
    assert begin is not None
    assert begin["metadata"]["name"] == "vgpu-recommender-0-of-1"
    assert begin["spec"]["leaseTransitions"] == 0
    assert begin["spec"]["acquireTime"].endswith("Z")


def test_a_lease_is_renewed_and_keeps_the_time_of_its_acquisition() -> None:
    rig = ContentionRig()

    async def main() -> None:
        first = rig.contender("a")
        await rig.until_leads(first)
        before = rig.lease()
        await rig.pass_time(600)
        after = rig.lease()
        assert before is not None
        assert after is not None
        assert first.leads
        assert len(first.terms) == 0
        assert after["spec"]["acquireTime"] == before["spec"]["acquireTime"]
        assert after["spec"]["renewTime"] > before["spec"]["renewTime"]
        assert after["spec"] | {"renewTime": ""} == before["spec"] | {"renewTime": ""}

    rig.run(main())


def test_a_renewal_is_one_request() -> None:
    rig = ContentionRig()

    async def main() -> None:
        await rig.until_leads(rig.contender("a"))
        rig.kube.calls.clear()
        await rig.pass_time(60)

    rig.run(main())
    assert {call.method for call in rig.kube.calls[:-1]} == {"PUT"}
    assert 60 / RETRY <= len(rig.kube.calls) <= 60 / (RETRY * 0.7)


def test_what_others_have_written_on_a_lease_stays() -> None:
    rig = ContentionRig()

    async def main() -> None:
        await rig.until_leads(rig.contender("a"))
        live = rig.lease()
        assert live is not None
        live["metadata"] |= {
            "annotations": {"note": "x"},
            "labels": {**live["metadata"]["labels"], "team": "b"},
        }
        rig.kube.store.update(LEASES, NAMESPACE, live, ("person", "Update", ""))
        await rig.pass_time(10)
        live = rig.lease()
        assert live is not None
        assert live["metadata"]["annotations"] == {"note": "x"}
        assert live["metadata"]["labels"]["team"] == "b"

    rig.run(main())


def test_the_second_replica_waits_until_the_first_is_gone() -> None:
    rig = ContentionRig()

    async def main() -> None:
        first = rig.contender("a")
        await rig.until_leads(first)
        second = rig.contender("b")
        await rig.pass_time(120)
        assert (first.leads, second.leads) == (True, False)

    rig.run(main())


@pytest.mark.parametrize("seed", range(5))
def test_the_next_leads_within_a_duration_and_a_retry_of_the_leader_s_death(seed: int) -> None:
    rig = ContentionRig(seed)

    async def main() -> None:
        first = rig.contender("a")
        await rig.until_leads(first)
        second = rig.contender("b")
        await rig.pass_time(31.3)
        first.kill()
        took = await rig.until_leads(second)
        assert DURATION - 2 * RETRY < took <= DURATION + RETRY + 0.3

    rig.run(main())
    lease = rig.lease()
    assert lease is not None
    assert lease["spec"]["leaseTransitions"] == 1


@pytest.mark.parametrize("skew", [-86_400.0, 86_400.0])
def test_a_wrong_clock_of_the_leader_makes_no_difference(skew: float) -> None:
    rig = ContentionRig()
    rig.skews["a"] = skew

    async def main() -> None:
        first = rig.contender("a")
        await rig.until_leads(first)
        second = rig.contender("b")
        await rig.pass_time(60)
        assert (first.leads, second.leads) == (True, False)
        first.kill()
        assert await rig.until_leads(second) <= DURATION + RETRY + 0.3

    rig.run(main())


def test_a_leader_that_stops_hands_over_at_once() -> None:
    rig = ContentionRig()

    async def main() -> None:
        first = rig.contender("a")
        await rig.until_leads(first)
        second = rig.contender("b")
        await rig.pass_time(20)
        await first.stop()
        lease = rig.lease()
        assert lease is not None
        assert (lease["spec"]["holderIdentity"], lease["spec"]["leaseDurationSeconds"]) == ("", 1)
        assert await rig.until_leads(second) <= RETRY

    rig.run(main())


def test_the_last_words_of_a_leader_that_stops_are_written_before_the_lease_is_released() -> None:
    rig = ContentionRig()
    held: list[tuple[float, object]] = []

    async def save(client: KubeClient) -> None:
        await asyncio.sleep(4.0)  # a checkpoint takes its time, and the Lease is renewed meanwhile
        await client.create(CONFIG_MAPS, {"metadata": {"name": "checkpoint"}}, namespace=NAMESPACE)
        lease = rig.lease()
        assert lease is not None
        held.append((rig.now(), lease["spec"]["holderIdentity"]))

    async def main() -> None:
        first = rig.contender("a")
        first.last_words = save
        await rig.until_leads(first)
        await rig.pass_time(9.9)
        await first.stop()

    rig.run(main())
    assert [holder for _, holder in held] == ["a"]
    assert rig.kube.store.find(CONFIG_MAPS, NAMESPACE, "checkpoint") is not None


def test_a_leader_without_a_connection_stops_before_another_begins() -> None:
    rig = ContentionRig()

    async def main() -> None:
        first = rig.contender("a")
        await rig.until_leads(first)
        second = rig.contender("b")
        await rig.pass_time(30)
        begin = rig.now()
        first.kill()
        await until_virtual(rig, lambda: bool(first.terms))
        assert DEADLINE - RETRY - 0.1 <= rig.now() - begin <= DEADLINE
        assert not second.leads
        await rig.until_leads(second)

    rig.run(main())


def test_a_renewal_that_hangs_keeps_no_term_beyond_the_deadline() -> None:
    rig = ContentionRig()

    async def main() -> None:
        first = rig.contender("a")
        await rig.until_leads(first)
        await rig.pass_time(30)
        begin = rig.now()
        first.trouble = lambda _: Trouble(before=3600.0)
        await until_virtual(rig, lambda: bool(first.terms))
        assert rig.now() - begin <= DEADLINE

    rig.run(main())


def test_a_renewal_that_is_far_off_keeps_no_term_beyond_the_deadline() -> None:
    rig = ContentionRig()

    async def main() -> None:
        first = rig.contender("a", timing=LeaseTiming(DURATION, DEADLINE, retry=8.0))
        await rig.until_leads(first)
        begin = rig.now()
        first.trouble = lambda _: Trouble(lost=True)
        await until_virtual(rig, lambda: bool(first.terms))
        assert rig.now() - begin <= DEADLINE

    rig.run(main())


def test_a_leader_that_could_write_no_more_says_no_last_words() -> None:
    rig = ContentionRig()

    async def save(client: KubeClient) -> None:
        await client.create(CONFIG_MAPS, {"metadata": {"name": "checkpoint"}}, namespace=NAMESPACE)

    async def main() -> None:
        first = rig.contender("a")
        first.last_words = save
        await rig.until_leads(first)
        first.trouble = lambda call: Trouble(lost=call.path.endswith("0-of-1"))
        await rig.pass_time(12)
        assert first.held is not None
        assert first.held.remaining() == 0
        first.trouble = lambda _: Trouble()
        await rig.pass_time(20)
        assert first.leads, "it comes back for another term"
        assert [call for call in rig.kube.calls if "configmaps" in call.path] == []

    rig.run(main())


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_leader_outlives_a_server_in_trouble_for_less_than_the_deadline(code: int) -> None:
    rig = ContentionRig()

    async def main() -> None:
        first = rig.contender("a")
        await rig.until_leads(first)
        second = rig.contender("b")
        for _ in range(4):
            first.trouble = lambda _: Trouble(refused=code)
            await rig.pass_time(6)
            first.trouble = lambda _: Trouble()
            await rig.pass_time(4)
        assert (first.leads, second.leads) == (True, False)
        assert first.metrics.value("failures_total") > 0  # type: ignore[operator]  # there is one

    rig.run(main())


def test_a_renewal_whose_answer_was_lost_does_not_cost_the_lease() -> None:
    rig = ContentionRig()

    async def main() -> None:
        first = rig.contender("a")
        await rig.until_leads(first)
        await rig.pass_time(5)
        first.trouble = lambda call: Trouble(unanswered=call.method == "PUT")
        await rig.pass_time(5)
        first.trouble = lambda _: Trouble()
        await rig.pass_time(60)
        assert first.leads
        assert first.terms == []

    rig.run(main())


def test_a_request_without_an_answer_does_not_use_up_the_deadline() -> None:
    rig = ContentionRig()

    async def main() -> None:
        first = rig.contender("a")
        await rig.until_leads(first)
        hanging = iter([Trouble(before=3600.0)])
        first.trouble = lambda _: next(hanging, Trouble())
        await rig.pass_time(60)
        assert first.leads
        assert first.terms == []

    rig.run(main())


def test_a_leader_whose_lease_was_taken_away_stops_with_the_next_renewal() -> None:
    rig = ContentionRig()

    async def main() -> None:
        first = rig.contender("a")
        await rig.until_leads(first)
        live = rig.lease()
        assert live is not None
        live["spec"]["holderIdentity"] = "a person"
        rig.kube.store.update(LEASES, NAMESPACE, live, ("person", "Update", ""))
        await rig.pass_time(2 * RETRY + 0.1)
        assert not first.leads
        assert len(first.terms) == 1

    rig.run(main())


def test_a_lease_that_was_deleted_is_made_again_after_the_term_has_ended() -> None:
    rig = ContentionRig()

    async def main() -> None:
        first = rig.contender("a")
        await rig.until_leads(first)
        rig.kube.store.delete(LEASES, NAMESPACE, lease_name(Shard()))
        await rig.pass_time(RETRY + 0.1)
        assert len(first.terms) == 1
        await rig.until_leads(first, within=3 * RETRY)

    rig.run(main())


def test_a_process_that_stood_still_beyond_its_lease_writes_nothing_more() -> None:
    rig = ContentionRig()
    refused: list[float] = []

    async def main() -> None:
        first = rig.contender("a")
        await rig.until_leads(first)
        assert first.held is not None
        client = first.client.guarded(fence(first.held))
        rig.loop.now += DEADLINE  # nothing of the loop has run since: no timer could tell
        with pytest.raises(NotLeader):
            await client.create(CONFIG_MAPS, {"metadata": {"name": "late"}}, namespace=NAMESPACE)
        refused.append(rig.now())
        await rig.pass_time(1.0)
        assert len(first.terms) == 1

    rig.run(main())
    assert refused
    assert rig.kube.store.list(CONFIG_MAPS) == []


def test_a_leader_that_stood_still_beyond_its_lease_sends_nothing_but_that_it_lets_go_of_it() -> None:
    rig = ContentionRig()

    async def main() -> None:
        first = rig.contender("a")
        await rig.until_leads(first)
        rig.kube.calls.clear()
        rig.loop.now += DEADLINE
        await until_virtual(rig, lambda: bool(first.terms))
        await rig.pass_time(RETRY / 2)
        [release] = rig.kube.calls
        assert release.method == "PUT"
        lease = rig.lease()
        assert lease is not None
        assert lease["spec"]["holderIdentity"] == ""

    rig.run(main())


def figures(contender: Contender) -> tuple[float | None, float | None]:
    return contender.metrics.value("leader"), contender.metrics.value("transitions_total")


def test_metrics_tell_who_leads_and_how_often_it_began_to() -> None:
    rig = ContentionRig()
    shown: list[tuple[float | None, float | None]] = []

    async def main() -> None:
        first, second = rig.contender("a"), rig.contender("b")
        await rig.until_leads(first, second)
        leader, standby = (first, second) if first.leads else (second, first)
        shown.extend(map(figures, (leader, standby)))
        leader.kill()
        await rig.pass_time(11)
        shown.append(figures(leader))

    rig.run(main())
    assert shown == [(1, 1), (0, 0), (0, 1)]


async def until_virtual(rig: ContentionRig, condition: Callable[[], bool], *, within: float = 60.0) -> None:
    begin = rig.now()
    while not condition():
        assert rig.now() - begin < within
        await asyncio.sleep(0.01)


class Broken(Exception):
    pass


def leadership_of(rig: ContentionRig) -> tuple[Contender, Leadership]:
    """A candidate whose own term is not used."""
    contender = rig.contender("a")
    contender.task.cancel()
    return contender, contender.leadership


def test_the_error_of_a_term_comes_through_and_the_lease_is_released() -> None:
    rig = ContentionRig()

    async def breaks(_: Held) -> None:
        await asyncio.sleep(3)
        raise Broken

    async def main() -> None:
        _, leadership = leadership_of(rig)
        with pytest.raises(Broken):
            await leadership.run(breaks)
        lease = rig.lease()
        assert lease is not None
        assert lease["spec"]["holderIdentity"] == ""

    rig.run(main())


def test_a_term_that_ends_by_itself_ends_it_all() -> None:
    rig = ContentionRig()

    async def ends(_: Held) -> None:
        await asyncio.sleep(3)

    async def main() -> None:
        await leadership_of(rig)[1].run(ends)

    rig.run(main())
    assert rig.now() < 5


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_term_that_met_the_fence_is_a_lost_one_and_another_follows(wrapped: bool) -> None:
    rig = ContentionRig()
    begun: list[float] = []

    async def meets_the_fence(_: Held) -> None:
        begun.append(rig.now())
        if len(begun) == 1:
            raise ExceptionGroup("tasks", [NotLeader(), NotLeader()]) if wrapped else NotLeader()

    async def main() -> None:
        await leadership_of(rig)[1].run(meets_the_fence)

    rig.run(main())
    assert len(begun) == 2


def test_a_mistake_beside_the_fence_is_not_lost() -> None:
    rig = ContentionRig()

    async def breaks(_: Held) -> None:
        raise ExceptionGroup("tasks", [NotLeader(), Broken()])

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            await leadership_of(rig)[1].run(breaks)
        assert caught.group_contains(Broken)

    rig.run(main())


def test_an_error_in_the_last_words_is_told_when_the_process_stops() -> None:
    rig = ContentionRig()

    async def save(_: KubeClient) -> None:
        raise Broken

    async def main() -> None:
        first = rig.contender("a")
        first.last_words = save
        await rig.until_leads(first)
        with pytest.raises(Broken):
            await first.stop()

    rig.run(main())


def test_a_term_that_does_not_end_leaves_the_lease_to_run_out_and_ends_the_process() -> None:
    rig = ContentionRig()

    given: list[Held] = []

    async def never_ends(held: Held) -> None:
        given.append(held)
        while rig.now() < 100:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(100)

    async def main() -> None:
        _, leadership = leadership_of(rig)
        work = asyncio.create_task(leadership.run(never_ends))
        await rig.pass_time(3)
        work.cancel()
        with pytest.raises(StuckTerm, match=r"vgpu-recommender-0-of-1 has not ended 5 s"):
            await work
        lease = rig.lease()
        assert lease is not None
        assert lease["spec"]["holderIdentity"] == "a"
        assert given[0].remaining() == 0
        await rig.pass_time(100)

    rig.run(main())


def test_a_missing_namespace_is_told_with_what_to_do() -> None:
    rig = ContentionRig()

    async def main() -> None:
        contender = rig.contender("a")
        contender.trouble = lambda call: Trouble(refused=404 if call.method == "POST" else 0)
        with pytest.raises(MissingNamespace, match="kubectl create namespace vgpu-autoscaler") as caught:
            await contender.task
        assert caught.value.exit_code is ExitCode.CLUSTER

    rig.run(main())


def settings(**more: object) -> RecommenderSettings:
    return RecommenderSettings.model_validate({"prometheus_url": "http://127.0.0.1:9090", **more})


async def test_without_an_election_the_work_begins_at_once_and_never_loses_its_leave() -> None:
    begun: list[float] = []
    metrics = Metrics()

    async def term(held: Held) -> None:
        begun.append(held.remaining())
        assert metrics.value("leader") == 1

    async with FakeKube() as fake, fake.client() as client:
        chosen = settings(leader_election=False)
        await Leadership.from_settings(
            chosen, identity=new_identity(chosen.identity), client=client, metrics=metrics
        ).run(term)
        assert fake.requests == []
    assert begun == [float("inf")]
    assert metrics.value("leader") == 0


def test_a_replica_that_is_alone_begins_another_term_when_one_is_over() -> None:
    rig, metrics = ContentionRig(), Metrics()
    begun: list[float] = []

    async def cannot_work_at_first(_: Held) -> None:
        begun.append(rig.now())
        if len(begun) < 3:
            raise ExceptionGroup("tasks", [TermOver("histories cannot be read")])

    async def breaks(_: Held) -> None:
        raise Broken

    async def main() -> None:
        await Leadership(election=None, metrics=metrics).run(cannot_work_at_first)
        with pytest.raises(Broken):
            await Leadership(election=None, metrics=metrics).run(breaks)

    rig.run(main())
    assert len(begun) == 3
    assert begun[1] - begun[0] >= 1
    assert metrics.value("leader") == 0


async def test_over_a_connection_the_settings_name_lease_and_holder() -> None:
    begun: list[Held] = []

    async def term(held: Held) -> None:
        begun.append(held)
        await asyncio.Event().wait()

    async with FakeKube() as fake, fake.client() as client:
        chosen = settings(shard_count=3, shard_index=1, identity="pod-x", namespace="here", lease_duration=20)
        leadership = Leadership.from_settings(
            chosen, identity=new_identity(chosen.identity), client=client, metrics=Metrics()
        )
        work = asyncio.create_task(leadership.run(term))
        await until(lambda: begun)
        spec = fake.get(LEASES, "here", "vgpu-recommender-1-of-3")["spec"]
        work.cancel()
        await asyncio.wait([work])
        released = fake.get(LEASES, "here", "vgpu-recommender-1-of-3")["spec"]
    assert spec["holderIdentity"].startswith("pod-x_")
    assert spec["leaseDurationSeconds"] == 20
    assert released["holderIdentity"] == ""
    assert begun[0].remaining() == 0
