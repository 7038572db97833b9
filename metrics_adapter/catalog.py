"""What the adapter serves: the API group, its versions, and the metrics with the objects they describe."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Metric(StrEnum):
    """The metrics of a pod; each is one value for all GPUs of the pod."""

    GPU_UTILIZATION = "gpu_utilization"
    """Percent of the TFLOPS request the pod runs with: the mean over its GPUs."""
    GPU_MEMORY_UTILIZATION = "gpu_memory_utilization"
    """Percent of the VRAM request the pod runs with: the mean over its GPUs."""
    GPU_TFLOPS = "gpu_tflops"
    """TFLOPS: the sum over its GPUs."""
    GPU_MEMORY_BYTES = "gpu_memory_bytes"
    """Bytes of VRAM: the sum over its GPUs."""


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """One metric of one kind of object, as discovery shows it.

    `resource` is the plural name as requests write it, with the group after a dot where there is one.
    """

    resource: str
    name: str
    namespaced: bool = True


@dataclass(frozen=True, slots=True)
class MetricGroup:
    """An API group; the first of its versions is the preferred one."""

    name: str
    versions: tuple[str, ...]
    value_kind: str
    metrics: tuple[MetricInfo, ...]

    def has(self, resource: str, metric: str) -> bool:
        """Whether such objects have such a metric."""
        return any(info.resource == resource and info.name == metric for info in self.metrics)

    def resources(self) -> Sequence[tuple[str, bool]]:
        """Each kind of object with metrics, once: plural name, and whether it is namespaced."""
        return tuple(dict.fromkeys((info.resource, info.namespaced) for info in self.metrics))


POD_RESOURCE = "pods"
CUSTOM_METRICS = MetricGroup(
    name="custom.metrics.k8s.io",
    versions=("v1beta2", "v1beta1"),
    value_kind="MetricValueList",
    metrics=tuple(MetricInfo(POD_RESOURCE, metric.value) for metric in Metric),
)
