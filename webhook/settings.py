"""Settings of the webhook: flags, environment variables VGPU_WEBHOOK_..., or a YAML file."""

import ipaddress
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic_settings import SettingsConfigDict

from vgpu.gpu_peaks import GpuPeaksSettings
from vgpu.operator import MODE_DESCRIPTION, Mode
from vgpu.settings import Port, Seconds, WebAddress


def _https(value: str) -> str:
    if urlsplit(value).scheme != "https":
        raise ValueError("kube-apiserver calls webhooks over https:// only")
    return value


HttpsAddress = Annotated[WebAddress, AfterValidator(_https)]


class WebhookSettings(GpuPeaksSettings):
    """What can be set on the webhook, beside what every service has."""

    model_config = SettingsConfigDict(env_prefix="VGPU_WEBHOOK_")

    mode: Mode = Field("standalone", description=MODE_DESCRIPTION)
    host: str = Field("0.0.0.0", min_length=1, description="Address that admission reviews are served on")  # noqa: S104 - kube-apiserver comes from outside of the pod
    port: Port = Field(9443, description="Port that admission reviews are served on (HTTPS)")
    ops_port: Port = Field(8082, description="Port of /metrics, /healthz and /readyz")
    registration: Literal["none", "url", "service"] = Field(
        "none",
        alias="register",
        description=(
            "Who owns the MutatingWebhookConfiguration. none: the manifests; the process neither creates nor "
            "changes it. url, service: for development, the process creates it or updates its own, pointing "
            "at register_url or at the Service"
        ),
    )
    register_url: HttpsAddress | None = Field(
        None, description="With register=url: address kube-apiserver calls; none: made from host and port"
    )
    service_name: str = Field(
        "vgpu-autoscaler-webhook", min_length=1, description="Service in front of the webhook, in namespace"
    )
    register_port: Annotated[int, Field(ge=1, le=65535)] = Field(
        443, description="With register=service: port of the Service"
    )
    shutdown_delay: Seconds = Field(
        0,
        description=(
            "How long to go on serving after SIGTERM while not ready; in a cluster, the time the Service "
            "needs to send nothing more here"
        ),
    )

    @property
    def concrete_host(self) -> str:
        """The host a client on this machine can call: loopback where `host` means every address."""
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            return self.host
        if not address.is_unspecified:
            return self.host
        return "127.0.0.1" if address.version == 4 else "::1"

    def address(self, port: int) -> str:
        """The base address to register: register_url, or one made from the host and the port served on."""
        if self.register_url is not None:
            return self.register_url
        host = f"[{self.concrete_host}]" if ":" in self.concrete_host else self.concrete_host
        return f"https://{host}:{port}"

    def serving_names(self) -> list[str]:
        """Every host name and IP address that the serving certificate must be good for."""
        service = f"{self.service_name}.{self.namespace}"
        names = [self.concrete_host, f"{service}.svc", f"{service}.svc.cluster.local", service, "localhost"]
        if self.register_url is not None:
            names.append(urlsplit(self.register_url).hostname or "")
        return list(dict.fromkeys([*names, "127.0.0.1", "::1"]))
