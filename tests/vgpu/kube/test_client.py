import math
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from tests.support.builders import cron_job, node, pod, workload
from tests.support.fake_kube import FakeKube
from vgpu.kube.client import KubeClient
from vgpu.kube.errors import (
    AlreadyExists,
    BadAnswer,
    Conflict,
    Invalid,
    NotFound,
)
from vgpu.kube.objects import CustomObject, Node, PartialObject, Pod
from vgpu.kube.resources import CRON_JOBS, NODES, PODS, WORKLOADS


async def test_an_object_is_read_into_its_type() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.put(PODS, pod("web-0", node="gpu-7"))
        read = await client.get(PODS, "web-0", namespace="default", type=Pod)
    assert (read.metadata.name, read.spec.node_name) == ("web-0", "gpu-7")


async def test_cluster_scoped_objects_need_no_namespace() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.put(NODES, node("gpu-7"))
        read = await client.get(NODES, "gpu-7", type=Node)
    assert read.status.capacity == {"cpu": "16", "nvidia.com/gpu": "1"}


async def test_an_object_that_is_not_there_is_named() -> None:
    async with FakeKube() as fake, fake.client() as client:
        with pytest.raises(
            NotFound, match=r'GET /api/v1/namespaces/default/pods/web-0: 404 .*"web-0" not found'
        ):
            await client.get(PODS, "web-0", namespace="default", type=Pod)


async def test_metadata_alone_leaves_the_rest_on_the_server() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.put(PODS, pod("web-0", node="gpu-7"))
        read = await client.get(PODS, "web-0", namespace="default", type=Pod, metadata_only=True)
    assert (read.metadata.name, read.spec.node_name) == ("web-0", "")


async def test_a_partial_object_is_never_sent_whole() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.put(CRON_JOBS, cron_job())
        await client.get(CRON_JOBS, "nightly", namespace="default", type=PartialObject)
        await client.list(CRON_JOBS, type=PartialObject)
    accepted = [request.headers["Accept"] for request in fake.requests]
    assert ["PartialObjectMetadata" in each for each in accepted] == [True, True]


async def test_a_list_is_taken_in_pages() -> None:
    async with FakeKube() as fake, fake.client() as client:
        for index in range(7):
            fake.put(PODS, pod(f"web-{index}"))
        pods, revision = await client.list(PODS, type=Pod, page_size=3)
    assert [each.metadata.name for each in pods] == [f"web-{index}" for index in range(7)]
    assert revision == str(fake.store.revision)
    assert len(fake.requests) == 3


async def test_a_page_that_expired_makes_the_list_start_over_at_once() -> None:
    async with FakeKube() as fake, fake.client() as client:
        for index in range(7):
            fake.put(PODS, pod(f"web-{index}"))
        fake.delay("/pods", 0, times=1)
        fake.fail("/pods", code=410, reason="Expired")
        pods, _ = await client.list(PODS, type=Pod, page_size=3)
    assert len(pods) == 7
    assert [request.query.get("limit") for request in fake.requests] == ["3", "3", None]


async def test_a_list_holds_what_the_selectors_say() -> None:
    async with FakeKube() as fake, fake.client() as client:
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
    async with FakeKube() as fake, fake.client() as client:
        assert await client.raw_get("/readyz") == b"ok"


class Unlike(msgspec.Struct):
    metadata: int


async def test_an_answer_of_another_shape_is_reported_with_its_path() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.put(PODS, pod("web-0"))
        with pytest.raises(BadAnswer, match=r"GET .*/pods/web-0: .*metadata"):
            await client.get(PODS, "web-0", namespace="default", type=Unlike)


async def test_objects_of_a_crd_are_read_with_their_spec() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.put(WORKLOADS, workload("web", status={"observedGeneration": 3}))
        read = await client.get(WORKLOADS, "web", namespace="default", type=CustomObject)
    assert read.spec["resources"]["requests"]["vram"] == "8Gi"
    assert read.status == {"observedGeneration": 3}


async def test_a_created_object_comes_back_with_its_identity() -> None:
    async with FakeKube() as fake, fake.client() as client:
        created = await client.create(WORKLOADS, workload("web"), namespace="default")
        assert created["metadata"]["uid"] == fake.get(WORKLOADS, "default", "web")["metadata"]["uid"]


async def test_creating_twice_says_that_it_exists() -> None:
    async with FakeKube() as fake, fake.client() as client:
        await client.create(WORKLOADS, workload("web"), namespace="default")
        with pytest.raises(AlreadyExists):
            await client.create(WORKLOADS, workload("web"), namespace="default")


async def test_replacing_an_outdated_version_conflicts() -> None:
    async with FakeKube() as fake, fake.client() as client:
        old = fake.put(WORKLOADS, workload("web"))
        fake.put(WORKLOADS, workload("web", spec={"gpuCount": 2}))
        with pytest.raises(Conflict, match="modified"):
            await client.replace(WORKLOADS, "web", old, namespace="default")


async def test_a_merge_patch_with_an_outdated_version_conflicts() -> None:
    async with FakeKube() as fake, fake.client() as client:
        version = fake.put(WORKLOADS, workload("web"))["metadata"]["resourceVersion"]
        patch = {"metadata": {"resourceVersion": version}, "status": {"recommendation": {"a": "1"}}}
        await client.merge_patch(WORKLOADS, "web", patch, namespace="default", subresource="status")
        with pytest.raises(Conflict):
            await client.merge_patch(
                WORKLOADS, "web", patch | {"status": {}}, namespace="default", subresource="status"
            )


