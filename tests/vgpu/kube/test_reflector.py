import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tenacity import wait_fixed, wait_random

from tests.support.builders import node, pod
from tests.support.examples import examples
from tests.support.fake_kube import FakeKube
from tests.support.waiting import until
from vgpu.annotations import GATE_SELECTOR
from vgpu.kube.client import KubeClient
from vgpu.kube.errors import Forbidden, NotSynced
from vgpu.kube.objects import CustomObject, Node, PartialObject, Pod
from vgpu.kube.reflector import Reflector
from vgpu.kube.resources import NODES, PODS, PROFILES

Change = tuple[str, Pod | None, Pod | None]


class Mirror:
    """Rebuilds the store from `on_change` alone, and holds it to its promises."""

    def __init__(self) -> None:
        self.objects: dict[str, Pod] = {}
        self.changes: list[Change] = []

    def __call__(self, key: str, old: Pod | None, new: Pod | None) -> None:
        assert self.objects.get(key) == old
        assert old is not None or new is not None
        if old is not None and new is not None:
            assert old.metadata.uid == new.metadata.uid
        self.changes.append((key, old, new))
        if new is None:
            del self.objects[key]
        else:
            self.objects[key] = new


@asynccontextmanager
async def reflecting(
    fake: FakeKube, client: KubeClient, *, mirror: Mirror | None = None
) -> AsyncIterator[Reflector[Pod]]:
    reflector = Reflector(
        client,
        PODS,
        type=Pod,
        label_selector=GATE_SELECTOR,
        on_change=mirror,
        backoff=wait_random(0, 0.01),
    )
    async with asyncio.TaskGroup() as group:
        running = group.create_task(reflector.run())
        await reflector.wait_synced(5)
        yield reflector
        running.cancel()


def stored(fake: FakeKube) -> dict[str, str]:
    gated = (each["metadata"] for each in fake.objects(PODS) if each["metadata"].get("labels"))
    return {f"{each['namespace']}/{each['name']}": each["resourceVersion"] for each in gated}


def reflected(reflector: Reflector[Pod]) -> dict[str, str]:
    return {key: each.metadata.resource_version for key, each in reflector.items()}


async def test_what_was_there_before_is_listed() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.put(PODS, pod("web-0", node="gpu-7"))
        async with reflecting(fake, client) as reflector:
            found = reflector.get("default", "web-0")
            assert reflector.synced
            assert found is not None
            assert found.spec.node_name == "gpu-7"
            assert list(reflector.values()) == [found]


async def test_what_is_not_selected_is_not_kept() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.put(PODS, pod("web-0", gated=False))
        async with reflecting(fake, client) as reflector:
            assert list(reflector.values()) == []


async def test_cluster_scoped_objects_are_found_by_name() -> None:
    async with FakeKube() as fake, fake.client() as client, asyncio.TaskGroup() as group:
        fake.put(NODES, node("gpu-7"))
        reflector = Reflector(client, NODES, type=Node)
        running = group.create_task(reflector.run())
        await reflector.wait_synced(5)
        assert [key for key, _ in reflector.items()] == ["gpu-7"]
        assert reflector.get("", "gpu-7") is not None
        running.cancel()


async def test_of_a_partial_object_only_metadata_is_sent() -> None:
    async with FakeKube() as fake, fake.client() as client, asyncio.TaskGroup() as group:
        reflector = Reflector(client, PODS, type=PartialObject)
        running = group.create_task(reflector.run())
        await until(fake.open_watches)
        fake.put(PODS, pod("web-0"))
        await until(lambda: reflector.get("default", "web-0"))
        running.cancel()
    assert all("PartialObjectMetadata" in request.headers["Accept"] for request in fake.requests)


async def test_changes_are_told_as_they_happen() -> None:
    mirror = Mirror()
    async with FakeKube() as fake, fake.client() as client, reflecting(fake, client, mirror=mirror):
        await until(fake.open_watches)
        fake.put(PODS, pod("web-0", node="a"))
        fake.put(PODS, pod("web-0", node="b"))
        fake.delete(PODS, "default", "web-0")
        await until(lambda: len(mirror.changes) == 3)
    nodes = [tuple(side and side.spec.node_name for side in change[1:]) for change in mirror.changes]
    assert nodes == [(None, "a"), ("a", "b"), ("b", None)]


