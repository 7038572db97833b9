"""Recommenders that contend for Leases on virtual time.

rig = ContentionRig()
async def main() -> None:
    first, second = rig.contender("a"), rig.contender("b")
    await rig.pass_time(60)
    assert first.leads
rig.run(main())
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge

from recommender.leadership.election import Election, Held, fence
from recommender.leadership.leases import LeaseStore, LeaseTiming, lease_name
from recommender.leadership.shards import Shard
from recommender.leadership.tenure import Leadership
from tests.support.kube_in_memory import KubeInMemory, Trouble
from tests.support.virtual_time import VirtualLoop, run
from vgpu.kube.client import KubeClient
from vgpu.kube.resources import LEASES
from vgpu.kube.transport import Call

NAMESPACE = "vgpu-autoscaler"
Json = dict[str, Any]


class Metrics:
    """What the recommender's metrics have of leadership."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.leader = Gauge("leader", "-", registry=self.registry)
        self.leader_transitions = Counter("transitions", "-", registry=self.registry)
        self.lease_failures = Counter("failures", "-", registry=self.registry)

    def value(self, name: str) -> float | None:
        return self.registry.get_sample_value(name)


class Contender:
    """One replica. Its term waits until it is cancelled, and then writes its `last_words`."""

    def __init__(self, rig: "ContentionRig", name: str, shard: Shard, timing: LeaseTiming) -> None:
        self.name = name
        self.shard = shard
        self.timing = timing
        self.held: Held | None = None
        self.metrics = Metrics()
        self.trouble: Callable[[Call], Trouble] = lambda _: Trouble()
        self.terms: list[tuple[float, float]] = []
        self.last_words: Callable[[KubeClient], Coroutine[Any, Any, None]] | None = None
        self.client = rig.kube.client(self._meets)
        self._now = rig.now
        store = LeaseStore(
            client=self.client,
            namespace=NAMESPACE,
            shard=shard,
            identity=name,
            timing=timing,
            wall=lambda: 1e9 + rig.skews.get(name, 0.0) + rig.now(),
        )
        election = Election(store=store, clock=rig.now, jitter=rig.random.random)
        self.leadership = Leadership(election=election, metrics=self.metrics, grace=5.0)
        self.task = rig.loop.create_task(self.leadership.run(self.term))

    @property
    def leads(self) -> bool:
        return self.held is not None and self.held.remaining() > 0

    async def term(self, held: Held) -> None:
        begin = self._now()
        self.held = held
        client = self.client.guarded(fence(held))
        try:
            await asyncio.Event().wait()
        finally:
            if self.last_words is not None:
                await self.last_words(client)
            self.terms.append((begin, self._now()))

    def _meets(self, call: Call) -> Trouble:
        return self.trouble(call)

    async def stop(self) -> None:
        """End as a process does that is told to."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    def kill(self) -> None:
        """Never reach kube-apiserver again, as a process that has died."""
        self.trouble = lambda _: Trouble(lost=True)


class ContentionRig:
    """Replicas, a kube-apiserver and the time."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.loop = VirtualLoop()
        self.kube = KubeInMemory()
        self.skews: dict[str, float] = {}
        self.contenders: list[Contender] = []

    def now(self) -> float:
        return self.loop.now

    def contender(
        self, name: str, shard: Shard | None = None, timing: LeaseTiming | None = None
    ) -> Contender:
        made = Contender(self, name, shard or Shard(), timing or LeaseTiming())
        self.contenders.append(made)
        return made

    def lease(self, shard: Shard | None = None) -> Json | None:
        return self.kube.store.find(LEASES, NAMESPACE, lease_name(shard or Shard()))

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def until_leads(self, *contenders: Contender, within: float = 60.0) -> float:
        """The seconds until one of these leads; AssertionError when none does in time."""
        begin = self.now()
        while not any(each.leads for each in contenders):
            assert self.now() - begin < within, f"nobody leads within {within:g} s"
            await asyncio.sleep(0.01)
        return self.now() - begin

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        run(self._to_the_end(main), loop=self.loop)

    async def _to_the_end(self, main: Coroutine[Any, Any, None]) -> None:
        try:
            await main
        finally:
            for each in self.contenders:
                each.task.cancel()
            await asyncio.gather(*(each.task for each in self.contenders), return_exceptions=True)
