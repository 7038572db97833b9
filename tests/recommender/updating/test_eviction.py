"""What becomes of an eviction, as kube-apiserver answers."""

from dataclasses import replace
from typing import Any

import pytest

from recommender.updating.eviction import Evictor, Outcome, Result, Root
from recommender.updating.members import Member
from recommender.updating.reasons import Reason
from tests.recommender.updating.making import member
from tests.support import builders
from tests.support.fake_kube import FakeKube
from vgpu.kube.resources import DEPLOYMENTS, PODS
from vgpu.naming import Owner

Json = dict[str, Any]

REST: Json = {"observedGeneration": 9, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3}


def put_deployment(kube: FakeKube) -> Owner:
    built = builders.deployment("web")
    stored = kube.put(DEPLOYMENTS, {**built, "spec": {**built["spec"], "replicas": 3}, "status": REST})
    return Owner("apps/v1", "Deployment", "web", stored["metadata"]["uid"])


def put_pod(kube: FakeKube, root: Owner, *, uid: str | None = None) -> Member:
    stored = kube.put(PODS, builders.deployment_pod("web", "abc"))["metadata"]
    return Member(stored["name"], uid or stored["uid"], root=root, controller=root, created=0.0)


async def evict(kube: FakeKube, pod: Member) -> Result:
    async with kube.client() as client:
        evictor = Evictor(client)
        held = await evictor.held("default", pod, present=3, single_allowed=False)
        return held or await evictor.evict("default", pod)


async def test_a_pod_is_evicted() -> None:
    async with FakeKube() as kube:
        pod = put_pod(kube, put_deployment(kube))
        assert await evict(kube, pod) == Result(Outcome.EVICTED)
        assert kube.objects(PODS) == []


async def test_another_pod_of_the_name_is_not() -> None:
    async with FakeKube() as kube:
        pod = put_pod(kube, put_deployment(kube), uid="the-one-before")
        assert await evict(kube, pod) == Result(Outcome.GONE)
        assert len(kube.objects(PODS)) == 1


async def test_a_pod_that_is_gone_is_no_trouble() -> None:
    async with FakeKube() as kube:
        pod = put_pod(kube, put_deployment(kube))
        kube.delete(PODS, "default", pod.name)
        assert await evict(kube, pod) == Result(Outcome.GONE)


@pytest.mark.parametrize(
    ("code", "retry_after", "expected"),
    [
        (429, 10, Result(Outcome.REFUSED, Reason.FAILED, 10.0)),
        (403, None, Result(Outcome.FAILED, Reason.FORBIDDEN)),
        (500, None, Result(Outcome.FAILED, Reason.FAILED)),
    ],
)
async def test_what_kube_apiserver_refuses_is_asked_once(
    code: int, retry_after: int | None, expected: Result
) -> None:
    async with FakeKube() as kube:
        pod = put_pod(kube, put_deployment(kube))
        kube.fail("/eviction$", code=code, times=5, retry_after=retry_after)
        assert await evict(kube, pod) == expected
        assert len([each for each in kube.requests if each.path.endswith("/eviction")]) == 1


async def test_an_eviction_without_an_answer_may_have_been_one() -> None:
    async with FakeKube() as kube:
        pod = put_pod(kube, put_deployment(kube))
        async with kube.client() as client:
            await kube.__aexit__(None, None, None)
            assert await Evictor(client).evict("default", pod) == Result(Outcome.UNKNOWN)


MINE = member(root=Owner("apps/v1", "Deployment", "web", "mine"))


def root(kind: str = "Deployment", *, replicas: int = 3, generation: int = 9, **status: int) -> Root:
    built = {
        "kind": kind,
        "metadata": {"name": "web", "uid": "mine", "generation": generation},
        "spec": {"replicas": replicas},
        "status": {**REST, **status},
    }
    return builders.struct(built, Root)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "ReplicaSet"])
def test_a_root_at_rest_holds_nothing_back(kind: str) -> None:
    assert root(kind).held(MINE, present=3, single_allowed=False) is None


@pytest.mark.parametrize(
    "busy",
    [
        root(generation=10),
        root(replicas=4),
        root(updatedReplicas=1),
        root(replicas=4, updatedReplicas=3),
        root("StatefulSet", updatedReplicas=2),
        root("ReplicaSet", replicas=5),
    ],
    ids=repr,
)
def test_one_that_has_something_to_do_does(busy: Root) -> None:
    assert busy.held(MINE, present=3, single_allowed=True) is Reason.ROLLOUT


def test_another_root_of_the_same_name_does() -> None:
    theirs = member(root=Owner("apps/v1", "Deployment", "web", "the-one-before"))
    assert root().held(theirs, present=3, single_allowed=True) is Reason.ROLLOUT


def test_where_not_all_pods_are_available_only_one_that_is_not_ready_goes() -> None:
    busy = root(availableReplicas=2)
    assert busy.held(MINE, present=3, single_allowed=False) is Reason.NOT_READY
    assert busy.held(replace(MINE, ready=False), present=3, single_allowed=False) is None


def test_of_one_that_wants_a_single_pod_this_stays() -> None:
    status = {"replicas": 1, "availableReplicas": 1}
    alone = builders.struct({"kind": "ReplicaSet", "metadata": {"uid": "mine"}, "status": status}, Root)
    assert alone.held(MINE, present=3, single_allowed=False) is Reason.SINGLE_REPLICA
    assert alone.held(MINE, present=3, single_allowed=True) is None


def test_a_root_whose_status_tells_of_pods_that_are_gone_does() -> None:
    assert root().held(MINE, present=2, single_allowed=True) is Reason.REPLACEMENT
