"""A recommender in this process, against servers in another one, on a clock that the bench moves."""

import asyncio
import contextlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from recommender.cluster.failures import in_parallel
from recommender.engine import Engine
from recommender.main import Recommender
from recommender.rhythm import WRITERS, Timing
from recommender.settings import RecommenderSettings
from recommender.term import Term
from tests.bench.kube_server import COUNTS, NEWEST
from tests.bench.population import START
from tests.bench.servers import Addresses
from vgpu.kube.client import KubeClient
from vgpu.logs import configure_logging
from vgpu.metric_source import open_source

MINUTE = 60.0
_PATIENCE = 120.0
_TICK = 0.01


@dataclass(frozen=True, slots=True)
class Cost:
    """What a piece of work took.

    Attributes:
        cpu: seconds of this process, all threads together.
        seconds: as a clock on the wall shows them.
        requests: to kube-apiserver, by verb and what they were about.
    """

    cpu: float
    seconds: float
    requests: Counter[str]

    @property
    def writes(self) -> int:
        """Requests that change something."""
        return sum(count for what, count in self.requests.items() if what.split()[0].isupper())


class Rig:
    """What a bench does to a recommender.

    Attributes:
        now: the recommender's clock, seconds since the epoch.
    """

    def __init__(self, addresses: Addresses, session: aiohttp.ClientSession) -> None:
        self.now = START
        self.settings = settings_for(addresses)
        self._addresses = addresses
        self._session = session
        self._recommender: Recommender | None = None
        self._term: Term | None = None

    @property
    def recommender(self) -> Recommender:
        """The recommender."""
        if self._recommender is None:
            raise RuntimeError("it is there inside of `running` only")
        return self._recommender

    @property
    def engine(self) -> Engine:
        """What works in the term that was begun."""
        if self._term is None:
            raise RuntimeError("no term was begun")
        return self._term.engine

    def remaining(self) -> float:
        """For how long the recommender may write."""
        return _PATIENCE

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connect; nothing is asked yet."""
        timing = Timing(interval=self.settings.interval, settle=self.settings.settle, clock=lambda: self.now)
        async with connected(self._addresses) as client, open_source(self.settings) as source:
            self._recommender = Recommender(
                settings=self.settings,
                client=client,
                source=source,
                preset=self.settings.usage(),
                timing=timing,
            )
            yield

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """List all objects, and follow them."""
        task = asyncio.create_task(self._follow())
        try:
            await self.recommender.cluster.wait_synced(_PATIENCE)
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def take_over(self) -> None:
        """Begin a term, with what the last one has saved."""
        self._term = await self.recommender.begin_term(self)

    async def begin(self) -> None:
        """Do what comes before the first pass of a term, and have it look at everything."""
        if self._term is not None:
            await self._term.begin()
        self.engine.look_at_everything()

    async def pass_once(self, *, minutes: float = 1) -> None:
        """Let time go by; then feed, reconcile, and take in what of that comes back by the watch."""
        self.now += minutes * MINUTE
        await self.engine.feed()
        await self.reconcile()

    async def reconcile(self) -> None:
        """Reconcile, and take in what of that comes back by the watch."""
        await self.engine.reconcile()
        waiting = range(self.engine.unwritten())
        await in_parallel(lambda _: self.engine.write_next(), waiting, limit=WRITERS)
        await self._caught_up()

    @asynccontextmanager
    async def measured(self) -> AsyncIterator[Callable[[], Cost]]:
        """Measure what is done inside; what is yielded tells, afterwards."""
        found: list[Cost] = []
        before = await self.requests()
        cpu, began = time.process_time(), time.perf_counter()
        yield lambda: found[0]
        cpu, seconds = time.process_time() - cpu, time.perf_counter() - began
        found.append(Cost(cpu, seconds, await self.requests() - before))

    async def requests(self) -> Counter[str]:
        """Requests to kube-apiserver so far."""
        return Counter(await self._ask(COUNTS))

    async def _follow(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            self.recommender.cluster.start(tasks)

    async def _caught_up(self) -> None:
        if not (newest := await self._ask(NEWEST)):
            return
        async with asyncio.timeout(_PATIENCE):
            while True:
                found = self.recommender.cluster.workloads.get(newest["namespace"], newest["name"])
                if found is not None and found.metadata.resource_version == newest["version"]:
                    return
                await asyncio.sleep(_TICK)

    async def _ask(self, path: str) -> dict[str, Any]:
        async with self._session.get(self._addresses.kube + path) as answer:
            found: dict[str, Any] = await answer.json()
            return found


@asynccontextmanager
async def rig_for(addresses: Addresses) -> AsyncIterator[Rig]:
    """A rig with a recommender that is connected to the servers, and logs as one in a cluster does."""
    with _logging_to_a_file():
        async with aiohttp.ClientSession() as session:
            rig = Rig(addresses, session)
            async with rig.running():
                yield rig


@asynccontextmanager
async def connected(addresses: Addresses) -> AsyncIterator[KubeClient]:
    """A client of the kube-apiserver."""
    with tempfile.TemporaryDirectory() as directory:
        kubeconfig = Path(directory) / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(_kubeconfig(addresses.kube)))
        async with await KubeClient.connect(
            kubeconfig=kubeconfig, user_agent="bench", timeout=_PATIENCE
        ) as client:
            yield client


def settings_for(addresses: Addresses) -> RecommenderSettings:
    """The defaults, but for what takes time by the clock on the wall, or asks for more than is measured."""
    return RecommenderSettings(
        prometheus_url=addresses.prometheus,
        prometheus_timeout=_PATIENCE,
        settle=0,
        backfill=False,
        leader_election=False,
        status_writes_per_second=10_000,
    )


@contextmanager
def _logging_to_a_file() -> Iterator[None]:
    """Log to a file, at the usual level; show what is no good news."""
    with tempfile.TemporaryFile("w+") as file:
        stderr, sys.stderr = sys.stderr, file
        try:
            configure_logging(level="info", format="json")
            yield
        finally:
            sys.stderr = stderr
            file.seek(0)
            bad = [line for line in file if '"level":"info"' not in line]
            sys.stderr.write("".join(bad[:20]))


def _kubeconfig(server: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bench",
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        "clusters": [{"name": "bench", "cluster": {"server": server}}],
        "users": [{"name": "bench", "user": {}}],
    }
