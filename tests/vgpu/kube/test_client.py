import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from tests.support.builders import cron_job, node, pod, workload
from tests.support.fake_kube import FakeKube
from vgpu.kube.client import KubeClient
from vgpu.kube.errors import (
    AlreadyExists,
    ApiUnreachable,
    BadAnswer,
    Conflict,
    Forbidden,
    Invalid,
    MissingCrds,
    NotFound,
    ServerFailure,
    Throttled,
    Unauthorized,
)
from vgpu.kube.objects import CustomObject, Node, PartialObject, Pod
from vgpu.kube.resources import CRON_JOBS, NODES, PODS, PROFILES, WORKLOADS


@asynccontextmanager
async def cluster(*, timeout: float = 5.0) -> AsyncIterator[tuple[FakeKube, KubeClient]]:  # noqa: ASYNC109
    async with FakeKube() as fake, fake.client(timeout=timeout) as client:
        yield fake, client


# Reading


async def test_an_object_is_read_into_its_type() -> None:
    async with cluster() as (fake, client):
        fake.put(PODS, pod("web-0", node="gpu-7"))
        read = await client.get(PODS, "web-0", namespace="default", type=Pod)
    assert (read.metadata.name, read.spec.node_name) == ("web-0", "gpu-7")


async def test_cluster_scoped_objects_need_no_namespace() -> None:
    async with cluster() as (fake, client):
        fake.put(NODES, node("gpu-7"))
        read = await client.get(NODES, "gpu-7", type=Node)
    assert read.status.capacity == {"cpu": "16", "nvidia.com/gpu": "1"}


async def test_an_object_that_is_not_there_is_named() -> None:
    async with cluster() as (_, client):
        with pytest.raises(
            NotFound, match=r'GET /api/v1/namespaces/default/pods/web-0: 404 .*"web-0" not found'
        ):
            await client.get(PODS, "web-0", namespace="default", type=Pod)


async def test_metadata_alone_leaves_the_rest_on_the_server() -> None:
    async with cluster() as (fake, client):
        fake.put(PODS, pod("web-0", node="gpu-7"))
        read = await client.get(PODS, "web-0", namespace="default", type=Pod, metadata_only=True)
    assert (read.metadata.name, read.spec.node_name) == ("web-0", "")


async def test_a_partial_object_is_never_sent_whole() -> None:
    async with cluster() as (fake, client):
        fake.put(CRON_JOBS, cron_job())
        await client.get(CRON_JOBS, "nightly", namespace="default", type=PartialObject)
        await client.list(CRON_JOBS, type=PartialObject)
    accepted = [request.headers["Accept"] for request in fake.requests]
    assert ["PartialObjectMetadata" in each for each in accepted] == [True, True]


async def test_a_list_is_taken_in_pages() -> None:
    async with cluster() as (fake, client):
        for index in range(7):
            fake.put(PODS, pod(f"web-{index}"))
        pods, revision = await client.list(PODS, type=Pod, page_size=3)
    assert [each.metadata.name for each in pods] == [f"web-{index}" for index in range(7)]
    assert revision == str(fake.store.revision)
    assert len(fake.requests) == 3


async def test_a_page_that_expired_makes_the_list_start_over_at_once() -> None:
    async with cluster() as (fake, client):
        for index in range(7):
            fake.put(PODS, pod(f"web-{index}"))
        fake.delay("/pods", 0, times=1)
        fake.fail("/pods", code=410, reason="Expired")
        pods, _ = await client.list(PODS, type=Pod, page_size=3)
    assert len(pods) == 7
    assert [request.query.get("limit") for request in fake.requests] == ["3", "3", None]


async def test_a_list_holds_what_the_selectors_say() -> None:
    async with cluster() as (fake, client):
        fake.put(PODS, pod("a", labels={"tier": "gold"}))
        fake.put(PODS, pod("b", labels={"tier": "iron"}))
        fake.put(PODS, pod("c", namespace="other", labels={"tier": "gold"}))
        gold, _ = await client.list(
            PODS, type=Pod, namespace="default", label_selector="tier in (gold, silver)"
        )
        named, _ = await client.list(PODS, type=Pod, field_selector="metadata.name=b")
    assert [each.metadata.name for each in gold] == ["a"]
    assert [each.metadata.name for each in named] == ["b"]


