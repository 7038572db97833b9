"""One control plane with the three services on it, shared by all end-to-end tests."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devcluster.binaries import Binaries, obtain
from devcluster.cluster import DevCluster
from devcluster.demo import prepare
from devcluster.services import ADAPTER, EXPORTER, RECOMMENDER, WEBHOOK, Services
from devcluster.view import View
from tests.e2e.trial import Scene, Trial, new_trial
from vgpu.kube.client import KubeClient
from vgpu.prometheus import PrometheusClient


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the control plane."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def binaries() -> Binaries:
    """The compiled control plane (`make e2e` has obtained it before, with visible progress)."""
    return obtain(report=print)


@pytest.fixture(scope="session")
async def bare_cluster(
    tmp_path_factory: pytest.TempPathFactory, binaries: Binaries
) -> AsyncIterator[DevCluster]:
    """A control plane with nothing of ours in it."""
    async with DevCluster(tmp_path_factory.mktemp("cluster"), binaries=binaries) as running:
        yield running


@pytest.fixture(scope="session")
async def cluster(bare_cluster: DevCluster) -> DevCluster:
    """The control plane with our CustomResourceDefinitions and the services' namespace."""
    await prepare(bare_cluster)
    return bare_cluster


@pytest.fixture(scope="session")
async def services(cluster: DevCluster) -> Services:
    """The three services and the GPU exporter, each a process of its own, all ready."""
    running = Services(cluster)
    for name in (EXPORTER, RECOMMENDER, WEBHOOK, ADAPTER):
        await running.start(name)
    cluster.set_scrape_targets(running.scrape_targets())
    return running


@pytest.fixture(scope="session")
async def client(cluster: DevCluster) -> AsyncIterator[KubeClient]:
    """An administrator's client."""
    async with await KubeClient.connect(kubeconfig=cluster.kubeconfig, user_agent="e2e") as connected:
        yield connected


@pytest.fixture(scope="session")
async def prometheus(cluster: DevCluster) -> AsyncIterator[PrometheusClient]:
    """A client of the real Prometheus."""
    async with PrometheusClient(cluster.prometheus_url) as connected:
        yield connected


@pytest.fixture
async def view(
    cluster: DevCluster, client: KubeClient, services: Services, request: pytest.FixtureRequest
) -> View:
    """A look at the objects of one test, in a namespace of its own, with all services running."""
    name = _namespace_of(request)
    await cluster.kubectl("create", "namespace", name)
    return View(cluster=cluster, client=client, namespace=name)


@pytest.fixture(scope="module")
async def trial(tmp_path_factory: pytest.TempPathFactory, binaries: Binaries) -> AsyncIterator[Trial]:
    """A control plane of a module's own, for recommenders that are killed and lied to."""
    async with new_trial(tmp_path_factory.mktemp("trial"), binaries) as made:
        yield made


@pytest.fixture
async def scene(trial: Trial, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """One test's namespace in a control plane of the module's own; no recommender runs."""
    name = _namespace_of(request)
    await trial.cluster.kubectl("create", "namespace", name)
    made = Scene(trial, name)
    yield made
    await made.close()


def _namespace_of(request: pytest.FixtureRequest) -> str:
    return re.sub("[^a-z0-9]+", "-", request.node.name.removeprefix("test_"))[:60].strip("-")
