"""Which autoscaling configuration counts for a pod, parsed when its object changes and not for each pod."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from vgpu import annotations as keys
from vgpu.api import ConfigurationError, WorkloadSpec, annotation_problems, effective_spec, parse_spec
from vgpu.schedule import Rule, ScheduleError, active_rule
from vgpu.slices import Resource, VgpuSlice

CONFIGURING_ANNOTATIONS = (
    keys.AUTO_RESOURCES,
    keys.AUTO_SCALE_TARGET_RESOURCE,
    keys.AUTO_REPLICAS,
    keys.AUTOSCALE,
    keys.AUTOSCALE_TARGET,
    keys.UPDATE_MODE,
)
"""The annotations that win over a profile or a workload, field by field."""

Overrides = tuple[tuple[str, str], ...]


class Configuration:
    """A parsed configuration, or why there is none.

    Attributes:
        resources: the slice that it asks for.
        targets: the resources whose recommendation is applied.
        rules: the cron rules that count.
        gpu_model: the model that it is meant for, if it names one.
        problem: what is wrong with the object that it comes from; then nothing is applied.
        warnings: what else is wrong, and was left out.
    """

    def __init__(
        self,
        spec: WorkloadSpec | None = None,
        *,
        problem: str | None = None,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.resources = spec.resources if spec else VgpuSlice()
        self.targets: frozenset[Resource] = spec.applied_resources() if spec else frozenset()
        self.rules: tuple[Rule, ...] = spec.auto_scaling_config.rules if spec else ()
        self.gpu_model = spec.gpu_model if spec else None
        self.problem = problem
        self.warnings = warnings
        self._evaluated: tuple[int, Rule | ScheduleError | None] | None = None

    @classmethod
    def parse(cls, spec: Mapping[str, object], *, warnings: tuple[str, ...] = ()) -> "Configuration":
        """Read the spec of a TensorFusionWorkload or WorkloadProfile; a bad one is kept with its problem."""
        try:
            return cls(parse_spec(spec), warnings=warnings)
        except ConfigurationError as error:
            return cls(problem=str(error))

    def active_rule(self, now: float) -> Rule | None:
        """The rule whose window `now` (seconds since the epoch) lies in.

        Evaluated once a minute: a cron expression changes its mind at no other time.

        Raises:
            ScheduleError: a rule is bad, or two are active at once.
        """
        if not self.rules:
            return None
        minute = int(now // 60)
        if self._evaluated is None or self._evaluated[0] != minute:
            self._evaluated = minute, self._evaluate(now)
        result = self._evaluated[1]
        if isinstance(result, ScheduleError):
            raise result.with_traceback(None)
        return result

    def rule_named(self, name: str | None) -> Rule | None:
        """The rule of that name."""
        return next((rule for rule in self.rules if rule.name == name), None)

    def _evaluate(self, now: float) -> Rule | ScheduleError | None:
        try:
            return active_rule(self.rules, now)
        except ScheduleError as error:
            return error


@dataclass(frozen=True, eq=False, slots=True)
class KnownSpec:
    """The spec of a WorkloadProfile or TensorFusionWorkload as the cache holds it.

    Compared by identity, since each change of the spec makes a new one.
    """

    spec: Mapping[str, object]
    configuration: Configuration

    @classmethod
    def of(cls, spec: Mapping[str, object]) -> "KnownSpec":
        """Parse a spec."""
        return cls(spec=spec, configuration=Configuration.parse(spec))


class Configurations:
    """Configurations of pods that carry annotations of their own, kept for the next pod of the same template.

    Args:
        capacity: how many are kept; the least recently used goes first.
    """

    def __init__(self, *, capacity: int = 4096) -> None:
        self._cached = lru_cache(maxsize=capacity)(_with_overrides)

    def of(self, annotations: Mapping[str, str], base: KnownSpec | None) -> Configuration:
        """What the base configures with the pod's annotations over it, or the annotations alone."""
        overrides = overriding(annotations)
        if base is not None and not overrides:
            return base.configuration
        return self._cached(base, overrides)


def overriding(annotations: Mapping[str, str]) -> Overrides:
    """The annotations that win over the configuration of a profile or a workload."""
    return tuple((key, annotations[key]) for key in CONFIGURING_ANNOTATIONS if key in annotations)


def _with_overrides(base: KnownSpec | None, overrides: Overrides) -> Configuration:
    annotations = dict(overrides)
    spec = effective_spec(annotations, base.spec if base else None, VgpuSlice())
    return Configuration.parse(spec, warnings=annotation_problems(annotations))
