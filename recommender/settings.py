"""Settings of the recommender."""

from typing import Final, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from recommender.external_scaler.addresses import AllowList
from vgpu.metric_source import MetricSourceSettings
from vgpu.operator import MODE_DESCRIPTION, Mode
from vgpu.settings import FilePath, Port, Seconds

_MOST_HALF_LIVES: Final = 40
"""Half-lives in a peak window at most: with 50, one at its window's end makes all other weights fade."""

# As long as Prometheus goes by a sample of its own; and a scrape or two may always be missed.
_LEAST_PATIENCE: Final = 300.0
_PATIENT_STEPS: Final = 3


def require_fading_slower_than_windows(half_life: float, peak_window: float) -> None:
    """Refuse histograms that forget faster than their windows come to an end.

    A peak counts as of the end of its window, and one reference serves all workloads: a window that ends so
    many half-lives ahead would leave nothing of the weights of all others.

    Args:
        half_life: seconds in which a sample loses half of its weight.
        peak_window: seconds in which a pod's VRAM counts by its peak only.

    Raises:
        ValueError: they do not fit together.
    """
    if half_life < peak_window / _MOST_HALF_LIVES:
        raise ValueError(
            f"half_life {half_life:g} s is too short for peak_window {peak_window:g} s: "
            f"a window may have {_MOST_HALF_LIVES} half-lives at most"
        )


class RecommenderSettings(MetricSourceSettings):
    """What the recommender can be told; defaults are those of the community VPA where it has them."""

    model_config = SettingsConfigDict(env_prefix="VGPU_RECOMMENDER_")

    mode: Mode = Field("standalone", description=MODE_DESCRIPTION)
    # Prometheus knows milliseconds, and a shorter step than a tenth of a second no exporter fills.
    interval: Seconds = Field(60, ge=0.1, description="How often usage is read and estimates are made")
    usage_step: Seconds | None = Field(
        None, ge=0.1, description="Grid of the samples read from Prometheus; none: the interval"
    )
    settle: Seconds = Field(5, description="How long after its time a sample is waited for")
    usage_patience: Seconds | None = Field(
        None,
        gt=0,
        description="After how long without a sample, or an answer, MetricsAvailable turns False; "
        "none: three intervals, 5 minutes at least",
    )
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
    tflops_sample: Literal["maximum", "mean"] = Field(
        "maximum", description="What a sample of TFLOPS is of its step; of VRAM it is always the maximum"
    )
    backfill: bool = Field(
        default=True, description="Whether the past of a workload that is seen for the first time is read"
    )
    backfill_pause: Seconds = Field(1, description="Rest between two reads of the past")
    events: bool = Field(
        default=True, description="Whether Kubernetes Events tell what happens to TensorFusionWorkloads"
    )
    event_rate: float = Field(
        20, gt=0, le=1000, description="How many Events are written in a second at most"
    )
    event_burst: int = Field(50, ge=1, le=10_000, description="How many at once after a rest")
    evictions: bool = Field(
        default=True, description="Whether pods of workloads with update mode Recreate are evicted at all"
    )
    evictions_per_minute: float = Field(
        10, gt=0, le=6000, description="How many pods are evicted in a minute at most, in the whole cluster"
    )
    eviction_cool_down: Seconds = Field(
        60,
        description="Rest of a workload between a Ready replacement and its next eviction",
    )
    eviction_minimum_age: Seconds = Field(600, description="How long a new pod is left alone")
    eviction_fraction: float = Field(
        0,
        ge=0,
        le=1,
        description="Part of a workload's pods that may be evicted at once; one always may",
    )
    eviction_threshold: float = Field(
        0.1, ge=0, description="Fraction by which a request or limit has to differ for its pod to be evicted"
    )
    workload_metrics: Literal["each", "aggregate"] = Field(
        "each", description="Whether /metrics has series of each workload or only sums over all"
    )
    status_writes_per_second: float = Field(
        50, gt=0, le=10_000, description="How many workloads a second are written of at most, in the long run"
    )
    checkpoint_store: Literal["config_map", "directory", "none"] = Field(
        "config_map", description="Where histories are saved: in ConfigMaps of the namespace, or in files"
    )
    checkpoint_directory: FilePath | None = Field(
        None, description="Directory of the files, on a volume that outlives the pod"
    )
    checkpoint_interval: Seconds = Field(600, ge=1, description="How often histories are saved")
    leader_election: bool = Field(
        default=True, description="Whether of several replicas only the holder of a Lease works"
    )
    identity: str | None = Field(
        None,
        min_length=1,
        description="This replica's name in the Lease; none: the host's and a random part",
    )
    lease_duration: Seconds = Field(15, ge=1, description="How long a leader is waited for that says nothing")
    lease_renew_deadline: Seconds = Field(
        10, gt=0, description="How long a leader goes on without renewing its Lease; less than lease_duration"
    )
    lease_retry: Seconds = Field(2, gt=0, description="How often a Lease is renewed, or tried for")
    shard_count: int = Field(1, ge=1, le=1000, description="Over how many shards the workloads are divided")
    shard_index: int = Field(0, ge=0, description="Which of them this replica serves, from 0")
    external_scaler_urls: tuple[str, ...] = Field(
        (), description="Addresses that external scalers may have, and all below them; none: they are off"
    )
    external_scaler_concurrency: int = Field(
        8, ge=1, le=256, description="Requests under way at once to the scalers below one of these addresses"
    )
    external_scaler_allow_local: bool = Field(
        default=False,
        description="Whether external scalers may be at loopback, link-local and metadata addresses",
    )
    ops_port: Port = Field(8081, description="Port of /metrics, /healthz and /readyz")

    @field_validator("external_scaler_urls")
    @classmethod
    def _can_be_compared(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        AllowList(urls)
        return urls

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.shard_index >= self.shard_count:
            raise ValueError(f"shard_index {self.shard_index} must be below shard_count {self.shard_count}")
        if not self.lease_retry < self.lease_renew_deadline < self.lease_duration:
            raise ValueError("lease_retry, lease_renew_deadline and lease_duration must rise in this order")
        require_fading_slower_than_windows(self.half_life, self.peak_window)
        slowest = self.interval + self.step + self.settle
        if self.patience < slowest:
            raise ValueError(
                f"usage_patience {self.patience:g} s is too short: a sample may be {slowest:g} s old"
                " when it is read (interval, usage_step and settle)"
            )
        if self.checkpoint_store == "directory" and self.checkpoint_directory is None:
            raise ValueError("checkpoint_store directory needs checkpoint_directory")
        return self

    @property
    def step(self) -> float:
        """Seconds between two samples of a series."""
        return self.usage_step or self.interval

    @property
    def patience(self) -> float:
        """Seconds without a sample of a workload, or without an answer of the source, that mean nothing."""
        if self.usage_patience is not None:
            return self.usage_patience
        return max(_LEAST_PATIENCE, _PATIENT_STEPS * max(self.interval, self.step) + self.settle)