async def test_raw_paths_answer_with_their_bytes() -> None:
    async with cluster() as (_, client):
        assert await client.raw_get("/readyz") == b"ok"


class Unlike(msgspec.Struct):
    metadata: int


async def test_an_answer_of_another_shape_is_reported_with_its_path() -> None:
    async with cluster() as (fake, client):
        fake.put(PODS, pod("web-0"))
        with pytest.raises(BadAnswer, match=r"GET .*/pods/web-0: .*metadata"):
            await client.get(PODS, "web-0", namespace="default", type=Unlike)


# Writing


async def test_a_created_object_comes_back_with_its_identity() -> None:
    async with cluster() as (fake, client):
        created = await client.create(WORKLOADS, workload("web"), namespace="default")
        assert created["metadata"]["uid"] == fake.get(WORKLOADS, "default", "web")["metadata"]["uid"]


async def test_creating_twice_says_that_it_exists() -> None:
    async with cluster() as (_, client):
        await client.create(WORKLOADS, workload("web"), namespace="default")
        with pytest.raises(AlreadyExists):
            await client.create(WORKLOADS, workload("web"), namespace="default")


async def test_replacing_an_outdated_version_conflicts() -> None:
    async with cluster() as (fake, client):
        old = fake.put(WORKLOADS, workload("web"))
        fake.put(WORKLOADS, workload("web", spec={"gpuCount": 2}))
        with pytest.raises(Conflict, match="modified"):
            await client.replace(WORKLOADS, "web", old, namespace="default")


async def test_a_merge_patch_with_an_outdated_version_conflicts() -> None:
    async with cluster() as (fake, client):
        version = fake.put(WORKLOADS, workload("web"))["metadata"]["resourceVersion"]
        patch = {"metadata": {"resourceVersion": version}, "status": {"recommendation": {"a": "1"}}}
        await client.merge_patch(WORKLOADS, "web", patch, namespace="default", subresource="status")
        with pytest.raises(Conflict):
            await client.merge_patch(
                WORKLOADS, "web", patch | {"status": {}}, namespace="default", subresource="status"
            )


async def test_a_status_patch_leaves_the_spec_alone() -> None:
    async with cluster() as (fake, client):
        before = fake.put(WORKLOADS, workload("web"))
        patch = {"spec": {"gpuCount": 9}, "status": {"observedGeneration": 1}}
        await client.merge_patch(WORKLOADS, "web", patch, namespace="default", subresource="status")
        after = fake.get(WORKLOADS, "default", "web")
    assert after["spec"] == before["spec"]
    assert after["status"] == {"observedGeneration": 1}
    assert after["metadata"]["generation"] == 1


async def test_a_json_patch_is_applied() -> None:
    async with cluster() as (fake, client):
        fake.put(WORKLOADS, workload("web"))
        await client.json_patch(
            WORKLOADS, "web", [{"op": "add", "path": "/spec/gpuCount", "value": 2}], namespace="default"
        )
        assert fake.get(WORKLOADS, "default", "web")["spec"]["gpuCount"] == 2


async def test_a_json_patch_that_does_not_apply_is_invalid() -> None:
    async with cluster() as (fake, client):
        fake.put(WORKLOADS, workload("web"))
        with pytest.raises(Invalid):
            await client.json_patch(
                WORKLOADS, "web", [{"op": "remove", "path": "/absent"}], namespace="default"
            )


async def test_a_deleted_object_is_gone() -> None:
    async with cluster() as (fake, client):
        fake.put(WORKLOADS, workload("web"))
        await client.delete(WORKLOADS, "web", namespace="default")
        assert fake.objects(WORKLOADS) == []


# Server-side apply


