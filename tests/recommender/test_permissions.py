from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from recommender.errors import MissingNamespace, MissingPermissions
from recommender.permissions import ACCESS_REVIEWS, WISHED, needed, require_permissions
from recommender.settings import RecommenderSettings
from tests.support.fake_kube import FakeKube
from tests.support.kube_http import Request
from vgpu.errors import ExitCode
from vgpu.kube.resources import NAMESPACES

Json = dict[str, Any]


def settings(**more: object) -> RecommenderSettings:
    return RecommenderSettings.model_validate({"prometheus_url": "http://127.0.0.1:9090", **more})


@pytest.fixture
async def kube() -> AsyncIterator[FakeKube]:
    async with FakeKube() as fake:
        fake.api.served.add(ACCESS_REVIEWS)
        fake.put(NAMESPACES, {"metadata": {"name": "vgpu-autoscaler"}})
        yield fake


def allow(kube: FakeKube, allowed: Callable[[Json], bool] = lambda _: True) -> list[Json]:
    """Let the fake answer access reviews; what it was asked."""
    answer = kube.api.answer
    reviewed: list[Json] = []

    def answer_reviews(asked: Request) -> Json:
        if not asked.path.endswith(ACCESS_REVIEWS.plural):
            return answer(asked)
        wanted: Json = asked.body["spec"]["resourceAttributes"]
        reviewed.append(wanted)
        return {"status": {"allowed": allowed(wanted)}}

    kube.api.answer = answer_reviews  # type: ignore[method-assign]  # the fake has no authorization of its own
    return reviewed


async def test_all_that_is_needed_is_asked_for_once(kube: FakeKube) -> None:
    asked = allow(kube)
    async with kube.client() as client:
        await require_permissions(client, settings())
    told = {f"{each['verb']} {each['resource']}/{each['subresource']} {each['namespace']}" for each in asked}
    assert len(asked) == len(told) == len({*needed(settings(), gpus=False), *WISHED})
    assert {"watch pods/ ", "patch tensorfusionworkloads/status ", "update leases/ vgpu-autoscaler"} <= told


@pytest.mark.parametrize("wished", [True, False])
async def test_evicting_pods_is_asked_for_only_where_it_is_switched_on(
    *, kube: FakeKube, wished: bool
) -> None:
    asked = allow(kube)
    async with kube.client() as client:
        await require_permissions(client, settings(evictions=wished))
    told = {(each["verb"], each["resource"], each["subresource"]) for each in asked}
    assert (("create", "pods", "eviction") in told) is wished


async def test_all_that_is_missing_is_named_with_its_namespace(kube: FakeKube) -> None:
    allow(
        kube,
        lambda wanted: (wanted["verb"], wanted["resource"]) not in {("update", "leases"), ("list", "pods")},
    )
    async with kube.client() as client:
        with pytest.raises(MissingPermissions) as raised:
            await require_permissions(client, settings())
    assert "list pods, update leases.coordination.k8s.io in namespace vgpu-autoscaler;" in str(raised.value)
    assert raised.value.exit_code is ExitCode.CLUSTER


async def test_what_is_only_wished_for_is_told_where_it_is_missing_and_stops_nobody(kube: FakeKube) -> None:
    allow(kube, lambda wanted: (wanted["verb"], wanted["resource"]) != ("list", "replicasets"))
    async with kube.client() as client:
        with capture_logs() as logs:
            await require_permissions(client, settings())
    assert [(each["log_level"], each["missing"]) for each in logs] == [("warning", ["list replicasets.apps"])]


@pytest.mark.parametrize(
    ("chosen", "kinds"),
    [
        ({}, {"leases", "configmaps"}),
        ({"leader_election": False}, {"configmaps"}),
        ({"checkpoint_store": "none"}, {"leases"}),
        ({"checkpoint_store": "directory", "checkpoint_directory": "/var/lib/vgpu"}, {"leases"}),
        ({"leader_election": False, "checkpoint_store": "none"}, set()),
    ],
)
def test_permissions_in_the_namespace_are_those_of_what_is_kept_there(chosen: Json, kinds: set[str]) -> None:
    asked = [each for each in needed(settings(namespace="here", **chosen), gpus=False) if each.namespace]
    assert {each.resource.plural for each in asked} == kinds
    assert {each.namespace for each in asked} <= {"here"}
    verbs = {each.verb for each in asked}
    assert verbs == ({"get", "list", "create", "update", "delete"} if kinds else set())


@pytest.mark.parametrize("gpus", [False, True])
def test_gpu_objects_are_asked_for_only_where_they_are_followed(gpus: bool) -> None:
    asked = {str(each) for each in needed(settings(), gpus=gpus)}
    assert ({"list gpus.tensor-fusion.ai", "watch gpus.tensor-fusion.ai"} <= asked) is gpus


@pytest.mark.parametrize("urls", [(), ("https://scaler.example.com",)])
def test_secrets_are_read_only_where_external_scalers_are_switched_on(urls: tuple[str, ...]) -> None:
    asked = {str(each) for each in needed(settings(external_scaler_urls=urls), gpus=False)}
    assert {each for each in asked if "secrets" in each} == ({"get secrets"} if urls else set())


async def test_a_namespace_that_is_not_there_is_told_with_what_to_do(kube: FakeKube) -> None:
    allow(kube)
    async with kube.client() as client:
        with pytest.raises(
            MissingNamespace, match=r"kubectl create namespace nowhere.*`namespace`"
        ) as raised:
            await require_permissions(client, settings(namespace="nowhere"))
    assert raised.value.exit_code is ExitCode.CLUSTER


async def test_a_namespace_in_which_nothing_is_kept_need_not_be_there(kube: FakeKube) -> None:
    allow(kube)
    async with kube.client() as client:
        chosen = settings(namespace="nowhere", leader_election=False, checkpoint_store="none")
        await require_permissions(client, chosen)


async def test_who_may_not_look_at_namespaces_is_not_stopped_by_that(kube: FakeKube) -> None:
    allow(kube)
    kube.fail("/namespaces/", code=403)
    async with kube.client() as client:
        await require_permissions(client, settings())
