"""Settings of the adapter: flags, environment variables VGPU_METRICS_ADAPTER_..., or a YAML file."""

from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from vgpu.metric_source import MetricSourceSettings
from vgpu.settings import Port, Seconds


class AdapterSettings(MetricSourceSettings):
    """What can be set on the adapter, beside what every service has."""

    model_config = SettingsConfigDict(env_prefix="VGPU_METRICS_ADAPTER_")

    interval: Seconds = Field(10, gt=0, description="How often usage is read")
    freshness: Seconds = Field(
        60, gt=0, description="How old a sample may be; must be longer than the interval"
    )
    host: str = Field("0.0.0.0", min_length=1, description="Address that the API is served on")  # noqa: S104 - kube-apiserver comes from outside of the pod
    port: Port = Field(6443, description="Port that the API is served on (HTTPS)")
    ops_port: Port = Field(8083, description="Port of /metrics, /healthz and /readyz")
    registration: bool = Field(
        default=False,
        alias="register",
        description=(
            "For development: create the APIServices, and a Service that leads kube-apiserver to localhost. "
            "Otherwise the manifests own them, and the process writes nothing"
        ),
    )
    service_name: str = Field(
        "vgpu-autoscaler-metrics-adapter",
        min_length=1,
        description="Service in front of the adapter, in namespace",
    )
    shutdown_delay: Seconds = Field(
        0,
        description=(
            "How long to go on serving after SIGTERM while not ready; in a cluster, the time the Service "
            "needs to send nothing more here"
        ),
    )

    @model_validator(mode="after")
    def _freshness_outlasts_a_poll(self) -> Self:
        if self.freshness <= self.interval:
            raise ValueError(
                f"freshness ({self.freshness:g} s) must be longer than interval ({self.interval:g} s), "
                "or every value is too old before the next one comes"
            )
        return self

    def serving_names(self) -> list[str]:
        """The names that the serving certificate must be good for; kube-apiserver verifies the first."""
        service = f"{self.service_name}.{self.namespace}"
        return [f"{service}.svc", f"{service}.svc.cluster.local", service, "localhost"]
