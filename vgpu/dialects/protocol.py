"""What every dialect does."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from vgpu.kube.objects import Pod
from vgpu.kube.patches import PatchOperation
from vgpu.slices import VgpuSlice


@dataclass(frozen=True, slots=True)
class SliceReading:
    """A slice as it was read.

    Attributes:
        slice: what could be read; a field that is missing or malformed is None.
        problems: one short sentence for each malformed field, with its place and what it holds.
    """

    slice: VgpuSlice
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SliceEdit:
    """What to change on a pod so that it carries a slice; only what differs.

    Attributes:
        annotations: annotations to set.
        operations: JSON Patch operations (RFC 6902) beside them, none of them a `test`.
    """

    annotations: Mapping[str, str] = field(default_factory=dict)
    operations: tuple[PatchOperation, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything to change: if not, the pod carries the slice."""
        return bool(self.annotations or self.operations)


class Dialect(Protocol):
    """How a slice stands on a pod."""

    @property
    def name(self) -> str:
        """The dialect's name in settings, logs and metrics."""
        ...

    def applies(self, pod: Pod) -> bool:
        """Whether the pod speaks this dialect."""
        ...

    def read(self, pod: Pod) -> SliceReading:
        """The slice that the pod carries now."""
        ...

    def write(self, pod: Pod, slice_: VgpuSlice) -> SliceEdit:
        """What to change so that the pod carries the slice; a field that is None stays as it is."""
        ...
