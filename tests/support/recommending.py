"""A whole recommender between a fake kube-apiserver and a fake Prometheus, on a clock that the test moves.

async with recommending() as rig:
    rig.deploy("web")
    await rig.settle()                      # as often as it takes until nothing is left to do
    rig.use("web", tflops=3.0, vram=2e9, minutes=40)
    await rig.pass_time(minutes=40)         # feeds once a minute
    assert rig.status("web")["recommendation"] == ...
    await rig.restart()                     # another process, and another term of leadership
"""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from recommender.bank.kernels import NumpyKernels
from recommender.engine import Engine
from recommender.main import Recommender
from recommender.rhythm import Timing
from recommender.settings import RecommenderSettings
from recommender.term import Term
from tests.support import builders
from tests.support.fake_kube import FakeKube
from tests.support.fake_prometheus import FakePrometheus
from tests.support.waiting import until
from vgpu.kube.resources import (
    DEPLOYMENTS,
    HPAS,
    NODES,
    PODS,
    PROFILES,
    REPLICA_SETS,
    SCALED_OBJECTS,
    WORKLOADS,
)
from vgpu.prometheus import PrometheusClient
from vgpu.usage_sources import TENSORFUSION

Json = dict[str, Any]

# The fake kube-apiserver creates everything at 2026-01-01T00:00:00Z.
CREATED = 1_767_225_600.0
# A Thursday, ten in the morning, UTC.
START = CREATED + 10 * 3600
# Nobody else writes, and nothing is to be waited for.
_ALONE: dict[str, Any] = {
    "settle": 0,
    "leader_election": False,
    "checkpoint_store": "none",
    "status_writes_per_second": 10_000,
}
MINUTE = 60.0


