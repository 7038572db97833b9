"""Many workloads under one cron rule in many namespaces, and an eye on the status of each of them.

Most are TensorFusionWorkloads made by hand, which cost a write each. One in each namespace is a Deployment
with a pod, which is configured by a profile.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

from tenacity import wait_fixed

from devcluster.story import NotYet, until
from devcluster.view import condition_of
from recommender.cluster.failures import in_parallel
from recommender.keys import WorkloadKey, key_of
from tests.e2e.objects import SLICE, deployment, profile
from tests.e2e.trial import Scene
from vgpu.kube.client import KubeClient
from vgpu.kube.objects import CustomObject
from vgpu.kube.reflector import Reflector
from vgpu.kube.resources import DEPLOYMENTS, NAMESPACES, PROFILES, WORKLOADS, ResourceType

DEPLOYED: Final = "deployed"
"""The name of the Deployment in each namespace."""

UNWRITTEN: Final = "vgpu_recommender_unwritten_workloads"

OWN: Final = {"requests": {"tflops": "10", "vram": "16Gi"}, "limits": {"tflops": "40", "vram": "16Gi"}}
DESIRED: Final = {"requests": {"tflops": "44", "vram": "5Gi"}, "limits": {"tflops": "99", "vram": "10Gi"}}

Told: TypeAlias = tuple[str | None, object, str | None]
"""What a status tells: the active rule, what is recommended, and why."""
NEW: Final[Told] = (None, None, "InsufficientSamples")
ON: Final[Told] = ("flip", DESIRED, "RuleActive")
OFF: Final[Told] = (None, OWN, "RuleInactive")


def told_by(workload: CustomObject) -> Told:
    """What the status of a workload tells."""
    rule = workload.status.get("activeCronScalingRule") or {}
    reason = condition_of(workload).get("reason")
    return rule.get("name"), workload.status.get("recommendation"), reason


def rule(start: str, end: str) -> dict[str, Any]:
    """The rule of all, by two cron expressions."""
    return {"enable": True, "name": "flip", "start": start, "end": end, "desiredResources": DESIRED}


class Crowd:
    """Workloads by namespace.

    Args:
        client: an administrator's.
        sizes: how many workloads there are to be in each namespace, at least one.
    """

    def __init__(self, client: KubeClient, sizes: Mapping[str, int]) -> None:
        self._client = client
        self.sizes = sizes
        self.told: dict[WorkloadKey, Told] = {}
        """What each status tells now, as a watch has brought it."""
        self.turned: dict[WorkloadKey, float] = {}
        """When that last changed, in seconds since the epoch."""
        self.turns: list[tuple[WorkloadKey, Told]] = []
        """All that a watch has seen them tell, one after another."""

    @property
    def size(self) -> int:
        """How many workloads there are."""
        return sum(self.sizes.values())

    def count(self, wanted: Told) -> int:
        """How many statuses tell this."""
        return sum(told == wanted for told in self.told.values())

    async def create(self, cron_rule: Mapping[str, Any]) -> None:
        """Make all of them, as fast as kube-apiserver takes them."""
        await in_parallel(self._create_namespace, self.sizes)
        config = {"autoSetResources": {"minSamples": 100000}, "cronScalingRules": [cron_rule]}
        spec = {"resources": OWN, "autoScalingConfig": config}

        async def by_hand(key: WorkloadKey) -> None:
            body = {"apiVersion": WORKLOADS.api_version, "kind": WORKLOADS.kind, "spec": spec}
            await self._put(WORKLOADS, key.namespace, {**body, "metadata": {"name": key.name}})

        async def deployed(namespace: str) -> None:
            annotations = {**SLICE, "tensor-fusion.ai/workload-profile": "flipping"}
            await self._put(PROFILES, namespace, profile("flipping", config))
            await self._put(DEPLOYMENTS, namespace, deployment(DEPLOYED, annotations=annotations))

        await in_parallel(deployed, self.sizes)
        await in_parallel(by_hand, self._by_hand())

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Follow what the statuses tell, beside the recommender."""
        reflector = Reflector(
            self._client,
            WORKLOADS,
            type=CustomObject,
            on_change=self._on_change,
            backoff=wait_fixed(0.5),
        )
        watching = asyncio.create_task(reflector.run())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait((watching,))

    async def all_have_a_status(self, *, timeout: float) -> None:
        """Wait until the recommender has told something about each."""

        async def look() -> bool | NotYet:
            return len(self.told) == self.size or NotYet(f"{len(self.told)} of {self.size}")

        await until("all to have a status", look, timeout=timeout)

    async def all_tell(self, wanted: Told, *, by: float) -> float:
        """Wait until all statuses tell this; when the last began to. Times in seconds since the epoch."""

        async def look() -> float | NotYet:
            right = self.count(wanted)
            return max(self.turned.values()) if right == self.size else NotYet(f"{right} of {self.size}")

        return await until(f"all to tell {wanted}", look, timeout=by - time.time())

    def _by_hand(self) -> list[WorkloadKey]:
        sizes = self.sizes.items()
        return [
            WorkloadKey(namespace, f"hand-{number}")
            for namespace, size in sizes
            for number in range(size - 1)
        ]

    async def _create_namespace(self, name: str) -> None:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await self._client.create(NAMESPACES, body)

    async def _put(self, resource: ResourceType, namespace: str, body: Mapping[str, Any]) -> None:
        await self._client.create(resource, body, namespace=namespace)

    def _on_change(self, _: str, old: CustomObject | None, new: CustomObject | None) -> None:
        if new is None or new.metadata.namespace not in self.sizes:
            return
        key, told = key_of(new.metadata), told_by(new)
        if not new.status or told == self.told.get(key):
            return
        self.told[key], self.turned[key] = told, time.time()
        self.turns.append((key, told))


async def at_rest(scene: Scene, *, timeout: float) -> None:
    """Wait until a scene's recommender has nothing to write."""
    await scene.metrics_when(
        lambda shown: shown.value(UNWRITTEN) == 0, step="everything to be written", timeout=timeout
    )


async def passed(at: float) -> None:
    """Wait for a time that is at most two minutes away, in seconds since the epoch."""

    async def look() -> bool | NotYet:
        return time.time() >= at or NotYet(f"{at - time.time():.0f} s to go")

    await until("the minute to come", look, timeout=125)
