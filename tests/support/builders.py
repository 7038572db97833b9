"""Builders of Kubernetes objects as JSON, and of the structs that the code reads them as.

    pod(name="web-0", vram_request="2Gi")                     # JSON, for the fake kube-apiserver and reviews
    pod_struct(name="web-0", owner=owner_reference(replica_set()))

Every builder makes a whole, valid object; arguments say only what a test is about.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from recommender.cluster.gated import GatedPod
from vgpu import annotations as names
from vgpu.kube.objects import CustomObject, HorizontalPodAutoscaler
from vgpu.kube.resources import (
    CRON_JOBS,
    DEPLOYMENTS,
    GPUS,
    HPAS,
    JOBS,
    NODES,
    PODS,
    PROFILES,
    REPLICA_SETS,
    SCALED_OBJECTS,
    WORKLOADS,
    ResourceType,
)

T = TypeVar("T")
Json = dict[str, Any]
Texts = Mapping[str, str]

STARTED = "2026-01-01T00:00:00Z"
TEMPLATE_HASH = "6d4cf56db6"


def struct(obj: Mapping[str, Any], type_: type[T]) -> T:
    """An object as the code would decode it from the API."""
    return msgspec.json.decode(msgspec.json.encode(obj), type=type_)


def metadata(
    resource: ResourceType,
    name: str | None,
    *,
    namespace: str = "default",
    labels: Texts | None = None,
    annotations: Texts | None = None,
    owner: Json | None = None,
) -> Json:
    """Object metadata; maps that are not given are absent, as from the API."""
    result: Json = {"creationTimestamp": STARTED}
    if name is not None:
        result |= {"name": name, "uid": f"uid-{resource.kind.lower()}-{name}"}
    if resource.namespaced:
        result["namespace"] = namespace
    optional = {
        "labels": labels and dict(labels),
        "annotations": annotations and dict(annotations),
        "ownerReferences": owner and [owner],
    }
    return result | {key: value for key, value in optional.items() if value}


def owner_reference(obj: Mapping[str, Any], *, controller: bool = True) -> Json:
    """A reference to an object, as it stands on what the object owns."""
    meta = obj["metadata"]
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        **({"controller": True, "blockOwnerDeletion": True} if controller else {}),
    }


def slice_annotations(
    *,
    tflops_request: str | None = "10",
    tflops_limit: str | None = "20",
    vram_request: str | None = "8Gi",
    vram_limit: str | None = "16Gi",
) -> dict[str, str]:
    """The four annotations of a slice; None leaves one out."""
    given = {
        names.TFLOPS_REQUEST: tflops_request,
        names.TFLOPS_LIMIT: tflops_limit,
        names.VRAM_REQUEST: vram_request,
        names.VRAM_LIMIT: vram_limit,
    }
    return {key: value for key, value in given.items() if value is not None}


def slice_json(
    *,
    tflops_request: str | None = "10",
    tflops_limit: str | None = "20",
    vram_request: str | None = "8Gi",
    vram_limit: str | None = "16Gi",
) -> Json:
    """A slice as in a spec's `resources` or a status' `recommendation`; None leaves a field out."""
    requests = {"tflops": tflops_request, "vram": vram_request}
    limits = {"tflops": tflops_limit, "vram": vram_limit}
    return {
        "requests": {key: value for key, value in requests.items() if value is not None},
        "limits": {key: value for key, value in limits.items() if value is not None},
    }


def pod(
    name: str | None = "web-0",
    *,
    namespace: str = "default",
    generate_name: str | None = None,
    gated: bool = True,
    labels: Texts | None = None,
    annotations: Texts | None = None,
    owner: Json | None = None,
    node: str = "node-1",
    phase: str = "Running",
    finished_at: str | None = None,
    tflops_request: str | None = "10",
    tflops_limit: str | None = "20",
    vram_request: str | None = "8Gi",
    vram_limit: str | None = "16Gi",
) -> Json:
    """A running pod with a slice; `gated` puts the label on it that sends it to the webhook."""
    gate = {names.ENABLED_LABEL: "true"} if gated else {}
    own_slice = slice_annotations(
        tflops_request=tflops_request,
        tflops_limit=tflops_limit,
        vram_request=vram_request,
        vram_limit=vram_limit,
    )
    meta = metadata(
        PODS,
        name,
        namespace=namespace,
        labels=gate | dict(labels or {}),
        annotations=own_slice | dict(annotations or {}),
        owner=owner,
    )
    if generate_name is not None:
        meta["generateName"] = generate_name
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {
            "nodeName": node,
            "containers": [{"name": "main", "image": "inference:1", "resources": {}}],
        },
        "status": {
            "phase": phase,
            "startTime": STARTED,
            "podIP": "10.0.0.7",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": STARTED}],
            "containerStatuses": [{"name": "main", "state": _container_state(finished_at)}],
        },
    }


def _container_state(finished_at: str | None) -> Json:
    if finished_at is None:
        return {"running": {"startedAt": STARTED}}
    return {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": finished_at}}


def pod_struct(name: str | None = "web-0", **arguments: Any) -> GatedPod:
    """`pod`, as the recommender keeps it."""
    return struct(pod(name, **arguments), GatedPod)


def replica_set(deployment_name: str = "web", *, namespace: str = "default") -> Json:
    """The ReplicaSet of a Deployment."""
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": metadata(
            REPLICA_SETS,
            f"{deployment_name}-{TEMPLATE_HASH}",
            namespace=namespace,
            labels={"app": deployment_name, "pod-template-hash": TEMPLATE_HASH},
            owner=owner_reference(deployment(deployment_name, namespace=namespace)),
        ),
        "spec": {"replicas": 1},
    }


def deployment_pod(deployment_name: str = "web", suffix: str = "abcde", **arguments: Any) -> Json:
    """A pod as a Deployment's ReplicaSet makes it, with owner and template hash; arguments as of `pod`."""
    owner = replica_set(deployment_name, namespace=arguments.get("namespace", "default"))
    labels = {
        "app": deployment_name,
        "pod-template-hash": TEMPLATE_HASH,
        **dict(arguments.pop("labels", None) or {}),
    }
    name = f"{owner['metadata']['name']}-{suffix}"
    return pod(name, labels=labels, owner=owner_reference(owner), **arguments)


