"""What the tests of usage share: tracked pods, series, and what is known of cards."""

from collections.abc import Mapping
from typing import Any

from recommender.cluster.pods import TrackedPod
from recommender.keys import WorkloadKey
from tests.support.builders import pod_struct
from vgpu.capacity import Card
from vgpu.naming import Owner
from vgpu.prometheus import Series
from vgpu.slices import Amounts
from vgpu.usage_sources import CardLookup

NOW = 6_000_000.0
"""A whole number of minutes."""

PEAKS = {"NVIDIA A100-SXM4-80GB": 312.0, "NVIDIA L4": 121.0, "NVIDIA A30": 165.0}


def tracked(
    name: str = "web-0", *, workload: str = "web", created: float = 0.0, **arguments: Any
) -> TrackedPod:
    """A pod of a workload; further arguments as of `builders.pod`."""
    pod = pod_struct(name, **arguments)
    key = WorkloadKey(pod.metadata.namespace, workload)
    return TrackedPod(pod, key, Owner("apps/v1", "Deployment", workload, f"uid-{workload}"), created)


class Pods:
    """Pods by namespace and name."""

    def __init__(self, *pods: TrackedPod) -> None:
        self._pods = {(pod.pod.metadata.namespace, pod.pod.metadata.name): pod for pod in pods}

    def find(self, namespace: str, name: str) -> TrackedPod | None:
        return self._pods.get((namespace, name))


def cards(
    nodes: Mapping[str, Card] | None = None,
    *,
    largest: Amounts | None = None,
    shared: frozenset[str] = frozenset(),
) -> CardLookup:
    """Cards by node name; what is known of the largest there is; the nodes that share their cards."""
    known = nodes or {}

    def largest_of(node: str) -> Amounts:
        card = known.get(node)
        return Amounts(tflops=card.tflops, vram=card.vram) if card else largest or Amounts()

    return CardLookup(
        peak=PEAKS.get, card_of=known.get, largest=largest_of, is_shared=lambda node: node in shared
    )


def series(
    *values: float, begin: float = NOW, step: float = 60.0, pod: str = "web-0", **labels: str
) -> Series:
    """A series of one GPU of a pod, with a value at the end of each step from `begin` on."""
    times = [begin + step * index for index in range(len(values))]
    return Series({"namespace": "default", "pod": pod, "uuid": "GPU-0", **labels}, times, list(values))
