"""How the recommender's copies of the cluster come to know the cards."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from recommender.cluster.changes import Changes
from recommender.cluster.claims import Claims
from recommender.cluster.owners import OwnerLookup
from recommender.cluster.pods import PodIndex
from recommender.cluster.view import Cluster
from tests.support import builders
from tests.support.fake_kube import FakeKube
from tests.support.waiting import until
from vgpu.capacity import Card
from vgpu.gpu_peaks import load_models
from vgpu.kube.resources import GPUS, NODES
from vgpu.slices import Amounts

L4 = Card("NVIDIA-L4", 121_000, 23034 << 20)
A100 = Card("NVIDIA A100-SXM4-80GB", 312_000, 80 << 30)


@asynccontextmanager
async def following(kube: FakeKube) -> AsyncIterator[Cluster]:
    """A cluster that is followed until the block ends."""
    async with kube.client() as client:
        cluster = Cluster(client, Changes(), Claims(PodIndex(OwnerLookup(client))), load_models())
        task = asyncio.create_task(_run(cluster))
        await cluster.wait_synced(5)
        yield cluster
        task.cancel()
        await asyncio.wait([task])


async def _run(cluster: Cluster) -> None:
    async with asyncio.TaskGroup() as tasks:
        cluster.start(tasks)


@pytest.fixture
async def kube() -> AsyncIterator[FakeKube]:
    async with FakeKube() as running:
        running.put(NODES, builders.node())
        yield running


async def test_the_card_of_a_node_is_the_one_of_its_labels(kube: FakeKube) -> None:
    async with following(kube) as cluster:
        assert cluster.card_of("node-1") == L4
        assert cluster.largest("node-1") == cluster.cap() == Amounts(121_000, 23034 << 20)


async def test_a_node_that_goes_has_no_card_and_still_caps(kube: FakeKube) -> None:
    async with following(kube) as cluster:
        kube.delete(NODES, "", "node-1")
        await until(lambda: cluster.card_of("node-1") is None, what="the node is gone")
        assert cluster.cap() == Amounts(121_000, 23034 << 20)


async def test_gpu_objects_are_known_when_everything_has_been_listed(kube: FakeKube) -> None:
    kube.put(GPUS, builders.gpu())
    async with following(kube) as cluster:
        assert cluster.card_of("node-1") == A100
        assert cluster.not_ready() == []


async def test_gpu_objects_that_come_and_go_are_followed(kube: FakeKube) -> None:
    async with following(kube) as cluster:
        kube.put(GPUS, builders.gpu())
        await until(lambda: cluster.card_of("node-1") == A100, what="the GPU is known")
        kube.delete(GPUS, "", "gpu-0")
        await until(lambda: cluster.card_of("node-1") == L4, what="the label counts again")


async def test_another_card_has_every_workload_looked_at_again(kube: FakeKube) -> None:
    async with following(kube) as cluster:
        cluster._changes.take()
        kube.put(GPUS, builders.gpu())
        await until(lambda: cluster.card_of("node-1") == A100, what="the GPU is known")
        assert cluster._changes.take().everything


async def test_without_the_gpu_objects_definition_labels_do(kube: FakeKube) -> None:
    kube.unserve(GPUS)
    async with following(kube) as cluster:
        assert cluster.card_of("node-1") == L4
        assert cluster.not_ready() == []
        assert not any("gpus" in request.path for request in kube.requests)


async def test_without_the_permission_labels_do_and_the_log_names_it_once(kube: FakeKube) -> None:
    kube.fail("/apis/tensor-fusion.ai/v1/gpus", code=403, reason="Forbidden", times=100)
    with capture_logs() as logs:
        async with following(kube) as cluster:
            assert cluster.card_of("node-1") == L4
            assert cluster.not_ready() == []
    [entry] = [entry for entry in logs if entry["log_level"] == "warning"]
    assert entry["event"] == "cards are taken from the labels of nodes alone"
    assert "gpus" in entry["error"]


async def test_a_server_in_trouble_is_asked_for_gpu_objects_again(kube: FakeKube) -> None:
    kube.put(GPUS, builders.gpu())
    kube.fail("/apis/tensor-fusion.ai/v1/gpus", code=400, reason="BadRequest", times=1)
    async with following(kube) as cluster:
        assert cluster.card_of("node-1") == A100


async def test_what_usage_needs_to_know_of_cards_is_found_by_node(kube: FakeKube) -> None:
    kube.put(NODES, builders.node("node-2", product="NVIDIA-L4-SHARED"))
    async with following(kube) as cluster:
        cards = cluster.card_lookup()
        assert cards.peak("NVIDIA L4") == 121.0
        assert cards.card_of("node-1") == L4
        assert cards.largest("node-3") == Amounts(121_000, 23034 << 20)
        assert (cards.is_shared("node-1"), cards.is_shared("node-2")) == (False, True)


async def test_a_node_that_shares_its_card_no_more_is_known_for_it_no_more(kube: FakeKube) -> None:
    kube.put(NODES, builders.node("node-2", product="NVIDIA-L4-SHARED"))
    async with following(kube) as cluster:
        cards = cluster.card_lookup()
        kube.put(NODES, builders.node("node-2"))
        await until(lambda: not cards.is_shared("node-2"), what="the card is not shared any more")
        kube.put(NODES, builders.node("node-2", product="NVIDIA-L4-SHARED"))
        await until(lambda: cards.is_shared("node-2"), what="the card is shared again")
        kube.delete(NODES, "", "node-2")
        await until(lambda: not cards.is_shared("node-2"), what="the node is gone")
