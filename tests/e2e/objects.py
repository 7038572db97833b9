"""What the end-to-end tests deploy."""

import json
from collections.abc import Mapping
from typing import Any

from devcluster.load import LOAD_ANNOTATION
from vgpu.kube.objects import Pod

SLICE = {
    "tensor-fusion.ai/tflops-request": "10",
    "tensor-fusion.ai/tflops-limit": "40",
    "tensor-fusion.ai/vram-request": "16Gi",
    "tensor-fusion.ai/vram-limit": "16Gi",
}
AUTO_RESOURCES = {
    "tensor-fusion.ai/auto-resources": "true",
    "tensor-fusion.ai/auto-scale-target-resource": "all",
}
GATE = {"tensor-fusion.ai/enabled": "true"}

QUICK = {"autoSetResources": {"confidenceInterval": "10s", "minSamples": 5}}
"""What a profile says so that a recommendation comes within seconds."""

BUSY = {
    "client": "steady_diurnal",
    "startHour": 18,
    "gpuSecondsPerRequest": 0.002,
    "latencySeconds": 1,
    "engineTflops": 30,
    "cacheBytesPerRequest": 2**20,
}
"""A load of 20 to 30 TFLOPS and less than 4 GiB: few samples are enough to tell it from a slice of 16 GiB."""


STEADY = {**BUSY, "gpuSecondsPerRequest": 1e6, "cacheBytesPerRequest": 0}
"""A load that never changes: 30 TFLOPS and 3 GiB."""

PROFILED = {**SLICE, **AUTO_RESOURCES, "tensor-fusion.ai/workload-profile": "quick"}
"""Annotations of a Deployment that is right-sized by the profile `quick`."""


def deployment(
    name: str,
    *,
    annotations: Mapping[str, str],
    labels: Mapping[str, str] = GATE,
    replicas: int | None = 1,
    load: Mapping[str, object] = BUSY,
) -> dict[str, Any]:
    """A Deployment of one container whose pod template carries the given labels and annotations."""
    template = {
        "metadata": {
            "labels": {"app": name, **labels},
            "annotations": {LOAD_ANNOTATION: json.dumps(load), **annotations},
        },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "engine", "image": "example/inference-engine"}],
        },
    }
    spec: dict[str, Any] = {"selector": {"matchLabels": {"app": name}}, "template": template}
    if replicas is not None:
        spec["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def profile(name: str, config: Mapping[str, object]) -> dict[str, Any]:
    """A WorkloadProfile with the given autoScalingConfig."""
    return {
        "apiVersion": "tensor-fusion.ai/v1",
        "kind": "WorkloadProfile",
        "metadata": {"name": name},
        "spec": {"autoScalingConfig": config},
    }


def annotations_of(pod: Pod) -> dict[str, str]:
    """The annotations of a pod but for the one that shapes the simulated load."""
    return {key: value for key, value in (pod.metadata.annotations or {}).items() if key != LOAD_ANNOTATION}
