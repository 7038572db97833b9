"""What a pod's template asked for, told from what this webhook wrote on it before.

The webhook meets its own writing in three ways: it is called a second time for the same pod (reinvocation),
a backup brings a pod back, or somebody has copied a live pod into a template. The record of the original
slice is believed for each resource of which the pod still carries what was written beside that record; the
digest in applied-recommendation tells. So a second pass changes nothing, and a restored or copied pod does
not take a recommendation for its baseline.

A resource that is not as it was written is somebody's wish, another webhook's or that of a person who edited
the copy: clinging to the older record would take the edit back, on a pod that is opted out too. What the pod
carries of it is what it asks for, and is recorded anew; of the other resource the record holds. Without a
digest nothing was written, and all that the pod carries is its own.
"""

from dataclasses import dataclass, replace

from vgpu.annotations import APPLIED_RECOMMENDATION, ORIGINAL_RESOURCES
from vgpu.dialects import Dialect, baseline
from vgpu.kube.objects import Pod
from vgpu.slices import Resource, VgpuSlice, still_written


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a pod asks for.

    Attributes:
        slice: the slice as its template and its profile ask for it.
        carried: the slice that stands on the pod, filled up from its profile.
        recorded: whether the pod says so already in original-resources.
        malformed: resources of which the pod carries a value that cannot be read.
        problems: a sentence for each value that cannot be read.
    """

    slice: VgpuSlice
    carried: VgpuSlice
    recorded: bool = False
    malformed: frozenset[Resource] = frozenset()
    problems: tuple[str, ...] = ()

    def anew(self, resources: frozenset[Resource]) -> "Baseline":
        """The baseline when of these resources what the pod carries counts, whatever was recorded."""
        asked = _with(self.slice, self.carried, resources)
        return replace(self, slice=asked, recorded=self.recorded and self.slice == asked)


def read_baseline(pod: Pod, dialect: Dialect, *, profile: VgpuSlice) -> Baseline:
    """What a pod asks for.

    Args:
        pod: the pod as it stands in the review.
        dialect: how it writes its slice.
        profile: the slice in its profile, which fills in what the pod leaves out.
    """
    annotations = pod.metadata.annotations or {}
    carried = dialect.read(pod)
    malformed = _malformed(carried.slice) if carried.problems else frozenset()
    # An empty record is none, here as in the recommender: it says nothing, and is written anew.
    record = baseline(pod) if annotations.get(ORIGINAL_RESOURCES) else None
    problems = carried.problems
    if record is not None and record.problems:
        problems = tuple(dict.fromkeys((*problems, *record.problems)))
        record = None
    asked = filled = _filled(carried.slice, profile, frozenset(Resource) - malformed)
    if record is not None and APPLIED_RECOMMENDATION in annotations:
        believed = still_written(annotations[APPLIED_RECOMMENDATION], carried.slice)
        asked = _with(filled, record.slice, believed)
    return Baseline(
        slice=asked,
        carried=filled,
        recorded=record is not None and record.slice == asked,
        malformed=malformed,
        problems=problems,
    )


def _with(slice_: VgpuSlice, other: VgpuSlice, resources: frozenset[Resource]) -> VgpuSlice:
    """The slice, with the other one's values of some resources."""
    for resource in resources:
        slice_ = slice_.with_resource(
            resource, request=other.requests.get(resource), limit=other.limits.get(resource)
        )
    return slice_


def _malformed(slice_: VgpuSlice) -> frozenset[Resource]:
    """The resources that lack a value, where some value is known to be malformed.

    Which one it is only the dialect knows; to leave a resource alone that is merely incomplete does no harm.
    """
    return frozenset(
        resource
        for resource in Resource
        if slice_.requests.get(resource) is None or slice_.limits.get(resource) is None
    )


def _filled(carried: VgpuSlice, profile: VgpuSlice, resources: frozenset[Resource]) -> VgpuSlice:
    """The slice with the profile's values where it has none; a value of the pod is never contradicted."""
    for resource in resources:
        own = request, limit = carried.requests.get(resource), carried.limits.get(resource)
        if request is None:
            request = _bounded(profile.requests.get(resource), own[1], lower=True)
        if limit is None:
            limit = _bounded(profile.limits.get(resource), request, lower=False)
        carried = carried.with_resource(resource, request=request, limit=limit)
    return carried


def _bounded(value: int | None, bound: int | None, *, lower: bool) -> int | None:
    if value is None or bound is None:
        return value
    return min(value, bound) if lower else max(value, bound)
