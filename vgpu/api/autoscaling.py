"""`autoScalingConfig`: vertical scaling, horizontal scaling and cron rules, with the documented defaults."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from vgpu.api.errors import Problem
from vgpu.api.fields import (
    AmountsField,
    AmountsModel,
    Count,
    Fraction,
    Model,
    Ratio,
    Seconds,
    Share,
    SliceField,
    Through,
    raise_problems,
)
from vgpu.schedule import Rule, validate_rule
from vgpu.slices import Amounts, Resource, VgpuSlice, format_amount

_DAY: Final = 24 * 3600.0
_MINUTE: Final = 60.0

# What a workload is never cut below unless it says otherwise: 1 TFLOPS and 1 GiB.
_LEAST: Final = Amounts(tflops=1000, vram=1 << 30)

TARGETS: Final[Mapping[str, frozenset[Resource]]] = {
    "tflops": frozenset({Resource.TFLOPS}),
    "compute": frozenset({Resource.TFLOPS}),
    "vram": frozenset({Resource.VRAM}),
    "all": frozenset(Resource),
    "": frozenset(),
}
"""What `targetResource` may say, in lower case."""
ALLOWED_TARGETS: Final = "all, tflops, compute, vram and empty"


def _target(value: object) -> object:
    if str(value).strip().lower() not in TARGETS:
        raise ValueError(f"{value!r} is none of {ALLOWED_TARGETS}")
    return value


UPDATE_MODES: Final[Mapping[str, str]] = {"initial": "Initial", "recreate": "Recreate"}
"""What `updateMode` may say, by its lower case."""


def _update_mode(value: object) -> object:
    mode = UPDATE_MODES.get(str(value).strip().lower())
    if mode is None:
        raise ValueError(f"{value!r} is none of {', '.join(UPDATE_MODES.values())}")
    return mode


def _at_least(model: AmountsModel) -> Amounts:
    return Amounts(
        tflops=_LEAST.tflops if model.tflops is None else model.tflops,
        vram=_LEAST.vram if model.vram is None else model.vram,
    )


class AutoSetResources(Model):
    """Vertical scaling: how recommendations are made from usage, and of which resources they are applied.

    Durations are in seconds, percentiles and margins are fractions, ratios are of the baseline.
    """

    synonyms: ClassVar[Mapping[str, str]] = {
        "targetcomputepercentile": "targetTflopsPercentile",
        "lowerboundcomputepercentile": "lowerBoundTflopsPercentile",
        "upperboundcomputepercentile": "upperBoundTflopsPercentile",
        "marginfraction": "requestMarginFraction",
        "historydataperiod": "historyLength",
    }

    enable: bool = False
    target_resource: Annotated[str, BeforeValidator(_target)] = ""
    target_tflops_percentile: Share = 0.9
    lower_bound_tflops_percentile: Share = 0.5
    upper_bound_tflops_percentile: Share = 0.95
    target_vram_percentile: Share = 0.9
    lower_bound_vram_percentile: Share = 0.5
    upper_bound_vram_percentile: Share = 0.95
    request_margin_fraction: Fraction = 0.15
    confidence_interval: Seconds = _DAY
    initial_delay_period: Seconds = 0.0
    min_samples: Count = 30
    update_threshold: Fraction = 0.0
    min_allowed: Annotated[Amounts, Through(AmountsModel, _at_least, Amounts)] = _LEAST
    max_allowed: AmountsField = Amounts()
    min_compute_resources_ratio: Ratio | None = None
    max_compute_resources_ratio: Ratio | None = None
    min_vram_resources_ratio: Ratio | None = Field(default=None, alias="minVRAMResourcesRatio")
    max_vram_resources_ratio: Ratio | None = Field(default=None, alias="maxVRAMResourcesRatio")
    history_length: Seconds = _DAY
    history_resolution: Seconds = _MINUTE
    interval: Seconds | None = None
    update_mode: Annotated[Literal["Initial", "Recreate"], BeforeValidator(_update_mode)] = "Initial"
    evict_single_replica: bool = False
    evict_on_cron_rules: bool = False

    @property
    def targets(self) -> frozenset[Resource]:
        """The resources that `targetResource` names; none for an empty text."""
        return TARGETS[self.target_resource.strip().lower()]

    def percentiles(self, resource: Resource) -> tuple[float, float, float]:
        """The percentiles of target, lower bound and upper bound of a resource."""
        if resource is Resource.TFLOPS:
            return (
                self.target_tflops_percentile,
                self.lower_bound_tflops_percentile,
                self.upper_bound_tflops_percentile,
            )
        return (
            self.target_vram_percentile,
            self.lower_bound_vram_percentile,
            self.upper_bound_vram_percentile,
        )

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        raise_problems(
            [*_out_of_order(self, _ORDERED), *_least_above_most(self.min_allowed, self.max_allowed)]
        )
        return self


# A field and the one that it must not exceed.
_ORDERED: Final = (
    ("lower_bound_tflops_percentile", "upper_bound_tflops_percentile"),
    ("lower_bound_vram_percentile", "upper_bound_vram_percentile"),
    ("min_compute_resources_ratio", "max_compute_resources_ratio"),
    ("min_vram_resources_ratio", "max_vram_resources_ratio"),
)


def _out_of_order(model: Model, pairs: Iterable[tuple[str, str]]) -> Iterator[Problem]:
    for lower, upper in pairs:
        low, high = getattr(model, lower), getattr(model, upper)
        if low is not None and high is not None and low > high:
            yield Problem(_key(model, lower), f"{low:g} is above {_key(model, upper)} {high:g}")


def _least_above_most(least: Amounts, most: Amounts) -> Iterator[Problem]:
    """A default least amount is no problem: the most that somebody wrote holds against it."""
    for resource in Resource:
        low, high = least.get(resource), most.get(resource)
        if low is not None and high is not None and low > high and low != _LEAST.get(resource):
            texts = format_amount(resource, low), format_amount(resource, high)
            yield Problem(f"minAllowed.{resource}", f"{texts[0]} is above maxAllowed.{resource} {texts[1]}")


def _key(model: Model, name: str) -> str:
    return type(model).model_fields[name].alias or name


class AutoSetReplicas(Model):
    """Horizontal scaling. Durations are in seconds, steps in pods; what is None is left to Kubernetes."""

    enable: bool = False
    target_tflops_of_limits: Ratio | None = Field(default=None, alias="targetTFlopsOfLimits")
    evaluation_period: Seconds | None = None
    scale_up_step: Count | None = None
    scale_down_step: Count | None = None
    scale_up_cool_down_time: Seconds | None = None
    scale_down_cool_down_time: Seconds | None = None
    min_replicas: Count = 1
    max_replicas: Count = 10

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        raise_problems(_out_of_order(self, [("min_replicas", "max_replicas")]))
        return self


class CronScalingRule(Model):
    """A cron rule as it is written. One that is disabled or misses name, start or end is no rule at all."""

    enable: bool = False
    name: str = ""
    start: str = ""
    end: str = ""
    time_zone: str = ""
    desired_resources: SliceField = VgpuSlice()
    desired_replicas: Count | None = None

    @classmethod
    def prepared(cls, data: dict[str, object]) -> dict[str, object]:
        """Nothing of a rule that is skipped, so that what it holds is no problem either."""
        complete = data.get("enable") and all(data.get(key) for key in ("name", "start", "end"))
        return data if complete else {}

    @model_validator(mode="after")
    def _can_be_evaluated(self) -> Self:
        if self.enable:
            validate_rule(self.rule())
        return self

    def rule(self) -> Rule:
        """The rule as the schedule evaluates it."""
        return Rule(
            name=self.name,
            start=self.start,
            end=self.end,
            time_zone=self.time_zone,
            desired=self.desired_resources,
            desired_replicas=self.desired_replicas,
        )


def _rules(written: Sequence[CronScalingRule]) -> tuple[Rule, ...]:
    rules = tuple(rule.rule() for rule in written if rule.enable)
    repeated = [name for name, count in Counter(rule.name for rule in rules).items() if count > 1]
    if repeated:
        names = ", ".join(f'"{name}"' for name in repeated)
        raise ValueError(f"several enabled rules are named {names}; a name may stand for one rule only")
    return rules


class SecretReference(Model):
    """A Secret by its name. A namespace is allowed only where it is the workload's own."""

    name: str = ""
    namespace: str = ""


