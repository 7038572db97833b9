"""Which pods are evicted, and why no others are."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.updating.members import NO_PROGRESS, Limits, Member, Progress, Situation
from recommender.updating.planning import EVICTABLE_KINDS, plan
from recommender.updating.reasons import Reason
from tests.recommender.updating.making import LIMITS, NOW, REPLICA_SET, ROOT, member, situation, three
from vgpu.naming import Owner


def test_of_three_pods_that_differ_one_is_evicted() -> None:
    assert len(plan(three(), NO_PROGRESS, LIMITS, NOW).evict) == 1


def test_where_no_pod_differs_there_is_nothing_to_do() -> None:
    found = plan(situation(member(differs=False), member(1, differs=False)), NO_PROGRESS, LIMITS, NOW)
    assert (found.evict, found.held, found.again) == ((), None, math.inf)


def test_the_oldest_pod_goes_first() -> None:
    oldest = member(1, created=NOW - 100_000)
    assert plan(situation(member(0), oldest, member(2)), NO_PROGRESS, LIMITS, NOW).evict == (oldest,)


def test_a_pod_in_trouble_goes_before_all_others() -> None:
    down = member(2, ready=False, troubled=True)
    assert plan(situation(member(0), member(1), down), NO_PROGRESS, LIMITS, NOW).evict == (down,)


def test_a_pod_that_is_still_loading_its_model_neither_goes_nor_lets_others_go() -> None:
    loading = member(2, ready=False)
    found = plan(situation(member(0), member(1), loading), NO_PROGRESS, LIMITS, NOW)
    assert (found.evict, found.held) == ((), Reason.NOT_READY)


def test_while_another_pod_is_not_ready_none_goes() -> None:
    down = member(2, ready=False, differs=False)
    found = plan(situation(member(0), member(1), down), NO_PROGRESS, LIMITS, NOW)
    assert (found.evict, found.held) == ((), Reason.NOT_READY)


JOB = Owner("batch/v1", "Job", "train", "uid-job")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"controller": None}, Reason.NO_CONTROLLER),
        ({"root": JOB, "controller": JOB}, Reason.OWNER_KIND),
        ({"root": Owner("apps/v1", "DaemonSet", "agent", "u")}, Reason.OWNER_KIND),
        ({"root": Owner("ray.io/v1", "RayCluster", "ray", "u")}, Reason.OWNER_KIND),
        ({"root": Owner("batch.volcano.sh/v1", "Deployment", "web", "u")}, Reason.OWNER_KIND),
        ({"gang": "scheduling.k8s.io/group-name"}, Reason.GANG),
        ({"opted_out": True}, Reason.OPTED_OUT),
    ],
)
def test_such_pods_are_never_evicted(changes: dict[str, Any], reason: Reason) -> None:
    found = plan(situation(*(member(index, **changes) for index in range(3))), NO_PROGRESS, LIMITS, NOW)
    assert (found.evict, found.held) == ((), reason)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"invalid": True}, Reason.CONFIGURATION),
        ({"rule_holds": True}, Reason.CRON_RULE),
        ({"withdrawn": True}, Reason.WITHDRAWN),
    ],
)
def test_such_workloads_keep_all_their_pods(changes: dict[str, Any], reason: Reason) -> None:
    found = plan(three(**changes), NO_PROGRESS, LIMITS, NOW)
    assert (found.evict, found.held) == ((), reason)


def test_of_a_withdrawn_recommendation_a_pod_in_trouble_is_freed() -> None:
    crashing = member(1, troubled=True, ready=False, created=NOW - 1)
    found = plan(situation(member(0), crashing, withdrawn=True), NO_PROGRESS, LIMITS, NOW)
    assert found.evict == (crashing,)


def test_the_only_pod_stays() -> None:
    found = plan(situation(member()), NO_PROGRESS, LIMITS, NOW)
    assert (found.evict, found.held) == ((), Reason.SINGLE_REPLICA)


def test_the_only_pod_goes_where_that_is_allowed() -> None:
    assert plan(situation(member(), single_allowed=True), NO_PROGRESS, LIMITS, NOW).evict == (member(),)


def test_pods_of_another_owner_make_no_company() -> None:
    other = Owner("apps/v1", "Deployment", "other", "uid-other")
    company = member(1, root=other, controller=Owner("apps/v1", "ReplicaSet", "other-1", "r"), differs=False)
    assert plan(situation(member(), company), NO_PROGRESS, LIMITS, NOW).held is Reason.SINGLE_REPLICA


def test_young_pods_wait_until_they_are_old_enough() -> None:
    young = [member(index, created=NOW - 500 - index) for index in range(2)]
    found = plan(situation(*young), NO_PROGRESS, LIMITS, NOW)
    assert (found.evict, found.held, found.again) == ((), Reason.TOO_YOUNG, NOW + 99)


def test_in_the_middle_of_a_rollout_none_goes() -> None:
    newer = member(1, controller=Owner("apps/v1", "ReplicaSet", "web-7", "uid-rs-7"), differs=False)
    assert plan(situation(member(0), newer, member(2)), NO_PROGRESS, LIMITS, NOW).held is Reason.ROLLOUT


def test_while_a_replacement_is_waited_for_none_goes() -> None:
    pending = Progress(evicted=frozenset({"uid-9"}), at=NOW - 5)
    found = plan(three(), pending, LIMITS, NOW)
    assert (found.evict, found.held, found.again) == ((), Reason.REPLACEMENT, NOW + 595)


def test_in_a_rest_none_goes_before_its_end() -> None:
    found = plan(three(), Progress(until=NOW + 40), LIMITS, NOW)
    assert (found.evict, found.held, found.again) == ((), Reason.COOL_DOWN, NOW + 40)


def test_a_fraction_of_many_pods_may_go_at_a_time() -> None:
    many = situation(*(member(index) for index in range(10)))
    limits = Limits(cool_down=60, minimum_age=600, fraction=0.25)
    assert len(plan(many, NO_PROGRESS, limits, NOW).evict) == 2


ROOTS = [ROOT, JOB, Owner("apps/v1", "StatefulSet", "db", "uid-db"), Owner("x.io/v1", "Thing", "t", "uid-t")]
MEMBERS = st.builds(
    Member,
    name=st.just("web"),
    uid=st.uuids().map(str),
    root=st.sampled_from(ROOTS),
    controller=st.sampled_from([None, REPLICA_SET, *ROOTS]),
    created=st.floats(NOW - 2000, NOW),
    ready=st.booleans(),
    troubled=st.booleans(),
    gang=st.sampled_from([None, None, "ray.io/cluster"]),
    opted_out=st.booleans(),
    differs=st.booleans(),
    unwritten=st.booleans(),
)
SITUATIONS = st.builds(
    Situation,
    members=st.lists(MEMBERS, max_size=6).map(tuple),
    wanted=st.just(None),
    invalid=st.booleans(),
    rule_holds=st.booleans(),
    withdrawn=st.booleans(),
    single_allowed=st.booleans(),
)
PROGRESS = st.sampled_from(
    [NO_PROGRESS, Progress(until=NOW + 1), Progress(evicted=frozenset({"gone"}), at=NOW)]
)


@given(SITUATIONS, PROGRESS)
def test_whatever_the_situation_one_pod_at_most_goes_and_none_that_must_not(
    given_situation: Situation, progress: Progress
) -> None:
    evicted = plan(given_situation, progress, LIMITS, NOW).evict
    assert len(evicted) <= 1
    for each in evicted:
        others = [other for other in given_situation.members if other is not each]
        assert progress is NO_PROGRESS
        assert each.differs
        assert each.controller is not None
        assert (each.root.api_version, each.root.kind) in EVICTABLE_KINDS
        assert each.gang is None
        assert not each.opted_out
        assert each.created <= NOW - LIMITS.minimum_age or given_situation.withdrawn
        assert not given_situation.invalid
        assert not given_situation.rule_holds
        assert each.troubled or not given_situation.withdrawn
        assert not each.ready or all(other.ready for other in others)
        assert given_situation.single_allowed or any(other.root == each.root for other in others)


@given(st.lists(MEMBERS, max_size=12), st.floats(0, 1))
def test_of_a_fraction_never_all_pods_of_an_owner_go(members: list[Member], fraction: float) -> None:
    limits = Limits(cool_down=60, minimum_age=0, fraction=fraction)
    evicted = plan(situation(*members), NO_PROGRESS, limits, NOW).evict
    assert len(evicted) <= max(1, fraction * len(members))
    for root in ROOTS:
        assert [each for each in members if each.root == root and each not in evicted] or not [
            each for each in evicted if each.root == root
        ]


@given(SITUATIONS, PROGRESS)
def test_where_a_pod_differs_and_none_goes_there_is_a_reason(
    given_situation: Situation, progress: Progress
) -> None:
    found = plan(given_situation, progress, LIMITS, NOW)
    if any(each.differs for each in given_situation.members):
        assert bool(found.evict) is (found.held is None)
