"""Watches and TLS: what goes on for longer than one answer."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.builders import pod
from tests.support.fake_kube import FakeKube
from tests.support.waiting import until
from vgpu.certificates import issue_serving_pair, server_context
from vgpu.kube.client import KubeClient
from vgpu.kube.errors import ApiUnreachable, Forbidden, Gone
from vgpu.kube.objects import Pod
from vgpu.kube.resources import PODS
from vgpu.kube.wire import WatchEvent


async def events(
    fake: FakeKube, client: KubeClient, count: int, *, after: str | None = None, selector: str | None = None
) -> list[WatchEvent[Pod]]:
    """The first `count` events that are not bookmarks."""
    found: list[WatchEvent[Pod]] = []
    revision = after or str(fake.store.revision)
    stream = client.watch(PODS, type=Pod, resource_version=revision, label_selector=selector)
    async with asyncio.timeout(5), aclosing(stream):
        async for event in stream:
            if event.type != "BOOKMARK":
                found.append(event)
            if len(found) == count:
                break
    return found


async def test_a_watch_tells_what_happened_in_order() -> None:
    async with FakeKube() as fake, fake.client() as client:
        start = str(fake.store.revision)
        fake.put(PODS, pod("web-0"))
        fake.put(PODS, pod("web-0", node="other"))
        fake.delete(PODS, "default", "web-0")
        told = await events(fake, client, 3, after=start)
    assert [event.type for event in told] == ["ADDED", "MODIFIED", "DELETED"]
    assert told[1].object is not None
    assert told[1].object.spec.node_name == "other"


async def test_a_watch_tells_what_happens_while_it_is_open() -> None:
    async with FakeKube() as fake, fake.client() as client, asyncio.TaskGroup() as group:
        watching = group.create_task(events(fake, client, 1))
        await until(fake.open_watches)
        fake.put(PODS, pod("web-0"))
        told = await watching
    assert told[0].metadata.name == "web-0"


async def test_an_object_that_leaves_the_selection_is_deleted_from_it() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.put(PODS, pod("web-0", labels={"tier": "gold"}))
        start = str(fake.store.revision)
        fake.put(PODS, pod("web-0", labels={"tier": "iron"}))
        told = await events(fake, client, 1, after=start, selector="tier=gold")
    assert told[0].type == "DELETED"


async def test_a_bookmark_carries_the_newest_version() -> None:
    async with FakeKube() as fake, fake.client() as client:
        stream = client.watch(PODS, type=Pod, resource_version=str(fake.store.revision))
        async with asyncio.timeout(5), aclosing(stream):
            bookmark = await anext(stream)
    assert bookmark.type == "BOOKMARK"
    assert bookmark.metadata.resource_version == str(fake.store.revision)


async def test_an_event_of_megabytes_arrives_whole() -> None:
    async with FakeKube() as fake, fake.client() as client:
        start = str(fake.store.revision)
        fake.put(PODS, pod("web-0", annotations={"big": "x" * 5_000_000}))
        fake.put(PODS, pod("web-1"))
        told = await events(fake, client, 2, after=start)
    assert len((told[0].metadata.annotations or {})["big"]) == 5_000_000
    assert told[1].metadata.name == "web-1"


async def test_the_server_is_told_when_to_end_the_watch() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.watch_seconds = 0.05
        stream = client.watch(PODS, type=Pod, resource_version=str(fake.store.revision), timeout=1.0)
        async with asyncio.timeout(5), aclosing(stream):
            types = {event.type async for event in stream}
    assert types == {"BOOKMARK"}
    assert fake.requests[0].query["timeoutSeconds"] == "1"


async def test_a_version_that_is_too_old_is_gone() -> None:
    async with FakeKube() as fake, fake.client() as client:
        start = str(fake.store.revision)
        fake.put(PODS, pod("web-0"))
        fake.compact()
        with pytest.raises(Gone, match="too old"):
            await events(fake, client, 1, after=start)


async def test_a_version_that_is_refused_before_the_watch_begins_is_gone_too() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.fail("/pods", code=410, reason="Expired")
        with pytest.raises(Gone):
            await events(fake, client, 1)


async def test_a_watch_without_permission_is_forbidden() -> None:
    async with FakeKube() as fake, fake.client() as client:
        fake.fail("/pods", code=403, reason="Forbidden")
        with pytest.raises(Forbidden):
            await events(fake, client, 1)


async def test_a_watch_that_is_cut_is_unreachable() -> None:
    async with FakeKube() as fake, fake.client() as client:
        watching = asyncio.create_task(events(fake, client, 1))
        await until(fake.open_watches)
        fake.drop_watches()
        with pytest.raises(ApiUnreachable):
            await watching


async def test_a_watch_that_falls_silent_is_unreachable() -> None:
    async with FakeKube() as fake, fake.client(timeout=0.1) as client:
        fake.bookmark_interval = 60
        stream = client.watch(PODS, type=Pod, resource_version=str(fake.store.revision), timeout=0.1)
        with pytest.raises(ApiUnreachable, match=r"nothing within 0\.2 seconds"):
            async with asyncio.timeout(5), aclosing(stream):
                await anext(stream)


async def test_leaving_a_watch_closes_its_connection() -> None:
    async with FakeKube() as fake, fake.client() as client:
        start = str(fake.store.revision)
        fake.put(PODS, pod("web-0"))
        await events(fake, client, 1, after=start)
        await until(lambda: fake.open_watches() == 0)


async def test_the_kubeconfigs_ca_is_trusted() -> None:
    pair = issue_serving_pair(
        dns_names=["localhost"], ip_addresses=["127.0.0.1"], now=datetime.now(UTC), common_name="kube"
    )
    async with (
        FakeKube(ssl_context=server_context(pair), ca_pem=pair.ca_pem) as fake,
        fake.client() as client,
    ):
        await client.wait_reachable(timeout=5)


async def test_a_server_with_another_ca_is_not_talked_to() -> None:
    now = datetime.now(UTC) - timedelta(days=1)
    pairs = [
        issue_serving_pair(dns_names=[], ip_addresses=["127.0.0.1"], now=now, common_name=name)
        for name in ("right", "wrong")
    ]
    context = server_context(pairs[0])
    async with FakeKube(ssl_context=context, ca_pem=pairs[1].ca_pem) as fake, fake.client() as client:
        with pytest.raises(ApiUnreachable, match="certificate verify failed"):
            await client.wait_reachable(timeout=0.3)
    assert fake.requests == []