def deployment(
    name: str = "web",
    *,
    namespace: str = "default",
    replicas: int = 1,
    gated: bool = True,
    annotations: Texts | None = None,
) -> Json:
    """A Deployment; `annotations` go on its pod template, beside the slice."""
    gate = {names.ENABLED_LABEL: "true"} if gated else {}
    template: Json = {
        "metadata": {
            "labels": {"app": name, **gate},
            "annotations": slice_annotations() | dict(annotations or {}),
        },
        "spec": {"containers": [{"name": "main", "image": "inference:1"}]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(DEPLOYMENTS, name, namespace=namespace, labels={"app": name}),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": template,
        },
    }


def job(name: str = "train", *, namespace: str = "default", owner: Json | None = None) -> Json:
    """A Job; with `owner`, one of a CronJob's."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(JOBS, name, namespace=namespace, owner=owner),
        "spec": {},
    }


def cron_job(name: str = "nightly", *, namespace: str = "default") -> Json:
    """A CronJob."""
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata(CRON_JOBS, name, namespace=namespace),
        "spec": {"schedule": "0 3 * * *"},
    }


def workload(
    name: str = "web",
    *,
    namespace: str = "default",
    resources: Json | None = None,
    auto_scaling_config: Json | None = None,
    spec: Json | None = None,
    recommendation: Json | None = None,
    status: Json | None = None,
    owner: Json | None = None,
) -> Json:
    """A TensorFusionWorkload; `spec` and `status` hold what has no argument of its own."""
    whole: Json = {"resources": resources or slice_json(), **(spec or {})}
    if auto_scaling_config is not None:
        whole["autoScalingConfig"] = auto_scaling_config
    result: Json = {
        "apiVersion": WORKLOADS.api_version,
        "kind": WORKLOADS.kind,
        "metadata": metadata(WORKLOADS, name, namespace=namespace, owner=owner),
        "spec": whole,
    }
    known = dict(status or {}) | ({"recommendation": recommendation} if recommendation else {})
    return result | ({"status": known} if known else {})


def workload_struct(name: str = "web", **arguments: Any) -> CustomObject:
    """`workload`, as the code reads it."""
    return struct(workload(name, **arguments), CustomObject)


def profile(name: str = "profile", *, namespace: str = "default", spec: Json | None = None) -> Json:
    """A WorkloadProfile."""
    return {
        "apiVersion": PROFILES.api_version,
        "kind": PROFILES.kind,
        "metadata": metadata(PROFILES, name, namespace=namespace),
        "spec": spec or {},
    }


def profile_struct(name: str = "profile", **arguments: Any) -> CustomObject:
    """`profile`, as the code reads it."""
    return struct(profile(name, **arguments), CustomObject)


def cron_rule(
    name: str = "night",
    *,
    start: str = "0 22 * * *",
    end: str = "0 6 * * *",
    time_zone: str = "UTC",
    desired: Json | None = None,
    enable: bool = True,
) -> Json:
    """One of `autoScalingConfig.cronScalingRules`."""
    return {
        "enable": enable,
        "name": name,
        "start": start,
        "end": end,
        "timeZone": time_zone,
        "desiredResources": desired or slice_json(tflops_request="5", tflops_limit="10"),
    }


def horizontal_pod_autoscaler(
    name: str = "web", *, namespace: str = "default", target: str = "web", spec: Json | None = None
) -> Json:
    """An HPA of a Deployment as kube-apiserver defaults it: on CPU, at 80 %."""
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(HPAS, name, namespace=namespace),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "minReplicas": 1,
            "maxReplicas": 10,
            "metrics": [{"type": "Resource", "resource": cpu}],
            **(spec or {}),
        },
    }


def hpa_struct(name: str = "web", **arguments: Any) -> HorizontalPodAutoscaler:
    """`horizontal_pod_autoscaler`, as the code reads it."""
    return struct(horizontal_pod_autoscaler(name, **arguments), HorizontalPodAutoscaler)


def scaled_object(name: str = "web", *, target: Json | None = None) -> Json:
    """A ScaledObject of KEDA; by its defaults it scales a Deployment."""
    return {
        "apiVersion": SCALED_OBJECTS.api_version,
        "kind": SCALED_OBJECTS.kind,
        "metadata": metadata(SCALED_OBJECTS, name),
        "spec": {
            "scaleTargetRef": target or {"name": "web"},
            "triggers": [{"type": "kafka", "metadata": {}}],
        },
    }


def node(name: str = "node-1", *, product: str = "NVIDIA-L4", memory_mib: int = 23034) -> Json:
    """A GPU node with the labels of GPU feature discovery."""
    labels = {"nvidia.com/gpu.product": product, "nvidia.com/gpu.memory": str(memory_mib)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": metadata(NODES, name, labels=labels),
        "status": {"capacity": {"cpu": "16", "nvidia.com/gpu": "1"}},
    }


def gpu(
    name: str = "gpu-0",
    *,
    node: str = "node-1",
    model: str = "NVIDIA A100-SXM4-80GB",
    capacity: Mapping[str, Any] | None = MappingProxyType({"tflops": "312", "vram": "80Gi"}),
) -> Json:
    """One of TensorFusion's GPU objects, as its operator writes it."""
    return {
        "apiVersion": GPUS.api_version,
        "kind": GPUS.kind,
        "metadata": metadata(GPUS, name),
        "status": {
            "phase": "Running",
            "vendor": "NVIDIA",
            "uuid": name,
            "gpuModel": model,
            "capacity": None if capacity is None else dict(capacity),
            "available": None if capacity is None else dict(capacity),
            "nodeSelector": {"kubernetes.io/hostname": node} if node else {},
            "message": "",
        },
    }
