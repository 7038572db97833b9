"""Gated pods as they are kept: a hundred thousand of them lie in memory, each with what is asked of it."""

from typing import Final

from msgspec.structs import force_setattr

from vgpu.annotations import GROUP
from vgpu.kube.objects import ObjectMeta, Pod, PodStatus, controller_of
from vgpu.naming import POD_TEMPLATE_HASH_LABEL

_FINISHED: Final = frozenset({"Succeeded", "Failed"})
_OURS: Final = f"{GROUP}/"


def _kept(texts: dict[str, str] | None) -> dict[str, str] | None:
    if texts is None:
        return None
    return {name: texts[name] for name in texts if name.startswith(_OURS) or name == POD_TEMPLATE_HASH_LABEL}


class GatedMeta(ObjectMeta, frozen=True, gc=False, rename="camel"):
    """Metadata with our own labels and annotations, the template's hash, and nothing else of others.

    A name that was generated counts only where no controller gives the pod its name.
    """

    def __post_init__(self) -> None:
        force_setattr(self, "labels", _kept(self.labels))
        force_setattr(self, "annotations", _kept(self.annotations))
        super().__post_init__()
        if controller_of(self) is not None:
            force_setattr(self, "generate_name", None)


class GatedStatus(PodStatus, frozen=True, gc=False, rename="camel"):
    """Status with containers only of a pod that is finished, and without the time when it started."""

    def __post_init__(self) -> None:
        super().__post_init__()
        force_setattr(self, "start_time", None)
        if self.phase not in _FINISHED:
            force_setattr(self, "container_statuses", None)


class GatedPod(Pod, frozen=True, gc=False, rename="camel"):
    """A pod, reduced to what is asked of one that runs already."""

    metadata: GatedMeta = GatedMeta()
    status: GatedStatus = GatedStatus()