async def test_a_status_patch_leaves_the_spec_alone() -> None:
    async with FakeKube() as fake, fake.client() as client:
        before = fake.put(WORKLOADS, workload("web"))
        patch = {"spec": {"gpuCount": 9}, "status": {"observedGeneration": 1}}
        await client.merge_patch(WORKLOADS, "web", patch, namespace="default", subresource="status")
        after = fake.get(WORKLOADS, "default", "web")
    assert after["spec"] == before["spec"]
    assert after["status"] == {"observedGeneration": 1}
    assert after["metadata"]["generation"] == 1


async def test_a_json_patch_is_applied() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.put(WORKLOADS, workload("web"))
        await client.json_patch(
            WORKLOADS, "web", [{"op": "add", "path": "/spec/gpuCount", "value": 2}], namespace="default"
        )
        assert fake.get(WORKLOADS, "default", "web")["spec"]["gpuCount"] == 2


async def test_a_json_patch_that_does_not_apply_is_invalid() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.put(WORKLOADS, workload("web"))
        with pytest.raises(Invalid):
            await client.json_patch(
                WORKLOADS, "web", [{"op": "remove", "path": "/absent"}], namespace="default"
            )


async def test_a_deleted_object_is_gone() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.put(WORKLOADS, workload("web"))
        await client.delete(WORKLOADS, "web", namespace="default")
        assert fake.objects(WORKLOADS) == []


async def test_apply_makes_an_object_that_is_not_there() -> None:
    async with FakeKube() as fake, fake.client() as client:
        await client.apply(
            WORKLOADS, "web", {"spec": {"gpuCount": 1}}, namespace="default", field_manager="me"
        )
        made = fake.get(WORKLOADS, "default", "web")
    assert (made["kind"], made["spec"]) == ("TensorFusionWorkload", {"gpuCount": 1})


async def test_applying_the_same_again_changes_nothing() -> None:
    async with FakeKube() as fake, fake.client() as client:
        body = {"spec": {"gpuCount": 1}}
        first = await client.apply(WORKLOADS, "web", body, namespace="default", field_manager="me")
        second = await client.apply(WORKLOADS, "web", body, namespace="default", field_manager="me")
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


async def test_a_field_that_is_no_longer_applied_goes_away() -> None:
    async with FakeKube() as fake, fake.client() as client:
        for spec in ({"gpuCount": 1, "poolName": "a"}, {"gpuCount": 1}):
            await client.apply(WORKLOADS, "web", {"spec": spec}, namespace="default", field_manager="me")
        assert fake.get(WORKLOADS, "default", "web")["spec"] == {"gpuCount": 1}


async def test_a_field_that_a_person_changed_conflicts() -> None:
    async with FakeKube() as fake, fake.client() as client:
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
    async with FakeKube() as fake, fake.client() as client:
        fake.put(WORKLOADS, workload("web", spec={"gpuCount": 4}))
        await client.apply(
            WORKLOADS, "web", {"spec": {"gpuCount": 2}}, namespace="default", field_manager="me", force=True
        )
        assert fake.get(WORKLOADS, "default", "web")["spec"]["gpuCount"] == 2


class Refusal(Exception):
    pass


class Gate:
    """A check of writes that lets so many pass."""

    def __init__(self, passes: float = 0) -> None:
        self.passes = passes

    def __call__(self) -> None:
        self.passes -= 1
        if self.passes < 0:
            raise Refusal


WRITES: list[Callable[[KubeClient], Awaitable[object]]] = [
    lambda client: client.create(WORKLOADS, workload("new"), namespace="default"),
    lambda client: client.replace(WORKLOADS, "web", workload("web"), namespace="default"),
    lambda client: client.merge_patch(WORKLOADS, "web", {"spec": {}}, namespace="default"),
    lambda client: client.json_patch(WORKLOADS, "web", [], namespace="default"),
    lambda client: client.apply(WORKLOADS, "web", {}, namespace="default", field_manager="test"),
    lambda client: client.delete(WORKLOADS, "web", namespace="default"),
]


@pytest.mark.parametrize("write", WRITES)
async def test_a_guarded_client_sends_no_write_that_its_check_refuses(
    write: Callable[[KubeClient], Awaitable[object]],
) -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.put(WORKLOADS, workload("web"))
        with pytest.raises(Refusal):
            await write(client.guarded(Gate()))
    assert fake.requests == []


@pytest.mark.parametrize("write", WRITES)
async def test_a_write_is_checked_again_once_its_connection_is_there(
    write: Callable[[KubeClient], Awaitable[object]],
) -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.put(WORKLOADS, workload("web"))
        before = fake.store.revision
        with pytest.raises(Refusal):
            await write(client.guarded(Gate(passes=1)))
        assert fake.store.revision == before


async def test_a_write_is_checked_again_before_it_is_repeated() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.put(WORKLOADS, workload("web"))
        fake.fail("/web", code=503, times=5)
        with pytest.raises(Refusal):
            await client.guarded(Gate(passes=2)).merge_patch(WORKLOADS, "web", {}, namespace="default")
        assert len(fake.requests) == 1


async def test_a_guarded_client_reads_and_writes_as_the_one_it_was_made_of() -> None:
    async with FakeKube() as fake, fake.client() as client:
        gate = Gate(passes=math.inf)
        await client.guarded(gate).create(WORKLOADS, workload("web"), namespace="default")
        gate.passes = 0
        read = await client.guarded(gate).get(WORKLOADS, "web", namespace="default", type=CustomObject)
        assert read.metadata.name == "web"


async def test_only_the_guarded_client_is_guarded() -> None:
    async with FakeKube() as fake, fake.client() as client:
        client.guarded(Gate())
        await client.create(WORKLOADS, workload("web"), namespace="default")
        assert fake.find(WORKLOADS, "default", "web") is not None