class Rig:
    """What a test does to the cluster, to usage and to time, and how it looks at what comes of it."""

    def __init__(self, kube: FakeKube, prometheus: FakePrometheus) -> None:
        self.kube = kube
        self.prometheus = prometheus
        self.now = START
        self.offset: float | None = None
        self.set_by = 0.0
        self.lease = math.inf
        self._process = AsyncExitStack()
        self._settings: dict[str, Any] = {}
        self._recommender: Recommender | None = None

    @property
    def recommender(self) -> Recommender:
        assert self._recommender is not None, "it runs inside of `recommending`"
        return self._recommender

    @property
    def engine(self) -> Engine:
        return self.term.engine

    @property
    def term(self) -> Term:
        assert self.recommender.term is not None, "this replica leads"
        return self.recommender.term

    def remaining(self) -> float:
        """For how long the recommender may write."""
        return self.lease

    def exposed(self) -> str:
        """All of /metrics that is about workloads."""
        return b"".join(self.recommender.figures.exposition()).decode()

    def figure(self, name: str, workload: str = "web", **labels: str) -> float | None:
        """A figure of a workload in /metrics."""
        wanted = {"namespace": "default", "workload": workload, **labels}
        families = text_string_to_metric_families(self.exposed())
        samples = (sample for family in families for sample in family.samples)
        found = [
            sample.value
            for sample in samples
            if sample.name == f"vgpu_workload_{name}" and sample.labels == wanted
        ]
        return found[0] if found else None

    def clock(self) -> float:
        """The recommender's clock: `now`, or one that runs once `run_clock` was called."""
        return self.now if self.offset is None else self.offset + time.monotonic()

    def monotonic(self) -> float:
        """The recommender's other clock, which goes with the first one, but when somebody sets that."""
        return self.clock() - self.set_by

    def set_clock(self, seconds: float) -> None:
        """Somebody sets the clock forward by so many seconds, or back by what is below 0."""
        assert self.offset is None, "only one that the test moves"
        self.now += seconds
        self.set_by += seconds

    def run_clock(self, *, begin: float) -> None:
        """Let the clock run by itself, from a time on."""
        self.offset = begin - time.monotonic()

    async def start(self, **settings: Any) -> None:
        """A recommender process, which begins a term at once; settings are added to those of the last one."""
        self._settings |= settings
        chosen = RecommenderSettings(prometheus_url=self.prometheus.url, **self._settings)
        enter = self._process.enter_async_context
        client = await enter(self.kube.client())
        source = await enter(PrometheusClient(self.prometheus.url))
        self._recommender = Recommender(
            settings=chosen,
            client=client,
            source=source,
            preset=TENSORFUSION,
            timing=Timing(
                interval=chosen.interval, settle=chosen.settle, clock=self.clock, monotonic=self.monotonic
            ),
            kernels=NumpyKernels(),
        )
        await enter(_following(self._recommender))
        await self.begin_term()

    async def begin_term(self) -> None:
        """Another term of the recommender that runs."""
        self.recommender.term = await self.recommender.begin_term(self)
        await self.term.begin()
        self.engine.look_at_everything()

    async def stop(self) -> None:
        """The end of the process: nothing is saved."""
        process, self._process = self._process, AsyncExitStack()
        self._recommender = None
        await process.aclose()

    async def restart(self, *, save: bool = True, **settings: Any) -> None:
        """The end of the process, with a last checkpoint or without, and the next one."""
        if save:
            await self.engine.checkpoint()
        await self.stop()
        await self.start(**settings)
        await self.settle()

    @asynccontextmanager
    async def leading(self) -> AsyncIterator[asyncio.Task[None]]:
        """A term as it is outside of tests, from its beginning to its end, working by itself."""
        self.recommender.term = None
        self.recommender.figures.clear()
        task = asyncio.create_task(self.recommender.lead(self))
        try:
            await until(lambda: self.recommender.term is not None or task.done(), what="a term has begun")
            yield task
        finally:
            task.cancel()
            await asyncio.wait((task,))

    # The cluster.

    def deploy(self, name: str = "web", *, replicas: int = 1, **pod: Any) -> Json:
        """A Deployment with its ReplicaSet and pods; further arguments as of `builders.pod`."""
        deployment = self.kube.put(DEPLOYMENTS, builders.deployment(name))
        replica_set = builders.replica_set(name)
        replica_set["metadata"]["ownerReferences"] = [builders.owner_reference(deployment)]
        self.kube.put(REPLICA_SETS, replica_set)
        for index in range(replicas):
            self.add_pod(name, f"pod{index}", **pod)
        return deployment

    def add_pod(self, deployment: str, suffix: str, **arguments: Any) -> Json:
        """One more pod of a Deployment that is there."""
        replica_set = f"{deployment}-{builders.TEMPLATE_HASH}"
        pod = builders.deployment_pod(deployment, suffix, **arguments)
        stored = self.kube.get(REPLICA_SETS, "default", replica_set)
        pod["metadata"]["ownerReferences"] = [builders.owner_reference(stored)]
        return self.kube.put(PODS, pod)

    def edit_workload(self, name: str, spec: Mapping[str, Any]) -> None:
        """A person changes a workload's spec, key by key."""
        live = self.kube.get(WORKLOADS, "default", name)
        self.kube.put(WORKLOADS, {**live, "spec": {**live["spec"], **spec}})

    def metric(self, name: str, **labels: str) -> float | None:
        """A sample of the recommender's own metrics."""
        return self.recommender.registry.get_sample_value(f"vgpu_recommender_{name}", labels)

    def status(self, name: str = "web") -> Json:
        found: Json = self.kube.get(WORKLOADS, "default", name).get("status", {})
        return found

    def condition(self, name: str = "web", type_: str = "RecommendationProvided") -> Json | None:
        return next((each for each in self.status(name).get("conditions", []) if each["type"] == type_), None)

    def status_writes(self) -> int:
        return sum(1 for request in self.kube.writes() if request.path.endswith("/status"))

    # Usage.

    def use(
        self,
        deployment: str,
        *,
        tflops: float,
        vram: float,
        minutes: int,
        pod: str = "pod0",
        gpu: str = "GPU-0",
    ) -> None:
        """Samples of a pod for the minutes to come, four a minute."""
        labels = {
            "namespace": "default",
            "pod": f"{deployment}-{builders.TEMPLATE_HASH}-{pod}",
            "uuid": gpu,
            "workload": deployment,
        }
        times = [self.now + 15 * index for index in range(1, 4 * minutes + 1)]
        self.prometheus.add("tf_worker_usage_compute_tflops", labels, [(at, tflops) for at in times])
        self.prometheus.add("tf_worker_usage_memory_bytes", labels, [(at, vram) for at in times])

    # Time.

    async def pass_time(self, *, minutes: int) -> None:
        """Let so many intervals of a minute go by."""
        for _ in range(minutes):
            self.now += MINUTE
            await self.engine.feed()
            await self.settle()

    async def skip(self, *, minutes: int) -> None:
        """Let time go by, and read the usage of all of it at once."""
        await self.engine.feed()
        self.now += minutes * MINUTE
        await self.engine.feed()
        await self.settle()

    async def read_the_past(self) -> None:
        """Back-fill until nothing is left of it."""
        while self.metric("backfill_pending_workloads"):
            await self.engine.feed_the_past()

    async def settle(self) -> None:
        """Reconcile until a pass writes nothing any more and its own writes have come back."""
        while True:
            await self.caught_up()
            before = len(self.kube.writes())
            await self.reconcile()
            if len(self.kube.writes()) == before:
                return

    async def reconcile(self) -> None:
        """A pass, and all writes that come of it."""
        await self.engine.reconcile()
        while self.engine.unwritten():
            await self.engine.write_next()

    async def caught_up(self) -> None:
        """Wait until the watches have brought what is stored."""
        cluster = self.recommender.cluster
        watched = ((PODS, cluster.pods), (WORKLOADS, cluster.workloads), (PROFILES, cluster.profiles))
        more = (
            (HPAS, cluster.hpas),
            (NODES, cluster.nodes),
            (SCALED_OBJECTS, cluster.scaled_objects.objects),
        )
        for resource, reflector in (*watched, *more):

            def same(resource: Any = resource, reflector: Any = reflector) -> bool:
                stored = {_version(each["metadata"]) for each in self.kube.objects(resource)}
                known = {(each.metadata.uid, each.metadata.resource_version) for each in reflector.values()}
                return stored == known

            await until(same, what=f"the reflector of {resource.plural} has caught up")


@asynccontextmanager
async def recommending(**settings: Any) -> AsyncIterator[Rig]:
    """A rig with a recommender that runs, alone and without checkpoints unless its settings say so."""
    async with FakeKube() as kube, FakePrometheus() as prometheus:
        rig = Rig(kube, prometheus)
        await rig.start(**{**_ALONE, **settings})
        try:
            yield rig
        finally:
            await rig.stop()


@asynccontextmanager
async def _following(recommender: Recommender) -> AsyncIterator[None]:
    following = asyncio.create_task(_follow(recommender))
    try:
        await recommender.cluster.wait_synced(5)
        yield
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


async def _follow(recommender: Recommender) -> None:
    async with asyncio.TaskGroup() as tasks:
        recommender.cluster.start(tasks)


def _version(metadata: Mapping[str, str]) -> tuple[str, str]:
    return metadata["uid"], metadata["resourceVersion"]
