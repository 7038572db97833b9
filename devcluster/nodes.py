"""Simulated GPU nodes, labelled as NVIDIA's GPU feature discovery labels real ones."""

from collections.abc import Mapping
from typing import Any

GPUS_PER_NODE = 8


def gpu_nodes(count: int, *, product: str, memory_mib: int) -> Mapping[str, Any]:
    """A List of `count` nodes with eight cards each of `product` with `memory_mib` MiB."""
    items = [_node(f"gpu-node-{number}", product, memory_mib) for number in range(count)]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _node(name: str, product: str, memory_mib: int) -> dict[str, Any]:
    capacity = {"cpu": "128", "memory": "1Ti", "pods": "1000", "nvidia.com/gpu": str(GPUS_PER_NODE)}
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.count": str(GPUS_PER_NODE),
        "nvidia.com/gpu.product": product,
        "nvidia.com/gpu.memory": str(memory_mib),
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {"capacity": capacity, "allocatable": capacity},
    }
