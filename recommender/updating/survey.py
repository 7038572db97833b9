"""What a workload's pods carry, held against what the webhook would give a new pod now."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from recommender.cluster.gated import SAFE_TO_EVICT
from recommender.cluster.pods import TrackedPod
from recommender.decisions.conditions import find_condition
from recommender.decisions.verdicts import Verdict
from recommender.updating.members import Member, Situation
from vgpu.annotations import APPLIED_RECOMMENDATION, EVICT
from vgpu.api import AutoSetResources, WorkloadSpec
from vgpu.application import Application, apply
from vgpu.dialects import baseline, dialect_of
from vgpu.kube.objects import CustomObject, Pod
from vgpu.schedule import Rule, ScheduleError, active_rule
from vgpu.slices import Amounts, Resource, VgpuSlice

WITHDRAWN = "RecommendationWithdrawn"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What decides about the slices of new pods of a workload.

    Attributes:
        spec: the workload's configuration.
        recommendation: what is recommended and not withdrawn, if anything.
        rule: the cron rule in force.
        withdrawn: whether the recommendation is withdrawn.
        invalid: whether the configuration has a mistake.
    """

    spec: WorkloadSpec
    recommendation: VgpuSlice | None
    rule: Rule | None
    withdrawn: bool = False
    invalid: bool = False

    @property
    def settings(self) -> AutoSetResources:
        """How the workload is scaled vertically."""
        return self.spec.auto_scaling_config.auto_set_resources

    def applied_to(self, pod: Pod, card: Amounts, rule: Rule | None) -> Application:
        """What a new pod of the same template would carry while a rule is active."""
        return apply(
            baseline(pod).slice,
            recommendation=self.recommendation,
            targets=self.spec.applied_resources(),
            rule=rule,
            card=card,
        )


def wanted(live: CustomObject, verdict: Verdict, *, invalid: bool) -> Wanted | None:
    """What a workload wants of its running pods; None where that is nothing.

    Args:
        live: the workload, with the verdict in its status.
        verdict: what was found out about it.
        invalid: whether its template or profile has a mistake.
    """
    configuration = verdict.configuration
    spec = configuration.spec
    if spec is None or spec.auto_scaling_config.auto_set_resources.update_mode != "Recreate":
        return None
    told = find_condition(live.status, WITHDRAWN)
    withdrawn = told is not None and told.get("status") == "True"
    return Wanted(
        spec=spec,
        recommendation=None if withdrawn else verdict.recommendation,
        rule=configuration.rule,
        withdrawn=withdrawn,
        invalid=invalid or bool(configuration.problems),
    )


def survey(wanted: Wanted, pods: Iterable[TrackedPod], *, card: Amounts, least: float) -> Situation:
    """How the pods of a workload stand to what it wants.

    Args:
        wanted: what decides about the slices of new pods.
        pods: the workload's pods.
        card: what the largest card gives that the workload may get.
        least: the fraction by which a request or limit has to differ for a pod to be made anew.
    """
    member = partial(_member, wanted=wanted, card=card, least=least)
    settings = wanted.settings
    return Situation(
        members=tuple(member(pod) for pod in pods if pod.live),
        wanted=(wanted.recommendation, wanted.rule, wanted.spec.applied_resources()),
        invalid=wanted.invalid,
        rule_holds=wanted.rule is not None and not settings.evict_on_cron_rules,
        withdrawn=wanted.withdrawn,
        single_allowed=settings.evict_single_replica,
    )


def _member(tracked: TrackedPod, *, wanted: Wanted, card: Amounts, least: float) -> Member:
    pod, annotations = tracked.pod, tracked.pod.metadata.annotations or {}
    application = wanted.applied_to(pod, card, wanted.rule)
    return Member(
        name=pod.metadata.name,
        uid=tracked.uid,
        root=tracked.root,
        controller=tracked.controller,
        created=tracked.created,
        ready=pod.status.ready,
        troubled=pod.status.crash_looping or pod.status.unschedulable_since is not None,
        gang=pod.metadata.gang,
        opted_out=any(annotations.get(key, "").strip().lower() == "false" for key in (EVICT, SAFE_TO_EVICT)),
        differs=_applies(wanted, application)
        and differs(pod, application.slice, least)
        and not _is_of_a_rule(tracked, wanted, card, least),
        unwritten=application.digest is not None and APPLIED_RECOMMENDATION not in annotations,
    )


def _applies(wanted: Wanted, application: Application) -> bool:
    """Whether anything is applied: what is only recommended, now or no longer, moves no running pod.

    What is taken back because it was withdrawn, or because a rule has ended, is.
    """
    if wanted.settings.evict_on_cron_rules or application.digest is not None:
        return True
    return bool(wanted.spec.applied_resources())


def _is_of_a_rule(tracked: TrackedPod, wanted: Wanted, card: Amounts, least: float) -> bool:
    """Whether a pod differs only because a cron rule was active, or was not, when it was made."""
    rules = wanted.spec.auto_scaling_config.rules
    if not rules or wanted.settings.evict_on_cron_rules:
        return False
    try:
        rule = active_rule(rules, tracked.created)
    except ScheduleError:
        return True  # nobody can tell
    return rule is not None and not differs(
        tracked.pod, wanted.applied_to(tracked.pod, card, rule).slice, least
    )


def differs(pod: Pod, slice_: VgpuSlice, least: float) -> bool:
    """Whether any request or limit of a pod differs from a slice by such a fraction of what it carries."""
    dialect = dialect_of(pod)
    if dialect is None:
        return False
    carried = dialect.read(pod).slice
    return any(
        _moves(there, here, least)
        for resource in Resource
        for there, here in (
            (carried.requests.get(resource), slice_.requests.get(resource)),
            (carried.limits.get(resource), slice_.limits.get(resource)),
        )
    )


def _moves(there: int | None, here: int | None, least: float) -> bool:
    if here is None or there == here:
        return False
    return there is None or abs(here - there) >= least * there