async def test_a_cut_watch_goes_on_where_it_was_without_a_new_list() -> None:
    async with FakeKube() as fake, fake.client() as client, reflecting(fake, client) as reflector:
        await until(fake.open_watches)
        fake.drop_watches()
        fake.put(PODS, pod("web-0"))
        await until(lambda: reflector.get("default", "web-0"))
    assert [request.query.get("watch") for request in fake.requests].count(None) == 1


async def test_a_resumed_watch_starts_from_the_last_bookmark() -> None:
    async with FakeKube() as fake, fake.client() as client, reflecting(fake, client):
        fake.bookmark_interval = 0.005
        await until(fake.open_watches)
        fake.put(NODES, node())
        newest = str(fake.store.revision)
        before = time.monotonic()
        await until(lambda: time.monotonic() - before > 0.1, what="a few bookmarks")
        fake.drop_watches()
        await until(lambda: fake.requests[-1].query.get("resourceVersion") == newest)


async def test_a_deletion_during_an_outage_is_told_after_the_new_list() -> None:
    mirror = Mirror()
    async with FakeKube() as fake, fake.client() as client:
        fake.put(PODS, pod("web-0"))
        async with reflecting(fake, client, mirror=mirror) as reflector:
            await until(fake.open_watches)
            fake.fail("/pods", code=410, reason="Expired")
            fake.drop_watches()
            fake.delete(PODS, "default", "web-0")
            fake.compact()
            await until(lambda: mirror.changes[-1][2] is None)
            assert reflector.get("default", "web-0") is None


async def test_what_did_not_change_is_not_told_again_after_a_new_list() -> None:
    mirror = Mirror()
    async with FakeKube() as fake, fake.client() as client:
        fake.put(PODS, pod("web-0"))
        async with reflecting(fake, client, mirror=mirror):
            await until(fake.open_watches)
            fake.fail("/pods", code=410, reason="Expired")
            fake.drop_watches()
            await until(lambda: sum("watch" not in request.query for request in fake.requests) == 2)
            await until(fake.open_watches)
    assert len(mirror.changes) == 1


async def test_an_object_made_anew_under_its_old_name_is_a_deletion_and_a_creation() -> None:
    mirror = Mirror()
    async with FakeKube() as fake, fake.client() as client:
        first = pod("web-0")
        fake.put(PODS, first)
        async with reflecting(fake, client, mirror=mirror):
            await until(fake.open_watches)
            fake.fail("/pods", code=410, reason="Expired")
            fake.drop_watches()
            fake.delete(PODS, "default", "web-0")
            fake.put(PODS, {**first, "metadata": first["metadata"] | {"uid": "another"}})
            fake.compact()
            await until(lambda: len(mirror.changes) == 3)
    assert [(old is None, new is None) for _, old, new in mirror.changes[1:]] == [
        (False, True),
        (True, False),
    ]


async def test_the_old_objects_stay_while_the_server_is_away() -> None:
    async with FakeKube() as fake, fake.client(timeout=0.2) as client:
        fake.put(PODS, pod("web-0"))
        async with reflecting(fake, client) as reflector:
            await until(fake.open_watches)
            await fake.stop()
            await until(lambda: reflector.last_error is not None)
            assert reflector.get("default", "web-0") is not None
            assert reflector.synced


async def test_the_last_contact_advances_with_bookmarks_alone() -> None:
    async with FakeKube() as fake, fake.client() as client, reflecting(fake, client) as reflector:

        def contact() -> float:
            return time.monotonic() - reflector.silence()

        first = contact()
        await until(lambda: contact() > first + 0.01)