class ExternalScaler(Model):
    """A service that is asked for recommendations. Durations are in seconds.

    Where it is not enabled, what else it holds counts for nothing, and so is no problem either.
    """

    enable: bool = False
    url: str = ""
    api_key_secret_ref: SecretReference | None = None
    initial_delay_period: Seconds = 0.0
    interval: Seconds | None = None

    @classmethod
    def prepared(cls, data: dict[str, object]) -> dict[str, object]:
        """Nothing of a scaler that is switched off."""
        return data if data.get("enable") else {}

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if self.enable:
            raise_problems(self._missing())
        return self

    def _missing(self) -> Iterator[Problem]:
        if not self.url:
            yield Problem("url", "is missing: an external scaler that is enabled is asked there")
        if self.api_key_secret_ref is not None and not self.api_key_secret_ref.name:
            yield Problem("apiKeySecretRef.name", "is missing: it names the Secret with the token")


class AutoScalingConfig(Model):
    """Everything that scales a workload.

    Attributes:
        auto_set_resources: vertical scaling.
        auto_set_replicas: horizontal scaling.
        rules: the cron rules that are enabled and complete, each of them valid by itself.
        external_scaler: the service that is asked for recommendations; None where none is named.
        allow_both: apply TFLOPS recommendations although replicas scale on TFLOPS.
    """

    auto_set_resources: AutoSetResources = AutoSetResources()
    auto_set_replicas: AutoSetReplicas = AutoSetReplicas()
    rules: Annotated[tuple[Rule, ...], Through(list[CronScalingRule], _rules, tuple)] = Field(
        default=(), alias="cronScalingRules"
    )
    external_scaler: ExternalScaler | None = None
    allow_both: bool = False
