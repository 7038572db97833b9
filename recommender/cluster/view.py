"""The recommender's view of the cluster: reflectors, and what is looked up in them."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from recommender.cluster.cards import Cards, Gpu
from recommender.cluster.changes import Changes
from recommender.cluster.claims import Claims, ScaleTarget, target_of_hpa, target_of_root
from recommender.keys import WorkloadKey, key_of
from vgpu.annotations import GATE_SELECTOR
from vgpu.capacity import Card
from vgpu.gpu_models import GpuModels
from vgpu.kube.client import KubeClient
from vgpu.kube.errors import Forbidden, KubeError, MissingCrds, NotSynced
from vgpu.kube.objects import CustomObject, HorizontalPodAutoscaler, PartialObject, Pod, controller_of
from vgpu.kube.reflector import Reflector
from vgpu.kube.resources import GPUS, HPAS, NODES, PODS, PROFILES, WORKLOADS
from vgpu.slices import Amounts
from vgpu.telemetry import watch_reflectors
from vgpu.usage_sources import CardLookup, shares_cards

# A watch tells every minute or so that nothing has changed, and is begun anew after five.
_LONGEST_SILENCE: Final = 300.0
_BACKOFF: Final = wait_random_exponential(multiplier=0.2, max=30)

logger = structlog.get_logger(__name__)


class Cluster:
    """Local copies of gated pods, workloads, profiles, autoscalers and nodes; changes go into `changes`.

    Where TensorFusion's operator has its GPU objects, and they may be listed, these are followed too. Whether
    that is so is found out once, when it starts.

    Args:
        client: the connection to kube-apiserver.
        changes: collects what has to be looked at again.
        claims: knows whom it concerns when an autoscaler comes or goes.
        models: the GPU models that are known.
        owns: whether a workload is this shard's.
    """

    def __init__(
        self,
        client: KubeClient,
        changes: Changes,
        claims: Claims,
        models: GpuModels,
        *,
        owns: Callable[[WorkloadKey], bool] = lambda _: True,
    ) -> None:
        self._client = client
        self._owns = owns
        self._models = models
        self._changes = changes
        self._claims = claims
        self._cards = Cards(models)
        self._sharing: set[str] = set()
        self._by_target: defaultdict[ScaleTarget, dict[str, HorizontalPodAutoscaler]] = defaultdict(dict)
        self.pods = Reflector(client, PODS, type=Pod, label_selector=GATE_SELECTOR, on_change=self._on_pod)
        self.workloads = Reflector(client, WORKLOADS, type=CustomObject, on_change=self._on_workload)
        self.profiles = Reflector(client, PROFILES, type=CustomObject, on_change=self._on_profile)
        self.hpas = Reflector(client, HPAS, type=HorizontalPodAutoscaler, on_change=self._on_hpa)
        self.nodes = Reflector(client, NODES, type=PartialObject, on_change=self._on_node)
        self.gpus = Reflector(client, GPUS, type=Gpu, on_change=self._on_gpu)
        self._follows_gpus: bool | None = None
        self._asked_for_gpus = asyncio.Event()

    @property
    def _reflectors(self) -> dict[str, Reflector[Any]]:
        return {
            "pods": self.pods,
            "workloads": self.workloads,
            "profiles": self.profiles,
            "hpas": self.hpas,
            "nodes": self.nodes,
            **({"gpus": self.gpus} if self._follows_gpus else {}),
        }

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to list and watch, until the tasks are cancelled."""
        for name, reflector in self._reflectors.items():
            tasks.create_task(reflector.run(), name=f"reflector of {name}")
        tasks.create_task(self._follow_gpus(), name="reflector of gpus")

    async def wait_synced(self, timeout: float) -> None:
        """Wait until everything has been listed once.

        Raises:
            NotSynced: something has not, within so many seconds.
        """
        async with asyncio.TaskGroup() as waiting:
            for reflector in self._reflectors.values():
                waiting.create_task(reflector.wait_synced(timeout))
            waiting.create_task(self._wait_for_gpus(timeout))

    def show(self, registry: CollectorRegistry) -> None:
        """Have a registry tell how current the copies are."""
        watch_reflectors(registry, self._reflectors.values())

    def not_ready(self) -> list[str]:
        """What has not been listed yet, and what may be out of date; a sentence for each."""
        reasons = ((name, _reason(reflector)) for name, reflector in self._reflectors.items())
        return [f"{name} {reason}" for name, reason in reasons if reason is not None]

    def own_workloads(self) -> list[WorkloadKey]:
        """The workloads that there are in this shard."""
        keys = (key_of(live.metadata) for live in self.workloads.values())
        return [key for key in keys if self._owns(key)]

    def autoscalers_of(self, target: ScaleTarget) -> Collection[HorizontalPodAutoscaler]:
        """The HorizontalPodAutoscalers that scale one object."""
        return tuple(self._by_target.get(target, {}).values())

    def cap(self, gpu_model: str | None = None, baseline: Amounts | None = None) -> Amounts:
        """What the largest card gives that a workload may get, or that there is; see `Cards.cap`."""
        return self._cards.cap(gpu_model, baseline)

    def card_of(self, node_name: str) -> Card | None:
        """The card of a node; see `Cards.of`."""
        return self._cards.of(node_name)

    def largest(self, node_name: str = "") -> Amounts:
        """The most that can be used of one card of a node, or of any; see `Cards.largest`."""
        return self._cards.largest(node_name)

    def card_lookup(self) -> CardLookup:
        """What usage that is told in parts of a card needs to know of cards; live, for any thread."""
        return CardLookup(
            peak=self._models.peak,
            card_of=self._cards.of,
            largest=self._cards.largest,
            is_shared=self._sharing.__contains__,
        )

    def _on_pod(self, key: str, old: Pod | None, new: Pod | None) -> None:
        del old, new
        namespace, _, name = key.partition("/")
        self._changes.pod(namespace, name)

    def _on_workload(self, key: str, old: CustomObject | None, new: CustomObject | None) -> None:
        namespace, _, name = key.partition("/")
        workload = WorkloadKey(namespace, name)
        if not self._owns(workload):
            self._on_workload_of_another_shard(workload, new)
        elif new is None:
            self._changes.deleted_workload(workload)
        elif old is not None and _all_but_status(old) == _all_but_status(new):
            # Mostly our own write: to decide again at once would end a rule's last pass before it was seen.
            self._changes.new_status(workload)
        else:
            self._changes.new_version(workload)

    def _on_workload_of_another_shard(self, workload: WorkloadKey, new: CustomObject | None) -> None:
        """Take note of what it would scale, so that two shards do not scale one object."""
        root = controller_of(new.metadata) if new is not None else None
        if root is None:
            self._claims.forget(workload)
        else:
            self._claims.claim(workload, target_of_root(workload.namespace, root))

    def _on_profile(self, key: str, old: CustomObject | None, new: CustomObject | None) -> None:
        del old, new
        namespace, _, name = key.partition("/")
        self._changes.profile(namespace, name)

    def _on_hpa(
        self, key: str, old: HorizontalPodAutoscaler | None, new: HorizontalPodAutoscaler | None
    ) -> None:
        if old is not None:
            siblings = self._by_target[target_of_hpa(old)]
            del siblings[key]
            if not siblings:
                del self._by_target[target_of_hpa(old)]
        if new is not None:
            self._by_target[target_of_hpa(new)][key] = new
        elif old is not None:
            self._changes.deleted_hpa(key_of(old.metadata))
        if old is None or new is None or old.spec != new.spec:  # else its status: an autoscaler at work
            for hpa in (old, new):
                for workload in self._claims.of(target_of_hpa(hpa)) if hpa is not None else ():
                    if self._owns(workload):
                        self._changes.workload(workload)

    def _on_node(self, key: str, old: PartialObject | None, new: PartialObject | None) -> None:
        del old
        self._sharing.discard(key)
        if new is None:
            self._cards.remove_node(key)
            return
        if shares_cards(new.metadata.labels):
            self._sharing.add(key)
        if self._cards.put_node(key, new.metadata.labels):
            self._changes.everything()

    def _on_gpu(self, key: str, old: Gpu | None, new: Gpu | None) -> None:
        del old
        if new is None:
            self._cards.remove_gpu(key)
        elif self._cards.put_gpu(new):
            self._changes.everything()

    async def _follow_gpus(self) -> None:
        asking = AsyncRetrying(
            wait=_BACKOFF, retry=retry_if_exception_type(KubeError), before_sleep=_log_unanswered
        )
        self._follows_gpus = await asking(self._may_follow_gpus)
        self._asked_for_gpus.set()
        if self._follows_gpus:
            await self.gpus.run()

    async def _may_follow_gpus(self) -> bool:
        try:
            await self._client.require_crds(GPUS)
            await self._client.list(GPUS, type=PartialObject)
        except MissingCrds:
            return False
        except Forbidden as error:
            logger.warning("cards are taken from the labels of nodes alone", error=str(error))
            return False
        return True

    async def _wait_for_gpus(self, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._asked_for_gpus.wait()
        except TimeoutError as error:
            raise NotSynced(GPUS.full_name, timeout, None) from error
        if self._follows_gpus:
            await self.gpus.wait_synced(timeout)


def _log_unanswered(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    logger.warning("not known yet whether there are GPU objects", error=str(error))


def _all_but_status(workload: CustomObject) -> tuple[object, ...]:
    metadata = workload.metadata
    owners, deleted = metadata.owner_references, metadata.deletion_timestamp
    return workload.spec, metadata.uid, metadata.labels, metadata.annotations, owners, deleted


def _reason(reflector: Reflector[Any]) -> str | None:
    if not reflector.synced:
        return "have not been listed yet"
    silence = reflector.silence()
    if silence > _LONGEST_SILENCE:
        return f"may be out of date: nothing was heard from kube-apiserver for {silence:.0f} s"
    return None