async def test_a_server_that_ends_every_watch_at_once_is_not_asked_in_a_tight_loop() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.watch_seconds = 0.0
        reflector = Reflector(client, PODS, type=Pod, backoff=wait_fixed(0.05))
        started = time.monotonic()
        task = asyncio.create_task(reflector.run())
        await until(lambda: len(fake.requests) >= 6)
        task.cancel()
        # Six requests are a list and five watches: four pauses.
        assert time.monotonic() - started >= 4 * 0.05


async def test_a_server_that_always_says_gone_is_not_asked_in_a_tight_loop() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.fail("/pods", code=410, reason="Expired", times=1000)
        reflector = Reflector(client, PODS, type=Pod, backoff=wait_fixed(0.05))
        started = time.monotonic()
        task = asyncio.create_task(reflector.run())
        await until(lambda: len(fake.requests) >= 8)
        task.cancel()
        # Each round asks twice, with pages and without: eight requests are four rounds, three pauses.
        assert time.monotonic() - started >= 3 * 0.05


async def test_what_is_never_listed_says_why_it_is_not_synced() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.fail("/pods", code=403, reason="Forbidden", times=1000)
        reflector = Reflector(client, PODS, type=Pod, backoff=wait_fixed(0.01))
        task = asyncio.create_task(reflector.run())
        with pytest.raises(
            NotSynced, match=r"pods could not be listed within 0\.1 s: GET /api/v1/pods: 403"
        ) as caught:
            await reflector.wait_synced(0.1)
        task.cancel()
    assert isinstance(caught.value.last_error, Forbidden)


async def test_permission_that_is_granted_later_is_enough() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.fail("/pods", code=403, reason="Forbidden", times=3)
        fake.put(PODS, pod("web-0"))
        async with reflecting(fake, client) as reflector:
            assert reflector.get("default", "web-0") is not None


async def test_a_token_that_is_rotated_under_a_watch_is_read_anew() -> None:
    async with (
        FakeKube(token="first") as fake,
        fake.client() as client,
        reflecting(fake, client) as reflector,
    ):
        await until(fake.open_watches)
        fake.token = "second"
        fake.write_kubeconfig()
        fake.drop_watches()
        fake.put(PODS, pod("web-0"))
        await until(lambda: reflector.get("default", "web-0"))


def profile(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "team"}, "spec": {"qos": "low"}}


def deep_profile(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = {}
    for _ in range(150):
        spec = {"a": spec}
    return {**profile(name), "spec": spec}


@asynccontextmanager
async def reflecting_profiles(fake: FakeKube) -> AsyncIterator[Reflector[CustomObject]]:
    async with fake.client() as client, asyncio.TaskGroup() as group:
        reflector = Reflector(client, PROFILES, type=CustomObject, backoff=wait_fixed(0.01))
        running = group.create_task(reflector.run())
        await reflector.wait_synced(5)
        await until(fake.open_watches)
        yield reflector
        running.cancel()


async def test_an_object_that_cannot_be_read_is_left_out_of_the_list_and_counted() -> None:
    async with FakeKube() as fake:
        fake.put(PROFILES, deep_profile("deep"))
        fake.put(PROFILES, profile("good"))
        async with reflecting_profiles(fake) as reflector:
            assert [key for key, _ in reflector.items()] == ["team/good"]
            assert reflector.unreadable() == 1
            fake.put(PROFILES, profile("deep"))
            await until(lambda: reflector.get("team", "deep"))
            assert reflector.unreadable() == 0


async def test_an_object_that_cannot_be_read_any_more_is_gone_and_the_watch_goes_on() -> None:
    async with FakeKube() as fake:
        fake.put(PROFILES, profile("deep"))
        async with reflecting_profiles(fake) as reflector:
            fake.put(PROFILES, deep_profile("deep"))
            fake.put(PROFILES, profile("good"))
            await until(lambda: reflector.get("team", "good"))
            assert reflector.get("team", "deep") is None
            assert reflector.unreadable() == 1
            fake.delete(PROFILES, "team", "deep")
            await until(lambda: reflector.unreadable() == 0)
        assert sum("watch" in request.query for request in fake.requests) == 1


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"ERROR","object":{"kind":"Status","code":500,"message":"etcdserver: leader changed"}}',
        b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}',
        b"not an event",
    ],
)
async def test_a_watch_that_had_worked_is_followed_by_the_next_without_back_off(
    line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vgpu.kube.reflector._WORKED_SECONDS", 0.0)
    async with FakeKube() as fake, fake.client() as client, asyncio.TaskGroup() as group:
        reflector = Reflector(client, PODS, type=Pod, backoff=wait_fixed(60))
        running = group.create_task(reflector.run())
        await until(fake.open_watches)
        await fake.tell_watches(line)
        await until(lambda: sum("watch" in request.query for request in fake.requests) == 2)
        await until(fake.open_watches)
        fake.put(PODS, pod("web-0"))
        await until(lambda: reflector.get("default", "web-0"))
        running.cancel()


async def test_a_line_that_is_no_event_makes_it_list_again() -> None:
    async with FakeKube() as fake, fake.client() as client, reflecting(fake, client):
        await until(fake.open_watches)
        await fake.tell_watches(b"not an event")
        await until(lambda: sum("watch" not in request.query for request in fake.requests) == 2)


async def test_cancelling_ends_it_and_its_watch() -> None:
    async with FakeKube() as fake, fake.client() as client:
        reflector = Reflector(client, PODS, type=Pod)
        task = asyncio.create_task(reflector.run())
        await until(fake.open_watches)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: fake.open_watches() == 0)


