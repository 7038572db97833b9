"""What is to be done with workloads: their configuration, what usage says, and the decision made of both."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recommender.configurations import Configuration, Configurations, rule_in_status
from recommender.histories import Estimates, Histories
from recommender.keys import WorkloadKey, key_of
from recommender.recommendation import Decision, decide, waiting_for
from recommender.standing import Published
from vgpu.api import AutoSetResources
from vgpu.kube.objects import CustomObject
from vgpu.quantities import QuantityError
from vgpu.slices import Amounts, Resource, VgpuSlice


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found out about one workload.

    Attributes:
        configuration: its configuration now.
        estimates: what its samples say; empty while there are too few of them.
        decision: what became of it; None when it never had a valid configuration.
        recommendation: what is recommended from now on; None when nothing is yet.
    """

    configuration: Configuration
    estimates: Estimates
    decision: Decision | None
    recommendation: VgpuSlice | None


class Judge:
    """Estimates and decides, for many workloads at once.

    Args:
        histories: the usage of all workloads.
        configurations: what they are configured to do.
        cap: what a card gives, by the workload's `gpuModel` and what its own slice requests.
    """

    def __init__(
        self,
        *,
        histories: Histories,
        configurations: Configurations,
        cap: Callable[[str | None, Amounts], Amounts],
    ) -> None:
        self._histories = histories
        self._configurations = configurations
        self._cap = cap

    def configure(self, live: CustomObject, now: float) -> Configuration:
        """What a workload is configured to do now."""
        return self._configurations.read(live, now)

    def estimate(self, configured: Sequence[tuple[CustomObject, Configuration]]) -> Sequence[Estimates]:
        """What the samples of each workload say, by its configuration."""
        return self._histories.estimate(
            [(key_of(live.metadata), _auto_set_resources(wanted)) for live, wanted in configured]
        )

    def judge(self, live: CustomObject, now: float) -> Verdict:
        """All of it for one workload."""
        configuration = self.configure(live, now)
        return self.decide(live, configuration, self.estimate([(live, configuration)])[0], now)

    def decide(
        self, live: CustomObject, configuration: Configuration, estimates: Estimates, now: float
    ) -> Verdict:
        """Decide about one workload.

        Args:
            live: the workload; its status holds the last recommendation and rule, also over a restart.
            configuration: its configuration now.
            estimates: what its samples say.
            now: seconds since the epoch.
        """
        published = read_published(live.status)
        spec = configuration.spec
        if spec is None:
            return Verdict(configuration, estimates, None, published.recommendation)
        config = spec.auto_scaling_config.auto_set_resources
        waiting = self._waiting_for(live, config, now)
        decision = decide(
            estimates=estimates,
            config=config,
            baseline=spec.resources,
            published=published,
            waiting=waiting,
            rule=configuration.rule,
            cap=self._cap(spec.gpu_model, spec.resources.requests),
        )
        recommendation = decision.recommendation if decision.changed else published.recommendation
        return Verdict(configuration, {} if waiting else estimates, decision, recommendation)

    def _waiting_for(self, live: CustomObject, config: AutoSetResources, now: float) -> str | None:
        history = self._histories.of(key_of(live.metadata))
        if history is None:
            return waiting_for(config, samples=0, first_sample=None, now=now)
        first = None if math.isnan(history.first) else history.first
        return waiting_for(config, samples=history.samples, first_sample=first, now=now)

    def due(self, now: float) -> Collection[WorkloadKey]:
        """The workloads with a cron rule that has begun or ended since they were configured."""
        return self._configurations.due(now)

    def next_transition(self) -> float:
        """When the next cron rule of any workload begins or ends; infinite when none does."""
        return self._configurations.next_transition()

    def forget_pod(self, uid: str) -> None:
        """Drop a pod that is no more."""
        self._histories.forget_pod(uid)

    def forget(self, key: WorkloadKey, *, history_too: bool) -> None:
        """Drop a workload that is no more; one that has pods may come back, and keeps its history."""
        self._configurations.forget(key)
        if history_too:
            self._histories.forget(key)


def read_published(status: Mapping[str, Any]) -> Published:
    """What a status says was decided last."""
    recommendation, rule = _recommendation(status), rule_in_status(status)
    name = _rule_name(status)
    estimation = status.get("estimation")
    measured = estimation.keys() if isinstance(estimation, Mapping) else ()
    return Published(
        recommendation=recommendation,
        measured=frozenset(resource for resource in Resource if resource.value in measured),
        rule=name,
        # Of a rule that cannot be read nobody knows what it asked for: take all of it for its word.
        desired=rule.desired if rule is not None else recommendation or VgpuSlice(),
    )


def _recommendation(status: Mapping[str, Any]) -> VgpuSlice | None:
    """The recommendation in a status; None when there is none, or one that nobody can read."""
    written = status.get("recommendation")
    if not isinstance(written, Mapping):
        return None
    try:
        slice_ = VgpuSlice.from_json(written)
    except QuantityError:
        return None
    return None if slice_ == VgpuSlice() else slice_


def _rule_name(status: Mapping[str, Any]) -> str | None:
    written = status.get("activeCronScalingRule")
    name = written.get("name") if isinstance(written, Mapping) else written
    return name if isinstance(name, str) and name else None


def _auto_set_resources(configuration: Configuration) -> AutoSetResources:
    spec = configuration.spec
    return spec.auto_scaling_config.auto_set_resources if spec else AutoSetResources()
