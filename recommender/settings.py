"""Settings of the recommender."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from vgpu.metric_source import MetricSourceSettings
from vgpu.settings import Port, Seconds


class RecommenderSettings(MetricSourceSettings):
    """What the recommender can be told; defaults are those of the community VPA where it has them."""

    model_config = SettingsConfigDict(env_prefix="VGPU_RECOMMENDER_")

    # Prometheus knows milliseconds, and a shorter step than a tenth of a second no exporter fills.
    interval: Seconds = Field(60, ge=0.1, description="How often usage is read and estimates are made")
    usage_step: Seconds | None = Field(
        None, ge=0.1, description="Grid of the samples read from Prometheus; none: the interval"
    )
    settle: Seconds = Field(5, description="How long after its time a sample is waited for")
    half_life: Seconds = Field(86_400, gt=0, description="Time in which a sample loses half of its weight")
    peak_window: Seconds = Field(
        86_400, gt=0, description="Time in which a pod's VRAM counts by its peak only"
    )
    horizontal_metric: str = Field(
        "gpu_utilization", description="Pods metric that HorizontalPodAutoscalers of ours scale on"
    )
    horizontal_target: float = Field(
        80, gt=0, description="Its average value that they aim at, where the workload names none"
    )
    ops_port: Port = Field(8081, description="Port of /metrics, /healthz and /readyz")

    @property
    def step(self) -> float:
        """Seconds between two samples of a series."""
        return self.usage_step or self.interval
