"""Gated pods, each with its workload and root controller."""

import math
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

from recommender.cluster.gated import GatedPod
from recommender.cluster.owners import OwnerLookup
from recommender.keys import WorkloadKey, to_epoch
from vgpu.kube.objects import ObjectMeta, controller_of
from vgpu.naming import Owner, workload_name

_FINISHED = frozenset({"Succeeded", "Failed"})
# So many pods are remembered that are gone.
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class TrackedPod:
    """A pod that belongs to a workload.

    Attributes:
        root: the controller that the workload is named after; the pod itself when it has no controller.
        created: when the pod was created, in seconds since the epoch.
        reused: whether another pod of its name was known before it.
    """

    pod: GatedPod
    workload: WorkloadKey
    root: Owner
    created: float
    reused: bool = False

    @property
    def uid(self) -> str:
        """What tells this pod from another of the same name."""
        return self.pod.metadata.uid

    @property
    def controller(self) -> Owner | None:
        """What made the pod, like a ReplicaSet."""
        return controller_of(self.pod.metadata)

    @property
    def live(self) -> bool:
        """Whether the pod is neither finished nor being deleted."""
        return self.pod.metadata.deletion_timestamp is None and self.pod.status.phase not in _FINISHED

    @property
    def ended(self) -> float:
        """When the last container ended, in seconds since the epoch.

        Infinite while the pod is not finished; minus infinity where it is, and nobody tells since when.
        """
        status = self.pod.status
        if status.phase not in _FINISHED:
            return math.inf
        states = [each.state.terminated for each in status.container_statuses or ()]
        times = [state.finished_at for state in states if state is not None and state.finished_at]
        return max(map(to_epoch, times), default=-math.inf)

    @property
    def running(self) -> bool:
        """Whether the pod's containers run and are to go on."""
        return self.live and self.pod.status.phase == "Running"


