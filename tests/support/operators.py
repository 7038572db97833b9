"""What of TensorFusion's operator stands in a cluster, as its public chart installs it."""

from typing import Any

from vgpu.annotations import AUTOSCALING_CONFIG


def operator_webhook(
    name: str = "tensor-fusion-mutating-webhook", *, webhook_name: str = "mpod.tensor-fusion.ai"
) -> dict[str, Any]:
    """A MutatingWebhookConfiguration that calls the operator's webhook for gated pods."""
    service = {"name": "tensor-fusion-webhook", "namespace": "tensor-fusion-sys", "path": "/mutate-v1-pod"}
    webhook = {
        "name": webhook_name,
        "clientConfig": {"service": service},
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Ignore",
        "rules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
        ],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [webhook],
    }


def operator_deployment(*flags: str, namespace: str = "tensor-fusion-sys") -> dict[str, Any]:
    """The operator's Deployment, whose manager is given some flags."""
    labels = {"tensor-fusion.ai/component": "operator"}
    container = {"name": "controller", "image": "operator", "command": ["/manager", "-leader-elect", *flags]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "tensor-fusion-controller", "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def configured_by_annotation(profile: dict[str, Any], text: str) -> dict[str, Any]:
    """A WorkloadProfile with its configuration in the annotation."""
    metadata = {**profile["metadata"], "annotations": {AUTOSCALING_CONFIG: text}}
    return {**profile, "metadata": metadata}
