"""What a pod's template asked for, told from what this webhook wrote on it before.

The webhook meets its own writing in three ways: it is called a second time for the same pod (reinvocation),
a backup brings a pod back, or somebody has copied a live pod into a template. A record of the original slice
is believed as long as the slice beside it is the one that was written for it, which the digest in
applied-recommendation tells. So a second pass changes nothing, and a restored or copied pod does not take a
recommendation for its baseline.

A slice that is not what was written is somebody's wish: the template was edited after it was copied, and
clinging to the older record would take the edit back, on a pod that is opted out too. So is a slice without a
digest, since nothing was written there. Then what the pod carries is what it asks for, and is recorded anew.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from vgpu.annotations import APPLIED_RECOMMENDATION, ORIGINAL_RESOURCES
from vgpu.dialects import Dialect, baseline
from vgpu.kube.objects import Pod
from vgpu.slices import Resource, VgpuSlice, applied_digest


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

    def anew(self) -> "Baseline":
        """The baseline when what the pod carries counts, whatever was recorded."""
        return replace(self, slice=self.carried, recorded=self.recorded and self.slice == self.carried)


def read_baseline(pod: Pod, dialect: Dialect, *, profile: VgpuSlice, rules: Iterable[str]) -> Baseline:
    """What a pod asks for.

    Args:
        pod: the pod as it stands in the review.
        dialect: how it writes its slice.
        profile: the slice in its profile, which fills in what the pod leaves out.
        rules: names of the cron rules that a slice on the pod may come from.
    """
    carried = dialect.read(pod)
    malformed = _malformed(carried.slice) if carried.problems else frozenset()
    record = baseline(pod) if ORIGINAL_RESOURCES in (pod.metadata.annotations or {}) else None
    problems = carried.problems
    if record is not None and record.problems:
        problems = tuple(dict.fromkeys((*problems, *record.problems)))
        record = None
    filled = _filled(carried.slice, profile, frozenset(Resource) - malformed)
    believed = record is not None and _is_our_writing(pod, carried.slice, rules)
    asked = record.slice if record is not None and believed else filled
    return Baseline(
        slice=asked,
        carried=filled,
        recorded=record is not None and record.slice == asked,
        malformed=malformed,
        problems=problems,
    )


def _is_our_writing(pod: Pod, carried: VgpuSlice, rules: Iterable[str]) -> bool:
    digest = (pod.metadata.annotations or {}).get(APPLIED_RECOMMENDATION)
    return digest is not None and any(digest == applied_digest(carried, rule) for rule in (None, *rules))


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
