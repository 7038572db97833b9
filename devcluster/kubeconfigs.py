"""kubeconfig files, whole in themselves: certificates and keys are inside."""

import base64
from pathlib import Path

import yaml

from vgpu.authority import Pair

_NAME = "vgpu-autoscaler-dev"


def write_kubeconfig(path: Path, *, server: str, authority: bytes, client: Pair) -> None:
    """Write a kubeconfig for the owner's eyes only: `server`, its CA (PEM), and who the client is."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": _NAME, "cluster": {"server": server, "certificate-authority-data": _encoded(authority)}}
        ],
        "users": [
            {
                "name": _NAME,
                "user": {
                    "client-certificate-data": _encoded(client.certificate),
                    "client-key-data": _encoded(client.key),
                },
            }
        ],
        "contexts": [{"name": _NAME, "context": {"cluster": _NAME, "user": _NAME}}],
        "current-context": _NAME,
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config, sort_keys=False))


def _encoded(pem: bytes) -> str:
    return base64.b64encode(pem).decode()