async def test_an_error_in_on_change_is_not_hidden() -> None:
    def broken(key: str, old: Pod | None, new: Pod | None) -> None:
        raise ZeroDivisionError(key)

    async with FakeKube() as fake, fake.client() as client:
        fake.put(PODS, pod("web-0"))
        with pytest.raises(ZeroDivisionError):
            await Reflector(client, PODS, type=Pod, on_change=broken).run()


STEPS = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 5), st.integers(0, 3)),
    st.tuples(st.just("relabel"), st.integers(0, 5), st.just(0)),
    st.tuples(st.just("delete"), st.integers(0, 5), st.just(0)),
    st.tuples(st.just("drop"), st.just(0), st.just(0)),
    st.tuples(st.just("compact"), st.just(0), st.just(0)),
    st.tuples(st.just("fail"), st.just(0), st.sampled_from([410, 429, 500, 503])),
    st.tuples(st.just("settle"), st.just(0), st.just(0)),
)


def take_step(fake: FakeKube, action: str, index: int, value: int) -> None:
    name = f"web-{index}"
    if action == "put":
        fake.put(PODS, pod(name, node=f"gpu-{value}"))
    elif action == "relabel":
        fake.put(PODS, pod(name, gated=False))
    elif action == "delete" and fake.find(PODS, "default", name) is not None:
        fake.delete(PODS, "default", name)
    elif action == "drop":
        fake.drop_watches()
    elif action == "compact":
        fake.compact()
        fake.drop_watches()
    elif action == "fail":
        fake.fail("/pods", code=value)


@settings(max_examples=examples(20), suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(STEPS, max_size=25))
async def test_the_store_ends_up_as_the_server_has_it(steps: list[tuple[str, int, int]]) -> None:
    """For all sequences of changes, cut watches, forgotten history and failing requests.

    Both the store and what a follower of `on_change` knows end up equal to the server's objects, and no
    change is told twice or out of order (`Mirror` checks each against what it knew).
    """
    mirror = Mirror()
    async with (
        FakeKube() as fake,
        fake.client() as client,
        reflecting(fake, client, mirror=mirror) as reflector,
    ):
        fake.bookmark_interval = 0.01
        for action, index, value in steps:
            if action in ("drop", "compact"):  # there must be a watch to cut
                await until(fake.open_watches)
            take_step(fake, action, index, value)
            if action == "settle":
                await until(lambda: reflected(reflector) == stored(fake))
        await until(lambda: reflected(reflector) == stored(fake))
        assert mirror.objects == dict(reflector.items())
