"""The servers that a recommender works against, in a process of their own."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection

from aiohttp import web

from tests.bench.kube_server import KubeServer
from tests.bench.population import Population
from tests.bench.prometheus_server import PrometheusServer

_START_PATIENCE = 120.0
_STOP_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the servers are.

    Attributes:
        kube: URL of kube-apiserver.
        prometheus: URL of Prometheus.
    """

    kube: str
    prometheus: str


@contextmanager
def serving(population: Population) -> Iterator[Addresses]:
    """A kube-apiserver with the population's pods and controllers, and a Prometheus with their usage."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(population, theirs))
    process.start()
    try:
        if not ours.poll(_START_PATIENCE):
            raise TimeoutError(f"the servers of {len(population)} workloads did not start in time")
        yield Addresses(*ours.recv())
    finally:
        process.terminate()
        process.join(_STOP_PATIENCE)


def _serve(population: Population, connection: Connection) -> None:
    asyncio.run(_work(population, connection))


async def _work(population: Population, connection: Connection) -> None:
    members = list(population.members())
    handlers = KubeServer(members).handle, PrometheusServer(members).handle
    connection.send([await _listen(web.Server(handler, access_log=None)) for handler in handlers])
    await asyncio.Event().wait()  # until the process is terminated


async def _listen(server: web.Server) -> str:
    runner = web.ServerRunner(server)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    return f"http://{host}:{port}"