async def test_apply_makes_an_object_that_is_not_there() -> None:
    async with cluster() as (fake, client):
        await client.apply(
            WORKLOADS, "web", {"spec": {"gpuCount": 1}}, namespace="default", field_manager="me"
        )
        made = fake.get(WORKLOADS, "default", "web")
    assert (made["kind"], made["spec"]) == ("TensorFusionWorkload", {"gpuCount": 1})


async def test_applying_the_same_again_changes_nothing() -> None:
    async with cluster() as (_, client):
        body = {"spec": {"gpuCount": 1}}
        first = await client.apply(WORKLOADS, "web", body, namespace="default", field_manager="me")
        second = await client.apply(WORKLOADS, "web", body, namespace="default", field_manager="me")
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


async def test_a_field_that_is_no_longer_applied_goes_away() -> None:
    async with cluster() as (fake, client):
        for spec in ({"gpuCount": 1, "poolName": "a"}, {"gpuCount": 1}):
            await client.apply(WORKLOADS, "web", {"spec": spec}, namespace="default", field_manager="me")
        assert fake.get(WORKLOADS, "default", "web")["spec"] == {"gpuCount": 1}


async def test_a_field_that_a_person_changed_conflicts() -> None:
    async with cluster() as (fake, client):
        await client.apply(
            WORKLOADS, "web", {"spec": {"gpuCount": 1}}, namespace="default", field_manager="me"
        )
        await client.merge_patch(WORKLOADS, "web", {"spec": {"gpuCount": 4}}, namespace="default")
        with pytest.raises(Conflict, match=r'conflict with "test": \.spec\.gpuCount'):
            await client.apply(
                WORKLOADS, "web", {"spec": {"gpuCount": 2}}, namespace="default", field_manager="me"
            )
        assert fake.get(WORKLOADS, "default", "web")["spec"]["gpuCount"] == 4


async def test_force_takes_a_field_from_its_owner() -> None:
    async with cluster() as (fake, client):
        fake.put(WORKLOADS, workload("web", spec={"gpuCount": 4}))
        await client.apply(
            WORKLOADS, "web", {"spec": {"gpuCount": 2}}, namespace="default", field_manager="me", force=True
        )
        assert fake.get(WORKLOADS, "default", "web")["spec"]["gpuCount"] == 2


# Trouble


async def test_an_idempotent_request_is_repeated_after_a_server_failure() -> None:
    async with cluster() as (fake, client):
        fake.put(PODS, pod("web-0"))
        fake.fail("/pods/web-0", code=503, times=2)
        assert (await client.get(PODS, "web-0", namespace="default", type=Pod)).metadata.name == "web-0"
    assert len(fake.requests) == 3


async def test_an_idempotent_request_is_repeated_after_a_cut_connection() -> None:
    async with cluster() as (fake, client):
        fake.put(WORKLOADS, workload("web"))
        fake.drop("/web", method="PATCH")
        await client.merge_patch(WORKLOADS, "web", {"spec": {"gpuCount": 2}}, namespace="default")
        assert fake.get(WORKLOADS, "default", "web")["spec"]["gpuCount"] == 2


async def test_repeating_is_bounded() -> None:
    async with cluster() as (fake, client):
        fake.fail("/pods", code=500, times=100)
        with pytest.raises(ServerFailure):
            await client.list(PODS, type=Pod)
    assert len(fake.requests) == 4


async def test_a_creation_that_may_have_happened_is_not_repeated() -> None:
    async with cluster() as (fake, client):
        fake.fail("workloads", code=500)
        with pytest.raises(ServerFailure):
            await client.create(WORKLOADS, workload("web"), namespace="default")
    assert len(fake.requests) == 1


async def test_throttling_is_waited_out_for_as_long_as_the_server_says() -> None:
    async with cluster() as (fake, client):
        fake.fail("workloads", code=429, reason="TooManyRequests", retry_after=1)
        started = time.monotonic()
        await client.create(WORKLOADS, workload("web"), namespace="default")
    assert time.monotonic() - started >= 1.0
    assert len(fake.objects(WORKLOADS)) == 1