class PodIndex:
    """The gated pods of this shard by name and by workload. Pods that nobody can name are not in it.

    Those of other shards it knows too, for who asks for the pods of such a workload: several workloads may
    have pods of one root controller.

    Args:
        owners: finds root controllers.
        owns: whether a workload is this shard's.
    """

    def __init__(self, owners: OwnerLookup, *, owns: Callable[[WorkloadKey], bool] = lambda _: True) -> None:
        self._owners = owners
        self._owns = owns
        self._pods: dict[tuple[str, str], TrackedPod] = {}
        self._others: dict[tuple[str, str], TrackedPod] = {}
        # Most workloads have one pod, for which a dictionary would take three times as much as the pod.
        self._by_workload: dict[WorkloadKey, TrackedPod | dict[tuple[str, str], TrackedPod]] = {}
        self._gone: dict[tuple[str, str], str] = {}

    def expecting(self, pods: Iterable[GatedPod]) -> AbstractAsyncContextManager[None]:
        """Look up at once who owns these pods, if they are many; to be held open while they are tracked."""
        controllers = ((pod.metadata.namespace, controller_of(pod.metadata)) for pod in pods)
        return self._owners.expecting((namespace, owner) for namespace, owner in controllers if owner)

    async def track(self, pod: GatedPod) -> TrackedPod | None:
        """Take in a new or changed pod; None when it is one to leave alone, or of another shard.

        Raises:
            OwnerGone: the pod's ReplicaSet or Job is not there any more.
            KubeError: kube-apiserver does not tell who owns it.
        """
        name = (pod.metadata.namespace, pod.metadata.name)
        tracked = await self._resolve(pod)
        known = self.forget(*name)
        former = self._gone.pop(name, None)
        if tracked is None:
            return None
        if (known is not None and known.reused) or former not in {None, tracked.uid}:
            tracked = replace(tracked, reused=True)
        own = self._owns(tracked.workload)
        (self._pods if own else self._others)[name] = tracked
        self._join(name, tracked)
        return tracked if own else None

    def forget(self, namespace: str, name: str) -> TrackedPod | None:
        """Drop a pod; returns what was known of it."""
        known = self._pods if (namespace, name) in self._pods else self._others
        tracked = known.pop((namespace, name), None)
        if tracked is not None:
            self._leave((namespace, name), tracked.workload)
            self._remember(namespace, name, tracked.uid)
        return tracked

    def _join(self, name: tuple[str, str], tracked: TrackedPod) -> None:
        siblings = self._by_workload.get(tracked.workload)
        if siblings is None:
            self._by_workload[tracked.workload] = tracked
        elif isinstance(siblings, dict):
            siblings[name] = tracked
        else:
            self._by_workload[tracked.workload] = {_name_of(siblings): siblings, name: tracked}

    def _leave(self, name: tuple[str, str], workload: WorkloadKey) -> None:
        siblings = self._by_workload[workload]
        if isinstance(siblings, dict):
            del siblings[name]
        if not isinstance(siblings, dict) or not siblings:
            del self._by_workload[workload]

    def _remember(self, namespace: str, name: str, uid: str) -> None:
        """A StatefulSet soon has another pod of the name."""
        self._gone.pop((namespace, name), None)
        self._gone[namespace, name] = uid
        if len(self._gone) > _REMEMBERED:
            del self._gone[next(iter(self._gone))]

    def find(self, namespace: str, name: str) -> TrackedPod | None:
        """The pod of that name."""
        return self._pods.get((namespace, name))

    def of(self, workload: WorkloadKey) -> tuple[TrackedPod, ...]:
        """The pods of a workload of any shard, in no order."""
        siblings = self._by_workload.get(workload)
        if siblings is None:
            return ()
        return tuple(siblings.values()) if isinstance(siblings, dict) else (siblings,)

    async def deciding(self, workload: WorkloadKey) -> TrackedPod | None:
        """The live pod whose template counts for a workload; None when none is live.

        It is the newest, and while a Deployment has pods of several templates the newest of the latest one:
        an old ReplicaSet makes new pods too, when one of its own is deleted in the middle of a rollout.

        Raises:
            KubeError: kube-apiserver does not tell which template is the latest.
        """
        youngest = newest(self.of(workload))
        if youngest is None:
            return None
        siblings = [pod for pod in self.of(workload) if pod.live and pod.root == youngest.root]
        controllers = {pod.controller for pod in siblings if pod.controller is not None}
        if len(controllers) < 2:
            return youngest
        revisions = {
            controller: await self._owners.revision_of(workload.namespace, controller)
            for controller in controllers
        }
        latest = max(revisions.values())
        return newest(pod for pod in siblings if pod.controller and revisions[pod.controller] == latest)

    def values(self) -> Collection[TrackedPod]:
        """All pods of this shard: a live view, not to be held across an await."""
        return self._pods.values()

    def workloads(self) -> frozenset[WorkloadKey]:
        """The workloads of this shard that have a pod."""
        return frozenset(pod.workload for pod in self._pods.values())

    async def _resolve(self, pod: GatedPod) -> TrackedPod | None:
        metadata = pod.metadata
        if pod.spec.resource_claims:
            return None
        controller = controller_of(metadata)
        parent = await self._owners.parent_of(metadata.namespace, controller) if controller else None
        name = workload_name(
            # A generated name is not known at admission: by it the webhook would not find the workload.
            pod_name=None if metadata.generate_name else metadata.name,
            labels=metadata.labels or {},
            annotations=metadata.annotations or {},
            controller=controller,
            job_owner=lambda _: parent,
        )
        if name is None:
            return None
        return TrackedPod(
            pod=pod,
            workload=WorkloadKey(metadata.namespace, name),
            root=parent or controller or _itself(metadata),
            created=to_epoch(metadata.creation_timestamp or "1970-01-01T00:00:00Z"),
        )


def newest(pods: Iterable[TrackedPod]) -> TrackedPod | None:
    """The live pod that was created last."""
    return max(
        (pod for pod in pods if pod.live),
        key=lambda pod: (pod.created, pod.pod.metadata.name),
        default=None,
    )


def _name_of(tracked: TrackedPod) -> tuple[str, str]:
    metadata = tracked.pod.metadata
    return metadata.namespace, metadata.name


def _itself(metadata: ObjectMeta) -> Owner:
    return Owner(api_version="v1", kind="Pod", name=metadata.name, uid=metadata.uid)
