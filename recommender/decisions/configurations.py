"""What every workload is configured to do now: its spec, parsed once, and its active cron rule."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final
from weakref import WeakValueDictionary

import msgspec

from recommender.decisions.companion import Asked, CompanionSpecs
from recommender.keys import WorkloadKey, key_of
from vgpu.api import AutoScalingConfig, ConfigurationError, WorkloadSpec, parse_spec
from vgpu.kube.objects import CustomObject, ObjectMeta
from vgpu.schedule import Rule, ScheduleError, active_rule, next_transition

# In any case, as the API matches them.
_CONFIG_KEYS: Final = frozenset({"autoscalingconfig", "auto_scaling_config"})
_RULES: Final = "spec.autoScalingConfig.cronScalingRules"


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Configuration:
    """One workload's configuration at one time.

    Attributes:
        spec: the spec in force: the last one that was valid; None when there never was one.
        rule: the cron rule in force.
        problems: why the configuration is not what the object says, a sentence for each.
    """

    spec: WorkloadSpec | None
    rule: Rule | None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Known:
    uid: str
    generation: int
    configuration: Configuration
    until: float
    asked: Asked | None = None

    def is_of(self, metadata: ObjectMeta, asked: Asked | None) -> bool:
        same = (self.uid, self.generation) == (metadata.uid, metadata.generation)
        return same and self.asked is asked


class SpecCache:
    """Parses specs, those with the same content into one object: a hundred thousand workloads have few.

    It keeps what somebody else keeps, and nothing beyond that. Specs that differ only outside of their
    `autoScalingConfig` share that.
    """

    def __init__(self) -> None:
        self._specs: WeakValueDictionary[bytes, WorkloadSpec] = WeakValueDictionary()
        self._configs: WeakValueDictionary[bytes, AutoScalingConfig] = WeakValueDictionary()

    def parse(self, spec: Mapping[str, object]) -> WorkloadSpec:
        """Read a spec as the API server stores it.

        Raises:
            ConfigurationError: with everything that is wrong.
        """
        content = _digest(spec)
        parsed = self._specs.get(content)
        if parsed is None:
            parsed = self._specs[content] = self._sharing(parse_spec(spec), spec)
        return parsed

    def _sharing(self, parsed: WorkloadSpec, spec: Mapping[str, object]) -> WorkloadSpec:
        config = parsed.auto_scaling_config
        written = {key: value for key, value in spec.items() if key.lower() in _CONFIG_KEYS}
        shared = self._configs.setdefault(_digest(written), config)
        return parsed if shared is config else parsed.model_copy(update={"auto_scaling_config": shared})


def _digest(content: Mapping[str, object]) -> bytes:
    return blake2b(msgspec.json.encode(dict(content), order="sorted"), digest_size=16).digest()


class Configurations:
    """Reads configurations and keeps them until they change or a rule begins or ends.

    A workload whose configuration is wrong keeps its last valid one, whose rules begin and end in time.

    Args:
        beside: reads what workloads are configured to do where their spec does not say so; one of which that
            cannot tell anything stays as it is.
    """

    def __init__(self, beside: CompanionSpecs | None = None) -> None:
        self._beside = beside
        self._known: dict[WorkloadKey, _Known] = {}
        # Of those alone that have rules: when one of them begins or ends next.
        self._transitions: dict[WorkloadKey, float] = {}
        self._specs = SpecCache()
        self._ruleless: WeakValueDictionary[int, Configuration] = WeakValueDictionary()

    def read(self, live: CustomObject, now: float) -> Configuration:
        """The configuration of a workload.

        Args:
            live: the workload; its status tells the rule that was in force before a restart.
            now: seconds since the epoch.
        """
        key = key_of(live.metadata)
        known = self._known.get(key)
        asked = self._beside.of(live) if self._beside is not None else None
        asked = asked or (known.asked if known is not None else None)
        if known is None or not known.is_of(live.metadata, asked) or now >= known.until:
            known = self._read(live, known.configuration if known else None, asked, now)
            self._known[key] = known
            self._transitions.pop(key, None)
            if known.until < math.inf:
                self._transitions[key] = known.until
        return known.configuration

    def known(self, key: WorkloadKey) -> Configuration | None:
        """The configuration of a workload as it was last read; None when it never was."""
        known = self._known.get(key)
        return known.configuration if known is not None else None

    def next_transition(self) -> float:
        """When the next rule of any workload begins or ends; infinite when none does."""
        return min(self._transitions.values(), default=math.inf)

    def due(self, now: float) -> list[WorkloadKey]:
        """The workloads with a rule that has begun or ended since they were read, and are to be read now.

        Each is told of once. One that cannot be read is for who called to try again: if it stayed the next,
        nothing would be waited for any more.
        """
        due = [key for key, until in self._transitions.items() if now >= until]
        for key in due:
            del self._transitions[key]
        return due

    def forget(self, key: WorkloadKey) -> None:
        """Drop a workload that is no more."""
        self._known.pop(key, None)
        self._transitions.pop(key, None)

    def _read(
        self, live: CustomObject, before: Configuration | None, asked: Asked | None, now: float
    ) -> _Known:
        configuration, until = self._configuration(live, before, asked, now)
        uid, generation = live.metadata.uid, live.metadata.generation
        return _Known(uid, generation, self._one_for_all(configuration), until, asked)

    def _one_for_all(self, configuration: Configuration) -> Configuration:
        """This one, or one that others have too: without a rule it is nothing but the spec."""
        if configuration.spec is None or configuration.rule is not None or configuration.problems:
            return configuration
        # The spec lives as long as what is found here, so that no other has its identity meanwhile.
        return self._ruleless.setdefault(id(configuration.spec), configuration)

    def _configuration(
        self, live: CustomObject, before: Configuration | None, asked: Asked | None, now: float
    ) -> tuple[Configuration, float]:
        last = before or Configuration(None, rule_in_status(live.status))
        if self._beside is None:
            spec, problems = self._valid_spec(live, last.spec)
        else:
            spec, problems = self._asked_for(asked, last.spec)
        if spec is None:
            return Configuration(None, last.rule, problems), math.inf
        rules = spec.auto_scaling_config.rules
        rule = last.rule
        try:
            until = next_transition(rules, now)
            rule = active_rule(rules, now)
        except ScheduleError as error:
            problems += (f"{_RULES}: {error}",)
            until = _next_transition_or_never(rules, now)
        return Configuration(spec, rule, problems), math.inf if until is None else until

    def _valid_spec(
        self, live: CustomObject, last: WorkloadSpec | None
    ) -> tuple[WorkloadSpec | None, tuple[str, ...]]:
        """The spec, or the last valid one and what is wrong with this one."""
        try:
            return self._specs.parse(live.spec), ()
        except ConfigurationError as error:
            return last, tuple(str(problem) for problem in error.problems)

    def _asked_for(
        self, asked: Asked | None, last: WorkloadSpec | None
    ) -> tuple[WorkloadSpec | None, tuple[str, ...]]:
        """What pods and profile ask for, or the last that was valid, or what of it can be used."""
        if asked is None:
            return last, ()
        if asked.spec is None and last is not None:
            return last, asked.problems
        return self._specs.parse(asked.usable if asked.spec is None else asked.spec), asked.problems


def _next_transition_or_never(rules: tuple[Rule, ...], now: float) -> float | None:
    """When rules that are active at once may no longer be; never when one of them cannot be evaluated."""
    try:
        return next_transition(rules, now)
    except ScheduleError:
        return None


def rule_to_json(rule: Rule) -> dict[str, Any]:
    """An active rule as it stands in the status: in the words of the spec."""
    written: dict[str, Any] = {"enable": True, "name": rule.name, "start": rule.start, "end": rule.end}
    if rule.time_zone:
        written["timeZone"] = rule.time_zone
    if desired := rule.desired.to_json():
        written["desiredResources"] = desired
    if rule.desired_replicas is not None:
        written["desiredReplicas"] = rule.desired_replicas
    return written


def rule_in_status(status: Mapping[str, Any]) -> Rule | None:
    """The rule that a status tells to be in force; None when it tells none, or one that makes no sense."""
    written = status.get("activeCronScalingRule")
    if not isinstance(written, Mapping):
        return None
    try:
        spec = parse_spec({"autoScalingConfig": {"cronScalingRules": [{**written, "enable": True}]}})
    except ConfigurationError:
        return None
    return next(iter(spec.auto_scaling_config.rules), None)