async def test_throttling_without_end_is_reported_as_such() -> None:
    async with cluster() as (fake, client):
        fake.fail("/pods", code=429, reason="TooManyRequests", times=100)
        with pytest.raises(Throttled):
            await client.list(PODS, type=Pod)


async def test_a_refusal_is_not_repeated() -> None:
    async with cluster() as (fake, client):
        fake.fail("/pods", code=403, reason="Forbidden")
        with pytest.raises(Forbidden, match="Role"):
            await client.list(PODS, type=Pod)
    assert len(fake.requests) == 1


async def test_a_server_that_does_not_answer_in_time_is_unreachable() -> None:
    async with cluster(timeout=0.05) as (fake, client):
        fake.delay("/pods", 30, times=100)
        with pytest.raises(ApiUnreachable, match=r"GET /api/v1/pods: nothing within 0\.05 seconds"):
            await client.list(PODS, type=Pod)


async def test_cancelling_a_request_is_not_mistaken_for_a_timeout() -> None:
    async with cluster() as (fake, client):
        fake.delay("/pods", 30)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.list(PODS, type=Pod)
    assert len(fake.requests) == 1


async def test_an_expired_token_is_read_anew() -> None:
    async with FakeKube(token="first") as fake, fake.client() as client:
        fake.token = "second"
        fake.write_kubeconfig()
        assert await client.list(PODS, type=Pod) == ([], str(fake.store.revision))


async def test_a_wrong_token_is_unauthorized() -> None:
    async with FakeKube(token="right") as fake, fake.client() as client:
        fake.token = "changed on the server alone"
        with pytest.raises(Unauthorized, match="credentials"):
            await client.list(PODS, type=Pod)


# Before a service starts


async def test_a_ready_server_is_reachable() -> None:
    async with cluster() as (_, client):
        await client.wait_reachable(timeout=1)


async def test_a_server_that_gets_ready_is_waited_for() -> None:
    async with cluster() as (fake, client):
        fake.fail("/readyz", code=503, times=3)
        await client.wait_reachable(timeout=5)
    assert len(fake.requests) == 4


async def test_a_server_that_hides_its_health_is_reachable() -> None:
    async with cluster() as (fake, client):
        fake.fail("/readyz", code=403, reason="Forbidden")
        await client.wait_reachable(timeout=1)


async def test_a_server_that_is_away_is_named_with_the_source_of_its_address() -> None:
    async with FakeKube() as fake, fake.client() as client:
        await fake.stop()
        with pytest.raises(
            ApiUnreachable, match=rf"{fake.url} does not answer.*tried for 0\.2 s.*kubeconfig"
        ):
            await client.wait_reachable(timeout=0.2)


async def test_wrong_credentials_end_the_wait_at_once() -> None:
    async with FakeKube(token="right") as fake, fake.client() as client:
        fake.token = "other"
        with pytest.raises(Unauthorized):
            await client.wait_reachable(timeout=60)


async def test_installed_crds_are_found() -> None:
    async with cluster() as (_, client):
        await client.require_crds(WORKLOADS, PROFILES)


async def test_missing_crds_are_named() -> None:
    async with cluster() as (fake, client):
        fake.unserve(PROFILES)
        with pytest.raises(MissingCrds) as caught:
            await client.require_crds(WORKLOADS, PROFILES)
    assert caught.value.names == ("workloadprofiles.tensor-fusion.ai",)


async def test_a_group_that_is_not_there_misses_all_its_crds() -> None:
    async with cluster() as (fake, client):
        fake.unserve(PROFILES)
        fake.unserve(WORKLOADS)
        with pytest.raises(MissingCrds) as caught:
            await client.require_crds(WORKLOADS, PROFILES)
    assert len(caught.value.names) == 2


async def test_objects_of_a_crd_are_read_with_their_spec() -> None:
    async with cluster() as (fake, client):
        fake.put(WORKLOADS, workload("web", status={"observedGeneration": 3}))
        read = await client.get(WORKLOADS, "web", namespace="default", type=CustomObject)
    assert read.spec["resources"]["requests"]["vram"] == "8Gi"
    assert read.status == {"observedGeneration": 3}
