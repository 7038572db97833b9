"""How workloads are configured beside TensorFusion's operator, whose spec of them holds what was applied.

The baseline is what the webhook has recorded on the pods, and nothing else: what the operator writes into a
workload's spec is the slice that it found on a pod, so a recommendation already.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from recommender.cluster.pods import TrackedPod
from recommender.keys import WorkloadKey, key_of
from vgpu.annotations import ORIGINAL_RESOURCES, WORKLOAD_PROFILE
from vgpu.api import (
    CONFIGURING_ANNOTATIONS,
    ConfigurationError,
    WorkloadSpec,
    annotation_problems,
    effective_spec,
    parse_spec,
)
from vgpu.companion import profile_spec, without_resources
from vgpu.dialects import baseline
from vgpu.kube.documents import Document
from vgpu.kube.objects import CustomObject
from vgpu.slices import VgpuSlice

_MOST_SPECS: Final = 1024
_NO_RECORD: Final = (
    f"annotation {ORIGINAL_RESOURCES} is missing: the pod was made without the webhook, "
    "and its slice may be a recommendation already; nothing is recommended before a pod has it"
)
_NO_EVICTIONS: Final = (
    "spec.autoScalingConfig.autoSetResources.updateMode: Recreate has no effect in companion mode: "
    "the operator makes pods anew by itself"
)


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What pods and profile ask for; the same ask for the same object.

    Attributes:
        spec: the spec that is asked for; None where it cannot be used.
        usable: what of it can be used where there was no valid one yet.
        problems: what is wrong, a sentence for each.
    """

    spec: Mapping[str, Any] | None
    usable: Mapping[str, Any]
    problems: tuple[str, ...]


class CompanionSpecs:
    """Reads what workloads are configured to do from their pods and profiles.

    Args:
        newest_pod: the live pod of a workload that was made last.
        find_profile: the WorkloadProfile of a namespace and name.
    """

    def __init__(
        self,
        *,
        newest_pod: Callable[[WorkloadKey], TrackedPod | None],
        find_profile: Callable[[str, str], CustomObject | None],
    ) -> None:
        self._newest_pod = newest_pod
        self._find_profile = find_profile

    def of(self, live: CustomObject) -> Asked | None:
        """What is asked for; None where there is no pod to tell."""
        key = key_of(live.metadata)
        pod = self._newest_pod(key)
        if pod is None:
            return None
        annotations = pod.pod.metadata.annotations or {}
        configuring = tuple(
            (each, annotations[each]) for each in CONFIGURING_ANNOTATIONS if each in annotations
        )
        slice_, problem = _recorded(pod)
        base, profile_problems = self._base(live, key, annotations.get(WORKLOAD_PROFILE))
        return _asked(slice_, configuring, base and Document(base), (*problem, *profile_problems))

    def _base(
        self, live: CustomObject, key: WorkloadKey, profile_name: str | None
    ) -> tuple[Mapping[str, Any] | None, tuple[str, ...]]:
        """What annotations win over, without a slice; None where it cannot be used."""
        if not profile_name:
            return without_resources(live.spec), ()
        profile = self._find_profile(key.namespace, profile_name)
        if profile is None:
            missing = f"WorkloadProfile {key.namespace}/{profile_name} does not exist"
            return None, (f"annotation {WORKLOAD_PROFILE}: {missing}",)
        try:
            return without_resources(profile_spec(profile)), ()
        except ConfigurationError as error:
            return None, tuple(str(problem) for problem in error.problems)


def _recorded(pod: TrackedPod) -> tuple[VgpuSlice, tuple[str, ...]]:
    if not (pod.pod.metadata.annotations or {}).get(ORIGINAL_RESOURCES):
        return VgpuSlice(), (_NO_RECORD,)
    reading = baseline(pod.pod)
    return (VgpuSlice(), reading.problems) if reading.problems else (reading.slice, ())


@lru_cache(maxsize=_MOST_SPECS)
def _asked(
    slice_: VgpuSlice,
    configuring: tuple[tuple[str, str], ...],
    base: Document | None,
    problems: tuple[str, ...],
) -> Asked:
    annotations = dict(configuring)
    usable = effective_spec(annotations, None, slice_)
    notes = (*problems, *annotation_problems(annotations))
    if base is None:
        return Asked(None, usable, notes)
    spec = effective_spec(annotations, base, slice_)
    try:
        return Asked(spec, usable, (*notes, *_without_effect(parse_spec(spec))))
    except ConfigurationError as error:
        return Asked(None, usable, (*notes, *(str(problem) for problem in error.problems)))


def _without_effect(spec: WorkloadSpec) -> Iterator[str]:
    if spec.auto_scaling_config.auto_set_resources.update_mode == "Recreate":
        yield _NO_EVICTIONS
