"""Gated pods as they are kept: a hundred thousand of them lie in memory, each with what is asked of it."""

from sys import intern
from typing import Final

import msgspec
from msgspec.structs import force_setattr

from recommender.keys import to_epoch
from vgpu.annotations import GROUP
from vgpu.kube.objects import ContainerStatus, ObjectMeta, Pod, PodStatus, controller_of
from vgpu.naming import POD_TEMPLATE_HASH_LABEL

_FINISHED: Final = frozenset({"Succeeded", "Failed"})
_OURS: Final = f"{GROUP}/"
# One crash happens; a container that goes on like this for the second time does not come up by itself.
_CRASHES: Final = 2
_BACK_OFF: Final = "CrashLoopBackOff"
SAFE_TO_EVICT: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict"
"""The cluster autoscaler's annotation; as "false" it keeps us from evicting the pod, too."""
_KEPT: Final = frozenset({POD_TEMPLATE_HASH_LABEL, SAFE_TO_EVICT})
# Labels and annotations of pods that are scheduled, or start anew, only together with others.
_GANGS: Final = frozenset(
    {
        "pod-group.scheduling.sigs.k8s.io",
        "pod-group.scheduling.sigs.k8s.io/name",
        "scheduling.x-k8s.io/pod-group",
        "scheduling.k8s.io/group-name",
        "leaderworkerset.sigs.k8s.io/name",
        "kueue.x-k8s.io/pod-group-name",
        "kueue.x-k8s.io/queue-name",
        "jobset.sigs.k8s.io/jobset-name",
        "training.kubeflow.org/job-name",
        "ray.io/cluster",
        "yunikorn.apache.org/task-group-name",
    }
)
_GANG_PREFIXES: Final = ("volcano.sh/", f"{GROUP}/gang-")


def _kept(texts: dict[str, str] | None) -> dict[str, str] | None:
    if texts is None:
        return None
    return {name: texts[name] for name in texts if name.startswith(_OURS) or name in _KEPT}


def _gang(*texts: dict[str, str] | None) -> str | None:
    """The first label or annotation that makes a pod one of a group, kept once for all pods."""
    for name in (name for each in texts for name in each or ()):
        if name in _GANGS or name.startswith(_GANG_PREFIXES):
            return intern(name)
    return None


class GatedMeta(ObjectMeta, frozen=True, gc=False, rename="camel"):
    """Metadata with our own labels and annotations, the template's hash, and little else of others.

    A name that was generated counts only where no controller gives the pod its name. Of what says that the
    pod is scheduled together with others only the name of the label or annotation is kept, in `gang`.
    """

    gang: str | None = None

    def __post_init__(self) -> None:
        force_setattr(self, "gang", _gang(self.labels, self.annotations))
        force_setattr(self, "labels", _kept(self.labels))
        force_setattr(self, "annotations", _kept(self.annotations))
        super().__post_init__()
        if controller_of(self) is not None:
            force_setattr(self, "generate_name", None)


class PodCondition(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A condition of a pod."""

    type: str = ""
    status: str = ""
    reason: str | None = None
    last_transition_time: str | None = None


_READY: Final = (PodCondition("Ready", "True"),)
"""What is kept of all pods that are ready: one for all of them."""


class GatedStatus(PodStatus, frozen=True, gc=False, rename="camel"):
    """Status with what is asked of it, and without the time when the pod started.

    Of a finished pod the containers are kept, which tell when they ended; of one that is not, those that
    crash again and again. Of conditions those are kept that say that the pod is ready or cannot be scheduled.
    """

    init_container_statuses: list[ContainerStatus] | None = None
    conditions: tuple[PodCondition, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        force_setattr(self, "start_time", None)
        force_setattr(self, "conditions", _telling(self.conditions or ()))
        if self.phase not in _FINISHED:
            containers = (*(self.init_container_statuses or ()), *(self.container_statuses or ()))
            force_setattr(self, "container_statuses", [each for each in containers if _crashes(each)] or None)
        force_setattr(self, "init_container_statuses", None)

    @property
    def ready(self) -> bool:
        """Whether the pod is ready, by its condition Ready."""
        return self.conditions is _READY

    @property
    def crash_looping(self) -> bool:
        """Whether one of its containers crashes again and again.

        It waits in CrashLoopBackOff; or it has been restarted twice or more, ended with an error the last
        time, and is not ready (since a container without a readiness probe is ready while it runs, this is
        the time between two crashes or a slow start). Init containers count too. A pod that has finished
        crashes no more.
        """
        return self.container_statuses is not None and self.phase not in _FINISHED

    @property
    def unschedulable_since(self) -> float | None:
        """Since when the scheduler finds no node for the pod, in seconds since the epoch; None if it does."""
        if self.conditions is None or self.conditions is _READY:
            return None
        since = self.conditions[0].last_transition_time
        return to_epoch(since) if since else None


def _telling(conditions: tuple[PodCondition, ...]) -> tuple[PodCondition, ...] | None:
    for condition in conditions:
        if condition.type == "Ready" and condition.status == "True":
            return _READY
        if condition.type == "PodScheduled" and condition.reason == "Unschedulable":
            return (condition,) if condition.status == "False" else None
    return None


def _crashes(container: ContainerStatus) -> bool:
    waiting = container.state.waiting
    if waiting is not None and waiting.reason == _BACK_OFF:
        return True
    last = container.state.terminated or container.last_state.terminated
    failed = last is not None and last.exit_code != 0
    return failed and not container.ready and container.restart_count >= _CRASHES


class GatedPod(Pod, frozen=True, gc=False, rename="camel"):
    """A pod, reduced to what is asked of one that runs already."""

    metadata: GatedMeta = GatedMeta()
    status: GatedStatus = GatedStatus()
