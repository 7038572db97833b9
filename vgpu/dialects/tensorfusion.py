"""TensorFusion's dialect: four annotations, each a Kubernetes quantity for one GPU."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vgpu.annotations import TFLOPS_LIMIT, TFLOPS_REQUEST, VRAM_LIMIT, VRAM_REQUEST, WORKLOAD_PROFILE
from vgpu.dialects.protocol import SliceEdit, SliceReading
from vgpu.kube.objects import Pod
from vgpu.quantities import QuantityError
from vgpu.slices import Amounts, Resource, VgpuSlice, format_amount, parse_amount

_REQUESTS: Final = {Resource.TFLOPS: TFLOPS_REQUEST, Resource.VRAM: VRAM_REQUEST}
_LIMITS: Final = {Resource.TFLOPS: TFLOPS_LIMIT, Resource.VRAM: VRAM_LIMIT}

# A pod with only a profile gets its slice from there, and then carries it in these annotations.
_MARKS: Final = frozenset({*_REQUESTS.values(), *_LIMITS.values(), WORKLOAD_PROFILE})


@dataclass(frozen=True, slots=True)
class TensorFusionDialect:
    """The slice as annotations of the pod."""

    name: str = "tensorfusion"

    def applies(self, pod: Pod) -> bool:
        """Whether one of the annotations, or a profile to take them from, is on the pod."""
        return not _MARKS.isdisjoint(pod.metadata.annotations or ())

    def read(self, pod: Pod) -> SliceReading:
        """The slice in the annotations."""
        annotations = pod.metadata.annotations or {}
        slice_, problems = VgpuSlice(), list[str]()
        for resource in Resource:
            slice_ = slice_.with_resource(
                resource,
                request=_amount(annotations, _REQUESTS[resource], resource, problems),
                limit=_amount(annotations, _LIMITS[resource], resource, problems),
            )
        return SliceReading(slice=slice_, problems=tuple(problems))

    def write(self, pod: Pod, slice_: VgpuSlice) -> SliceEdit:
        """The annotations to set.

        One that says the same in another notation is left as it is, and so is a malformed one: what its
        author meant is not known, and `read` reports it.
        """
        annotations = pod.metadata.annotations or {}
        carried = self.read(pod).slice
        return SliceEdit(
            annotations={
                **_changes(annotations, _REQUESTS, wanted=slice_.requests, present=carried.requests),
                **_changes(annotations, _LIMITS, wanted=slice_.limits, present=carried.limits),
            }
        )


def _changes(
    annotations: Mapping[str, str], keys: Mapping[Resource, str], *, wanted: Amounts, present: Amounts
) -> dict[str, str]:
    changes: dict[str, str] = {}
    for resource, key in keys.items():
        amount = wanted.get(resource)
        malformed = key in annotations and present.get(resource) is None
        if amount is not None and amount != present.get(resource) and not malformed:
            changes[key] = format_amount(resource, amount)
    return changes


def _amount(annotations: Mapping[str, str], key: str, resource: Resource, problems: list[str]) -> int | None:
    text = annotations.get(key)
    if text is None:
        return None
    try:
        return parse_amount(resource, text)
    except QuantityError as error:
        problems.append(f"annotation {key}: {error}")
        return None


TENSORFUSION: Final = TensorFusionDialect()
