"""What the unit tests take from the fake kube-apiserver, held against the fake and the real one alike."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from devcluster.cluster import DevCluster
from tests.support.fake_kube import FakeKube
from tests.support.waiting import until
from vgpu.kube.client import KubeClient
from vgpu.kube.errors import AlreadyExists, Conflict, Invalid, MissingCrds, NotFound
from vgpu.kube.objects import ConfigMap, CustomObject, HorizontalPodAutoscaler, PartialObject, Pod
from vgpu.kube.reflector import Reflector
from vgpu.kube.resources import CONFIG_MAPS, HPAS, PODS, PROFILES, ResourceType
from vgpu.kube.transport import Call
from vgpu.kube.wire import decode_event

MISSING = ResourceType("absent.tensor-fusion.ai", "v1", "things", "Thing")


@pytest.fixture(scope="module", params=["fake", "real"])
async def api(request: pytest.FixtureRequest, bare_cluster: DevCluster) -> AsyncIterator[KubeClient]:
    if request.param == "fake":
        async with FakeKube() as fake, fake.client() as client:
            yield client
    else:
        async with await KubeClient.connect(kubeconfig=bare_cluster.kubeconfig, user_agent="test") as client:
            yield client


def config_map(name: str, *, tier: str = "gold", **data: str) -> dict[str, object]:
    metadata = {"name": name, "namespace": "default", "labels": {"tier": tier}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


async def data_of(api: KubeClient, name: str) -> dict[str, str] | None:
    return (await api.get(CONFIG_MAPS, name, type=ConfigMap, namespace="default")).data


async def test_the_server_is_reachable_and_serves_what_it_serves(api: KubeClient) -> None:
    await api.wait_reachable(timeout=5)
    await api.require_crds(HPAS)
    with pytest.raises(MissingCrds, match=r"things\.absent\.tensor-fusion\.ai"):
        await api.require_crds(HPAS, MISSING)


async def test_objects_are_created_once_and_deleted_once(api: KubeClient) -> None:
    await api.create(CONFIG_MAPS, config_map("once"), namespace="default")
    with pytest.raises(AlreadyExists):
        await api.create(CONFIG_MAPS, config_map("once"), namespace="default")
    await api.delete(CONFIG_MAPS, "once", namespace="default")
    with pytest.raises(NotFound, match='"once" not found'):
        await api.delete(CONFIG_MAPS, "once", namespace="default")


async def test_types_that_are_not_served_are_not_found(api: KubeClient) -> None:
    with pytest.raises(NotFound, match="GET /apis/absent"):
        await api.list(MISSING, type=PartialObject)


async def test_outdated_versions_conflict(api: KubeClient) -> None:
    old = await api.create(CONFIG_MAPS, config_map("versions", a="1"), namespace="default")
    await api.replace(CONFIG_MAPS, "versions", {**old, "data": {"a": "2"}}, namespace="default")
    with pytest.raises(Conflict, match="the object has been modified"):
        await api.replace(CONFIG_MAPS, "versions", {**old, "data": {"a": "3"}}, namespace="default")
    outdated = {"metadata": {"resourceVersion": old["metadata"]["resourceVersion"]}, "data": {"a": "4"}}
    with pytest.raises(Conflict, match="the object has been modified"):
        await api.merge_patch(CONFIG_MAPS, "versions", outdated, namespace="default")
    assert await data_of(api, "versions") == {"a": "2"}


async def test_a_write_that_changes_nothing_makes_no_version(api: KubeClient) -> None:
    first = await api.create(CONFIG_MAPS, config_map("same", a="1"), namespace="default")
    second = await api.merge_patch(CONFIG_MAPS, "same", {"data": {"a": "1"}}, namespace="default")
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


async def test_json_patches_apply_or_are_invalid(api: KubeClient) -> None:
    await api.create(CONFIG_MAPS, config_map("patched", a="1"), namespace="default")
    change = [{"op": "replace", "path": "/data/a", "value": "2"}]
    await api.json_patch(CONFIG_MAPS, "patched", change, namespace="default")
    assert await data_of(api, "patched") == {"a": "2"}
    with pytest.raises(Invalid):
        await api.json_patch(
            CONFIG_MAPS, "patched", [{"op": "remove", "path": "/data/absent"}], namespace="default"
        )


async def apply(api: KubeClient, name: str, *, manager: str = "me", force: bool = False, **data: str) -> str:
    body = {"data": data}
    applied = await api.apply(
        CONFIG_MAPS, name, body, namespace="default", field_manager=manager, force=force
    )
    version: str = applied["metadata"]["resourceVersion"]
    return version


async def test_apply_creates_keeps_and_takes_away(api: KubeClient) -> None:
    first = await apply(api, "applied", a="1", b="2")
    assert await apply(api, "applied", a="1", b="2") == first
    await apply(api, "applied", a="1")
    assert await data_of(api, "applied") == {"a": "1"}


async def test_a_field_that_a_person_changed_conflicts_until_forced(api: KubeClient) -> None:
    await apply(api, "contested", a="1", b="1")
    await api.merge_patch(CONFIG_MAPS, "contested", {"data": {"a": "person"}}, namespace="default")
    with pytest.raises(Conflict, match=r'conflict with "test".*: \.data\.a$'):
        await apply(api, "contested", a="2", b="2")
    assert await data_of(api, "contested") == {"a": "person", "b": "1"}
    await apply(api, "contested", force=True, a="2", b="2")
    assert await data_of(api, "contested") == {"a": "2", "b": "2"}


async def test_two_managers_of_one_value_share_it(api: KubeClient) -> None:
    await apply(api, "shared", manager="me", a="1")
    await apply(api, "shared", manager="you", a="1")
    with pytest.raises(Conflict):
        await apply(api, "shared", manager="me", a="2")
    await apply(api, "shared", manager="you", b="2")
    assert await data_of(api, "shared") == {"a": "1", "b": "2"}


async def test_pages_and_selectors(api: KubeClient) -> None:
    for index in range(5):
        tier = "gold" if index % 2 else "iron"
        await api.create(CONFIG_MAPS, config_map(f"page-{index}", tier=f"{tier}-page"), namespace="default")
    for selector, expected in (
        ("tier in (gold-page, iron-page)", [0, 1, 2, 3, 4]),
        ("tier=gold-page", [1, 3]),
        ("tier,tier notin (gold,gold-page,iron,silver)", [0, 2, 4]),
    ):
        found, revision = await api.list(
            CONFIG_MAPS, type=ConfigMap, namespace="default", label_selector=selector, page_size=2
        )
        assert [each.metadata.name for each in found] == [f"page-{index}" for index in expected]
        assert int(revision) > 0
    named, _ = await api.list(CONFIG_MAPS, type=PartialObject, field_selector="metadata.name=page-3")
    assert [each.metadata.name for each in named] == ["page-3"]


async def test_a_watch_tells_changes_within_its_selection(api: KubeClient) -> None:
    _, start = await api.list(CONFIG_MAPS, type=PartialObject, namespace="default")
    await api.create(CONFIG_MAPS, config_map("watched", tier="watch", a="1"), namespace="default")
    await api.merge_patch(CONFIG_MAPS, "watched", {"data": {"a": "2"}}, namespace="default")
    leave = {"metadata": {"labels": {"tier": "other"}}}
    await api.merge_patch(CONFIG_MAPS, "watched", leave, namespace="default")
    told: list[tuple[str, dict[str, str] | None]] = []
    versions: list[int] = []
    stream = api.watch(
        CONFIG_MAPS, type=ConfigMap, resource_version=start, label_selector="tier=watch", timeout=10
    )
    async with asyncio.timeout(10), aclosing(stream):
        async for event in stream:
            if event.type != "BOOKMARK":
                told.append((event.type, event.object.data if event.object else None))
                versions.append(int(event.metadata.resource_version))
            if len(told) == 3:
                break
    assert told == [("ADDED", {"a": "1"}), ("MODIFIED", {"a": "2"}), ("DELETED", {"a": "2"})]
    assert versions == sorted(set(versions))


async def test_a_watch_ends_when_its_time_is_over(api: KubeClient) -> None:
    _, start = await api.list(CONFIG_MAPS, type=PartialObject, namespace="kube-public")
    stream = api.watch(
        CONFIG_MAPS, type=PartialObject, namespace="kube-public", resource_version=start, timeout=1
    )
    async with asyncio.timeout(10), aclosing(stream):
        assert {event.type async for event in stream} <= {"BOOKMARK"}


@pytest.mark.parametrize(
    ("resource", "type_", "nothing"),
    [
        (PODS, Pod, {"spec": {"containers": None}, "status": {}}),
        (
            HPAS,
            HorizontalPodAutoscaler,
            {
                "spec": {"scaleTargetRef": {"kind": "", "name": ""}, "maxReplicas": 0},
                "status": {"desiredReplicas": 0, "currentMetrics": None},
            },
        ),
        (CONFIG_MAPS, ConfigMap, {}),
    ],
)
async def test_a_bookmark_is_an_object_with_nothing_but_its_version(
    api: KubeClient, resource: ResourceType, type_: type[Any], nothing: dict[str, Any]
) -> None:
    # The initial events end with a bookmark: no need to wait a minute for one.
    query = "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    path = f"{resource.path()}?{query}&resourceVersion=0&timeoutSeconds=1"
    lines = (await api.raw_get(path)).splitlines()
    line = next(line for line in lines if b'"BOOKMARK"' in line)
    sent = json.loads(line)["object"]
    assert {key: sent[key] for key in sent if key in ("spec", "status")} == nothing
    read = decode_event(Call("GET", path), type_, line)
    assert (read.type, read.metadata.resource_version) == ("BOOKMARK", sent["metadata"]["resourceVersion"])


async def test_an_object_nested_deeper_than_decoders_go_hides_no_other(
    cluster: DevCluster, client: KubeClient, tmp_path: Path
) -> None:
    reflector = Reflector(client, PROFILES, type=CustomObject, namespace="kube-public")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(reflector.run())
        await reflector.wait_synced(10)
        for levels in (500, 1_500):
            await create_deep(cluster, tmp_path, f"deep-{levels}", levels=levels)
        await create_deep(cluster, tmp_path, "good", levels=5)
        await until(lambda: reflector.get("kube-public", "good"), timeout=10)
        assert reflector.unreadable() == 2
        listed, _ = await client.list(PROFILES, type=CustomObject, namespace="kube-public")
        assert [each.metadata.name for each in listed] == ["good"]
        for name in ("deep-500", "deep-1500", "good"):
            await client.delete(PROFILES, name, namespace="kube-public")
        await until(lambda: reflector.unreadable() == 0 and not reflector.values(), timeout=10)
        running.cancel()


async def create_deep(cluster: DevCluster, directory: Path, name: str, *, levels: int) -> None:
    """Store a WorkloadProfile with an unknown field of so many levels."""
    head = f'{{"apiVersion":"tensor-fusion.ai/v1","kind":"WorkloadProfile","metadata":{{"name":"{name}"}}'
    file = directory / f"{name}.json"
    unknown = '{"a":' * levels + "1" + "}" * levels
    file.write_text(f'{head},"spec":{{"unknown":{unknown}}}}}')
    await cluster.kubectl("create", "--validate=false", "--namespace=kube-public", "-f", str(file))


async def test_a_reflector_follows(api: KubeClient) -> None:
    reflector = Reflector(api, CONFIG_MAPS, type=ConfigMap, label_selector="tier=reflected")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(reflector.run())
        await reflector.wait_synced(10)
        await api.create(CONFIG_MAPS, config_map("followed", tier="reflected"), namespace="default")
        await until(lambda: reflector.get("default", "followed"), timeout=10)
        await api.delete(CONFIG_MAPS, "followed", namespace="default")
        await until(lambda: not reflector.get("default", "followed"), timeout=10)
        running.cancel()


async def test_metadata_is_sent_alone(api: KubeClient) -> None:
    class Whole(msgspec.Struct):
        kind: str
        data: dict[str, str] | None = None

    await api.create(CONFIG_MAPS, config_map("partial", a="1"), namespace="default")
    read = await api.get(CONFIG_MAPS, "partial", namespace="default", type=Whole, metadata_only=True)
    assert read == Whole(kind="PartialObjectMetadata", data=None)
