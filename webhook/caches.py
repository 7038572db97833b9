"""What the webhook knows of the cluster: workloads, profiles, Jobs and nodes, parsed when they change.

Caches that have lost kube-apiserver go on answering, and the webhook stays ready: with what was known last a
pod gets the slice that it got a minute ago, and without the webhook it gets none of what it was promised. How
old the caches are is a metric.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import structlog

from vgpu.api import ConfigurationError
from vgpu.capacity import Card, cap_of, card_of
from vgpu.companion import profile_spec, without_resources
from vgpu.gpu_models import GpuModels
from vgpu.kube.client import KubeClient
from vgpu.kube.objects import CustomObject, PartialObject, controller_of
from vgpu.kube.ownership import is_ours
from vgpu.kube.reflector import Reflector
from vgpu.kube.resources import JOBS, NODES, PROFILES, WORKLOADS
from vgpu.naming import Owner
from vgpu.operator import Mode
from vgpu.slices import Amounts
from webhook.configuration import Configuration, Configurations, KnownSpec
from webhook.errors import UnknownJobError
from webhook.lookups import KnownWorkload
from webhook.published import read_status

_log = structlog.get_logger(__name__)


class Caches:
    """The cluster as the reflectors see it; answers `webhook.lookups.Lookups`.

    Args:
        client: the connection to kube-apiserver.
        models: what cards of each model give.
        mode: beside TensorFusion's operator, workloads are its own, and their slice is no baseline.
    """

    def __init__(self, client: KubeClient, models: GpuModels, *, mode: Mode = "standalone") -> None:
        self._companion = mode == "companion"
        self._gpu_models = models
        self._known_workloads: dict[str, KnownWorkload] = {}
        self._known_profiles: dict[str, KnownSpec] = {}
        self._cards: set[Card] = set()
        self._configurations = Configurations()
        self._workloads = Reflector(client, WORKLOADS, type=CustomObject, on_change=self._workload_changed)
        self._profiles = Reflector(client, PROFILES, type=CustomObject, on_change=self._profile_changed)
        self._jobs = Reflector(client, JOBS, type=PartialObject)
        self._nodes = Reflector(client, NODES, type=PartialObject, on_change=self._node_changed)

    @property
    def reflectors(self) -> Sequence[Reflector[Any]]:
        """What follows each resource type."""
        return self._workloads, self._profiles, self._jobs, self._nodes

    def runners(self) -> list[Coroutine[Any, Any, None]]:
        """The coroutines that keep the caches current, for a TaskGroup."""
        return [reflector.run() for reflector in self.reflectors]

    async def wait_synced(self, timeout: float) -> None:
        """Wait until everything was listed once.

        Raises:
            NotSynced: some type was not, within `timeout` seconds for each.
        """
        for reflector in self.reflectors:
            await reflector.wait_synced(timeout)

    def sizes(self) -> Mapping[str, Callable[[], float]]:
        """The number of objects in each cache, by resource type."""
        return {
            WORKLOADS.plural: lambda: len(self._known_workloads),
            PROFILES.plural: lambda: len(self._known_profiles),
            JOBS.plural: lambda: len(self._jobs.values()),
            NODES.plural: lambda: len(self._nodes.values()),
        }

    def not_synced(self) -> list[str]:
        """The resource types that have not been listed yet, but for nodes: without them nothing is capped."""
        needed = (self._workloads, self._profiles, self._jobs)
        return [reflector.resource.plural for reflector in needed if not reflector.synced]

    def workload(self, namespace: str, name: str) -> KnownWorkload | None:
        """The workload of that name, unless it is being deleted."""
        return self._known_workloads.get(f"{namespace}/{name}")

    def profile(self, namespace: str, name: str) -> KnownSpec | None:
        """The profile of that name."""
        return self._known_profiles.get(f"{namespace}/{name}")

    def job_owner(self, namespace: str, name: str) -> Owner | None:
        """The controller of a Job, or None where it has none.

        Raises:
            UnknownJobError: the Job is not in the cache.
        """
        job = self._jobs.get(namespace, name)
        if job is None:
            raise UnknownJobError(name)
        return controller_of(job.metadata)

    def configured(self, annotations: Mapping[str, str], base: KnownSpec | None) -> Configuration:
        """What a profile or workload configures with a pod's annotations over it, or these alone."""
        return self._configurations.of(annotations, base)

    def card(self, gpu_model: str | None, requests: Amounts) -> Amounts:
        """What the largest card gives that a pod may get; nothing where no nodes are known.

        A model whose nodes are gone still counts: what is scaled away comes back for the pods that need it.
        """
        return cap_of(self._cards, gpu_model, models=self._gpu_models, baseline=requests)

    def _workload_changed(self, key: str, old: CustomObject | None, new: CustomObject | None) -> None:
        if new is None or new.metadata.deletion_timestamp is not None:
            self._known_workloads.pop(key, None)
            return
        known = self._known_workloads.get(key)
        unchanged = known is not None and old is not None and old.spec == new.spec
        # The status changes far more often than the spec.
        own = known.own if known and unchanged else _parsed(self._own_spec(new), WORKLOADS.kind, key)
        by_hand = not self._companion and not is_ours(new.metadata)
        self._known_workloads[key] = KnownWorkload(own, read_status(new.status), by_hand=by_hand)

    def _profile_changed(self, key: str, old: CustomObject | None, new: CustomObject | None) -> None:
        del old
        if new is None:
            self._known_profiles.pop(key, None)
            return
        try:
            spec = profile_spec(new) if self._companion else new.spec
        except ConfigurationError as error:
            _log.warning("object is not valid", kind=PROFILES.kind, object=key, problem=str(error))
            self._known_profiles[key] = KnownSpec(new.spec, Configuration(problem=str(error)))
            return
        self._known_profiles[key] = _parsed(spec, PROFILES.kind, key)

    def _own_spec(self, workload: CustomObject) -> Mapping[str, Any]:
        return without_resources(workload.spec) if self._companion else workload.spec

    def _node_changed(self, key: str, old: PartialObject | None, new: PartialObject | None) -> None:
        del key, old
        card = card_of(new.metadata.labels, self._gpu_models) if new is not None else None
        if card is not None:
            self._cards.add(card)


def _parsed(spec: Mapping[str, Any], kind: str, key: str) -> KnownSpec:
    try:
        known = KnownSpec.of(spec)
    except Exception as error:  # noqa: BLE001 - one object must not stop the cache of all the others
        _log.exception("object cannot be parsed", kind=kind, object=key)
        problem = f"cannot be read ({type(error).__name__}); see the webhook's log"
        return KnownSpec(spec=spec, configuration=Configuration(problem=problem))
    if known.configuration.problem is not None:
        _log.warning("object is not valid", kind=kind, object=key, problem=known.configuration.problem)
    return known
