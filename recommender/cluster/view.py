"""The recommender's view of the cluster: reflectors, and what is looked up in them."""

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from prometheus_client import CollectorRegistry

from recommender.cluster.cards import Cards, Gpu
from recommender.cluster.changes import Changes
from recommender.cluster.claims import Claims, ScaleTarget, target_of_root
from recommender.cluster.gated import GatedPod
from recommender.cluster.optional import OptionalReflector
from recommender.cluster.scalers import ScaledObject, Scalers, target_of_hpa, target_of_scaled_object
from recommender.keys import Workload, WorkloadKey, key_of
from vgpu.annotations import GATE_SELECTOR
from vgpu.capacity import Card
from vgpu.gpu_models import GpuModels
from vgpu.kube.client import KubeClient
from vgpu.kube.objects import CustomObject, HorizontalPodAutoscaler, PartialObject, controller_of
from vgpu.kube.reflector import Reflector
from vgpu.kube.resources import GPUS, HPAS, NODES, PODS, PROFILES, SCALED_OBJECTS, WORKLOADS
from vgpu.slices import Amounts
from vgpu.telemetry import watch_reflectors, watch_requests
from vgpu.usage_sources import CardLookup, shares_cards

# A watch tells every minute or so that nothing has changed, and is begun anew after five.
_LONGEST_SILENCE: Final = 300.0


class Cluster:
    """Local copies of gated pods, workloads, profiles, autoscalers and nodes; changes go into `changes`.

    Where TensorFusion's operator has its GPU objects, or KEDA its ScaledObjects, and they may be listed, they
    are followed too. Whether that is so is found out once, when it starts.

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
        self._hpas_by_target: Scalers[HorizontalPodAutoscaler] = Scalers()
        self._scaled_by_target: Scalers[ScaledObject] = Scalers()
        self.pods = Reflector(
            client, PODS, type=GatedPod, label_selector=GATE_SELECTOR, on_change=self._on_pod
        )
        self.workloads = Reflector(client, WORKLOADS, type=Workload, on_change=self._on_workload)
        self.profiles = Reflector(client, PROFILES, type=CustomObject, on_change=self._on_profile)
        self.hpas = Reflector(client, HPAS, type=HorizontalPodAutoscaler, on_change=self._on_hpa)
        self.nodes = Reflector(client, NODES, type=PartialObject, on_change=self._on_node)
        self.gpus = OptionalReflector(
            client,
            GPUS,
            type=Gpu,
            on_change=self._on_gpu,
            without="cards are taken from the labels of nodes alone",
        )
        self.scaled_objects = OptionalReflector(
            client,
            SCALED_OBJECTS,
            type=ScaledObject,
            on_change=self._on_scaled_object,
            without="KEDA is noticed by its HorizontalPodAutoscalers alone",
        )

    @property
    def _reflectors(self) -> dict[str, Reflector[Any]]:
        return {
            "pods": self.pods,
            "workloads": self.workloads,
            "profiles": self.profiles,
            "hpas": self.hpas,
            "nodes": self.nodes,
            **{name: optional.objects for name, optional in self._optional.items() if optional.followed},
        }

    @property
    def _optional(self) -> dict[str, OptionalReflector[Any]]:
        return {"gpus": self.gpus, "scaledobjects": self.scaled_objects}

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to list and watch, until the tasks are cancelled."""
        for name, reflector in self._reflectors.items():
            tasks.create_task(reflector.run(), name=f"reflector of {name}")
        for name, optional in self._optional.items():
            tasks.create_task(optional.run(), name=f"reflector of {name}")

    async def wait_synced(self, timeout: float) -> None:
        """Wait until everything has been listed once.

        Raises:
            NotSynced: something has not, within so many seconds.
        """
        async with asyncio.TaskGroup() as waiting:
            for reflector in self._reflectors.values():
                waiting.create_task(reflector.wait_synced(timeout))
            for optional in self._optional.values():
                waiting.create_task(optional.wait_synced(timeout))

    def show(self, registry: CollectorRegistry) -> None:
        """Have a registry tell how current the copies are, and what kube-apiserver refuses."""
        watch_reflectors(registry, self._reflectors.values())
        watch_requests(registry, self._client.contact)

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
        return self._hpas_by_target.of(target)

    def scaled_objects_of(self, target: ScaleTarget) -> Collection[ScaledObject]:
        """KEDA's ScaledObjects that scale one object."""
        return self._scaled_by_target.of(target)

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

    def _on_pod(self, key: str, old: GatedPod | None, new: GatedPod | None) -> None:
        del old, new
        namespace, _, name = key.partition("/")
        self._changes.pod(namespace, name)

    def _on_workload(self, key: str, old: Workload | None, new: Workload | None) -> None:
        namespace, _, name = key.partition("/")
        workload = key_of(new.metadata) if new is not None else WorkloadKey(namespace, name)
        if not self._owns(workload):
            self._on_workload_of_another_shard(workload, new)
        elif new is None:
            self._changes.deleted_workload(workload, old.status if old is not None else {})
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
            self._hpas_by_target.remove(key, target_of_hpa(old))
        if new is not None:
            self._hpas_by_target.put(key, target_of_hpa(new), new)
        elif old is not None:
            self._changes.deleted_hpa(key_of(old.metadata))
        if old is None or new is None or old.spec != new.spec:  # else its status: an autoscaler at work
            self._rescaled(target_of_hpa(hpa) for hpa in (old, new) if hpa is not None)

    def _on_scaled_object(self, key: str, old: ScaledObject | None, new: ScaledObject | None) -> None:
        if old is not None:
            self._scaled_by_target.remove(key, target_of_scaled_object(old))
        if new is not None:
            self._scaled_by_target.put(key, target_of_scaled_object(new), new)
        if old is None or new is None or old.spec != new.spec:
            self._rescaled(target_of_scaled_object(scaled) for scaled in (old, new) if scaled is not None)

    def _rescaled(self, targets: Iterable[ScaleTarget]) -> None:
        """Others scale these objects now, or no longer: the workloads that would are to be looked at."""
        for target in targets:
            for workload in self._claims.of(target):
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
