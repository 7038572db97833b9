"""Where usage is found in a metric source: presets of queries, and which pod and card a series is about."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class PodGpu:
    """One GPU of one pod; `gpu` is empty where a series does not name the card."""

    namespace: str
    pod: str
    gpu: str


@dataclass(frozen=True, slots=True)
class Preset:
    """How one exporter names usage.

    Attributes:
        name: What the setting `preset` calls it.
        tflops: PromQL selector of the TFLOPS that a pod uses of a card.
        vram: PromQL selector of the bytes of VRAM that a pod uses of a card.
        namespace_labels: Labels that may hold the pod's namespace, the one that counts first.
        pod_labels: Labels that may hold the pod's name, the one that counts first.
        gpu_labels: Labels that may hold the card's UUID, the one that counts first.
    """

    name: str
    tflops: str
    vram: str
    namespace_labels: tuple[str, ...]
    pod_labels: tuple[str, ...]
    gpu_labels: tuple[str, ...]

    def with_selectors(self, *, tflops: str | None, vram: str | None) -> "Preset":
        """The same labels with other selectors; None keeps the preset's."""
        return replace(self, tflops=tflops or self.tflops, vram=vram or self.vram)

    def identify(self, labels: Mapping[str, str]) -> PodGpu | None:
        """The pod and card that a series is about; None where it names no pod."""
        namespace = _first(labels, self.namespace_labels)
        pod = _first(labels, self.pod_labels)
        if not namespace or not pod:
            return None
        return PodGpu(namespace, pod, _first(labels, self.gpu_labels))


def _first(labels: Mapping[str, str], names: tuple[str, ...]) -> str:
    for name in names:
        value = labels.get(name)
        if value:
            return value
    return ""


# Without honorLabels, Prometheus renames the exporter's own label to exported_X and puts the scraped
# target's (the exporter's pod) in its place: so the exported one counts first. The exporter's own name for
# the pod is `worker`; a `pod` beside it is likely what the scrape added.
TENSORFUSION: Final = Preset(
    name="tensorfusion",
    tflops="tf_worker_usage_compute_tflops",
    vram="tf_worker_usage_memory_bytes",
    namespace_labels=("exported_namespace", "namespace"),
    pod_labels=("exported_worker", "exported_pod", "worker", "pod"),
    gpu_labels=("uuid",),
)

PRESETS: Final[Mapping[str, Preset]] = {TENSORFUSION.name: TENSORFUSION}
