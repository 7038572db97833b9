"""What the tests of the metrics adapter share: pods with a slice, tables, and certificates."""

import ssl
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from metrics_adapter.samples import Drop, GpuSample
from metrics_adapter.table import Table, build_table
from vgpu.annotations import ENABLED_LABEL, TFLOPS_REQUEST, VRAM_REQUEST
from vgpu.authority import Authority
from vgpu.kube.objects import Pod
from vgpu.slices import Resource
from vgpu.usage_sources import PodGpu

NOW = 1_760_000_000.0
"""2025-10-09T08:53:20Z."""


def pod_object(
    name: str,
    *,
    namespace: str = "default",
    tflops: str | None = "10",
    vram: str | None = "10Gi",
    labels: Mapping[str, str] | None = None,
    phase: str = "Running",
    created: float = NOW - 3600,
    started: float | None = None,
    deleting: bool = False,
    node: str = "node",
) -> dict[str, Any]:
    """A gated pod as kube-apiserver has it; `tflops` and `vram` are its requests for one GPU."""
    requests = {TFLOPS_REQUEST: tflops, VRAM_REQUEST: vram}
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": namespace,
        "labels": {ENABLED_LABEL: "true", **(labels or {})},
        "annotations": {key: value for key, value in requests.items() if value is not None},
        "creationTimestamp": stamp(created),
    }
    if deleting:
        metadata["deletionTimestamp"] = stamp(NOW)
    status = {"phase": phase, "startTime": stamp(created if started is None else started)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"nodeName": node, "containers": [{"name": "main"}]},
        "status": status,
    }


def gated_pod(name: str, **options: Any) -> Pod:
    """The same as the adapter reads it."""
    return msgspec.convert(pod_object(name, **options), Pod)


def stamp(time: float) -> str:
    """A time as Kubernetes writes it."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def gpu(pod: str, *, namespace: str = "default", uuid: str = "GPU-0") -> PodGpu:
    return PodGpu(namespace, pod, uuid)


def table_of(
    *pods: Pod,
    tflops: Mapping[PodGpu, GpuSample] | None = None,
    vram: Mapping[PodGpu, GpuSample] | None = None,
    now: float = NOW,
) -> Table:
    """A table made of these pods and samples."""
    known = {(pod.metadata.namespace, pod.metadata.name): pod for pod in pods}
    drops: Counter[Drop] = Counter()
    return build_table(
        {Resource.TFLOPS: tflops or {}, Resource.VRAM: vram or {}},
        find_pod=lambda namespace, name: known.get((namespace, name)),
        now=now,
        drops=drops,
    )


def table_with(tflops: Mapping[str, float], *, age: float = 5.0, now: float = NOW, **options: Any) -> Table:
    """A table of pods in namespace default that request 10 TFLOPS each and use so many."""
    pods = [gated_pod(name, **options) for name in tflops]
    samples = {gpu(name): GpuSample(now - age, value) for name, value in tflops.items()}
    return table_of(*pods, tflops=samples, now=now)


def front_proxy_ca(name: str = "front-proxy-ca") -> Authority:
    """A certificate authority of a test."""
    return Authority(name, now=datetime.now(UTC))


def proxy_client(
    authority: Authority, directory: Path, *, name: str = "front-proxy-client", server_ca: bytes
) -> ssl.SSLContext:
    """The TLS context of a client with a certificate of that common name, which trusts `server_ca`."""
    files = authority.client(name).write(directory, name)
    context = plain_client(server_ca)
    context.load_cert_chain(files.certificate, files.key)
    return context


def plain_client(server_ca: bytes) -> ssl.SSLContext:
    """The TLS context of a client without a certificate."""
    return ssl.create_default_context(cadata=server_ca.decode())


def authentication_config_map(
    authority: Authority, *, allowed: str = '["front-proxy-client"]'
) -> dict[str, Any]:
    """The ConfigMap that kube-apiserver publishes, as the cluster of a test has it."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {
            "client-ca-file": "",
            "requestheader-client-ca-file": authority.certificate.decode(),
            "requestheader-allowed-names": allowed,
            "requestheader-username-headers": '["X-Remote-User"]',
            "requestheader-group-headers": '["X-Remote-Group"]',
            "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
        },
    }
