"""What is to be done with workloads: their configuration, what usage says, and the decision made of both."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from recommender.cluster.pods import TrackedPod
from recommender.decisions.advising import NOT_ASKED, Advisor, Consultation, NoAdvisor, without
from recommender.decisions.availability import Beginnings, UsageFound, find_usage
from recommender.decisions.conditions import find_condition
from recommender.decisions.configurations import Configuration, Configurations, rule_in_status
from recommender.decisions.external import with_advice
from recommender.decisions.recommendation import Decision, decide, waiting_for
from recommender.decisions.standing import Published
from recommender.histories.estimation import NO_EVIDENCE, Estimates, Evidence
from recommender.histories.preallocation import VRAM_LEFT_ALONE, Ruling, rule_on
from recommender.keys import WorkloadKey, key_of
from recommender.usage.hearing import NOTHING_HEARD, Heard
from vgpu.api import AutoSetResources
from vgpu.kube.objects import CustomObject
from vgpu.quantities import QuantityError
from vgpu.slices import Amounts, Resource, VgpuSlice


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found out about one workload.

    Attributes:
        configuration: its configuration now.
        estimates: what its samples say; empty while there are too few of them, and without VRAM while that
            is left alone. What its external scaler recommends stands in place of that.
        decision: what became of it; None when it never had a valid configuration.
        recommendation: what is recommended from now on; None when nothing is yet.
        preallocation: whether its VRAM is taken in advance and so left alone; None when there is nothing to
            say about that.
        waiting: why usage has no say yet; None when it has.
        evidence: what its samples say, whatever became of that.
        consultation: how things stand with its external scaler.
        usage: whether usage of it comes in; None where nobody knows of its pods.
    """

    configuration: Configuration
    estimates: Estimates
    decision: Decision | None
    recommendation: VgpuSlice | None
    preallocation: Ruling | None = None
    waiting: str | None = None
    evidence: Evidence = NO_EVIDENCE
    consultation: Consultation = NOT_ASKED
    usage: UsageFound | None = None

    @property
    def heard(self) -> Heard:
        """What the metric source had answered."""
        return NOTHING_HEARD if self.usage is None else self.usage.heard


class Judge:
    """Decides about workloads.

    Args:
        configurations: what they are configured to do.
        cap: what a card gives, by the workload's `gpuModel` and what its own slice requests.
        newest_pod: the live pod of a workload that was made last, whose annotations count.
        advisor: knows what external scalers say.
        runs: whether a pod of a workload runs; None where nobody knows.
    """

    def __init__(
        self,
        *,
        configurations: Configurations,
        cap: Callable[[str | None, Amounts], Amounts],
        newest_pod: Callable[[WorkloadKey], TrackedPod | None],
        advisor: Advisor | None = None,
        runs: Callable[[WorkloadKey], bool] | None = None,
    ) -> None:
        self._configurations = configurations
        self._cap = cap
        self._newest_pod = newest_pod
        self._advisor = NoAdvisor() if advisor is None else advisor
        self._runs = runs
        self._beginnings = Beginnings()

    def configure(self, live: CustomObject, now: float) -> Configuration:
        """What a workload is configured to do now."""
        return self._configurations.read(live, now)

    def decide(
        self,
        live: CustomObject,
        configuration: Configuration,
        evidence: Evidence,
        now: float,
        heard: Heard = NOTHING_HEARD,
    ) -> Verdict:
        """Decide about one workload.

        Args:
            live: the workload; its status holds the last recommendation and rule, also over a restart.
            configuration: its configuration now.
            evidence: what its samples say.
            now: seconds since the epoch.
            heard: what the metric source had answered when the samples were looked at.
        """
        usage = self._usage(live, evidence, heard, now)
        published = read_published(live.status)
        spec = configuration.spec
        if spec is None:
            return Verdict(
                configuration=configuration,
                estimates=evidence.estimates,
                decision=None,
                recommendation=published.recommendation,
                evidence=evidence,
                usage=usage,
            )
        config = spec.auto_scaling_config.auto_set_resources
        waiting = waiting_for(config, samples=evidence.samples, first_sample=evidence.first, now=now)
        consultation = self._advisor.consult(live, spec, now)
        ruling = self._ruling(live, evidence)
        left_alone = {Resource.VRAM} if ruling is not None and ruling.holds else ()
        estimates = {} if waiting else dict(evidence.estimates)
        for resource in left_alone:
            estimates.pop(resource, None)
        published = without(published, left_alone, live.status, consultation)
        decision = decide(
            estimates=estimates,
            config=config,
            baseline=spec.resources,
            published=published,
            waiting=waiting,
            rule=configuration.rule,
            cap=self._cap(spec.gpu_model, spec.resources.requests),
            advice=consultation.advice,
        )
        recommendation = decision.recommendation if decision.changed else published.recommendation
        return Verdict(
            configuration=configuration,
            estimates=with_advice(estimates, consultation.advice),
            decision=decision,
            recommendation=recommendation,
            preallocation=ruling,
            waiting=waiting,
            evidence=evidence,
            consultation=consultation,
            usage=usage,
        )

    def _usage(self, live: CustomObject, evidence: Evidence, heard: Heard, now: float) -> UsageFound | None:
        if self._runs is None:
            return None
        key = key_of(live.metadata)
        began = self._beginnings.look(key, heard, now, runs=self._runs(key))
        return find_usage(live.status, touched=evidence.touched, began=began, heard=heard, now=now)

    def _ruling(self, live: CustomObject, evidence: Evidence) -> Ruling | None:
        pod = self._newest_pod(key_of(live.metadata))
        told = find_condition(live.status, VRAM_LEFT_ALONE)
        return rule_on(
            pod.pod if pod is not None else None,
            evidence.shares,
            str(told.get("reason")) if told is not None else None,
        )

    def due(self, now: float) -> Collection[WorkloadKey]:
        """The workloads with a cron rule that has begun or ended since they were configured, each once."""
        return self._configurations.due(now)

    def next_transition(self) -> float:
        """When the next cron rule of any workload begins or ends; infinite when none does."""
        return self._configurations.next_transition()

    def forget(self, key: WorkloadKey) -> None:
        """Drop a workload that is no more."""
        self._configurations.forget(key)
        self._advisor.forget(key)
        self._beginnings.forget(key)


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


def auto_set_resources(configuration: Configuration) -> AutoSetResources:
    """How a workload is estimated: by its spec, or by the defaults while it has none that is valid."""
    spec = configuration.spec
    return spec.auto_scaling_config.auto_set_resources if spec else AutoSetResources()
