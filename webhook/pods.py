"""Decides what becomes of a pod at its creation. Pure: the cluster is in `lookups`, the time in `now`.

1. A pod that is gated, carries a slice and has a nameable workload gets that name and a record of its slice.
2. Its autoscaling configuration is its annotations over its profile or over its workload's own.
3. The slice is the original one, with the recommendation for the resources that are targets and the active
   cron rule over it, within what a card gives; only what differs is written.

What is wrong with a configuration is warned of, and the last valid one counts. Other trouble leaves the pod
as it is, with a warning: a pod must start whatever becomes of the autoscaler.
"""

from dataclasses import replace
from functools import partial

import msgspec

from vgpu import annotations as keys
from vgpu.application import Application, apply
from vgpu.dialects import Dialect, dialect_of
from vgpu.kube.objects import Pod, controller_of
from vgpu.naming import workload_name
from vgpu.schedule import Rule, ScheduleError
from vgpu.slices import VgpuSlice
from webhook.baselines import Baseline, read_baseline
from webhook.choice import choose
from webhook.configuration import Configuration
from webhook.edits import Label, Outcome, Subject, edit
from webhook.errors import CachesNotSyncedError, LeftAloneError, UnreadablePodError
from webhook.lookups import Lookups
from webhook.published import Published
from webhook.review import AdmissionRequest

_pod_decoder = msgspec.json.Decoder(Pod)


def decide(request: AdmissionRequest, *, lookups: Lookups, now: float) -> Outcome:
    """What becomes of the pod in a review.

    Args:
        request: the review's request, for any object.
        lookups: what is known of the cluster.
        now: seconds since the epoch, for the cron rules.
    """
    dialect = None
    try:
        pod = _gated_pod(request)
        dialect = dialect_of(pod) if pod is not None else None
        if pod is None or dialect is None:
            return Outcome(Label.IGNORED)
        outcome = _decide(pod, dialect, request.namespace or pod.metadata.namespace, lookups=lookups, now=now)
    except LeftAloneError as error:
        outcome = Outcome(error.outcome, warnings=(str(error),))
    return replace(outcome, dialect=dialect.name if dialect is not None else "none")


def _gated_pod(request: AdmissionRequest) -> Pod | None:
    """The pod, when it is one that is being created, with the gate open, and none that has a DRA claim."""
    kind = request.kind
    if request.operation != "CREATE" or request.sub_resource:
        return None
    if kind is not None and (kind.group, kind.kind) != ("", "Pod"):
        return None
    try:
        pod = _pod_decoder.decode(request.object)
    except (ValueError, RecursionError) as error:
        raise UnreadablePodError(str(error)) from error
    gated = (pod.metadata.labels or {}).get(keys.ENABLED_LABEL) == "true"
    return pod if gated and not pod.spec.resource_claims else None


def _decide(pod: Pod, dialect: Dialect, namespace: str, *, lookups: Lookups, now: float) -> Outcome:
    missing = lookups.not_synced()
    if missing:
        raise CachesNotSyncedError(", ".join(missing))
    name = _workload_name(pod, namespace, lookups)
    if name is None:
        return Outcome(Label.IGNORED, warnings=_unusable_name(pod))
    subject = Subject(pod, dialect, namespace, name)
    workload = lookups.workload(namespace, name)
    choice = choose(subject, workload, lookups)
    configuration = choice.configuration
    published = workload.published if workload is not None else Published()
    rule, recommendation, problems = _in_force(configuration, published, now)

    def applied_to(baseline: Baseline) -> Application:
        return apply(
            baseline.slice,
            recommendation=recommendation,
            targets=configuration.targets,
            rule=rule,
            card=lookups.card(configuration.gpu_model, baseline.slice.requests),
            malformed=baseline.malformed,
        )

    baseline = read_baseline(pod, dialect, profile=choice.resources)
    application = applied_to(baseline)
    left_out = application.left_out(baseline.carried)
    if left_out:
        # A field cannot be taken away from a pod again; what stays is then what the pod asks for.
        baseline = baseline.anew(left_out)
        application = applied_to(baseline)
    warnings = (*baseline.problems, *choice.problems, *configuration.warnings, *problems)
    if published.problem is not None:
        warnings = (*warnings, f"TensorFusionWorkload {name}: {published.problem}")
    if application.slice == VgpuSlice():
        outcome = Outcome(Label.IGNORED, warnings=warnings)
    else:
        outcome = edit(subject, baseline, application, warnings=warnings)
    return replace(outcome, label=Label.MISCONFIGURED) if choice.problems else outcome


def _workload_name(pod: Pod, namespace: str, lookups: Lookups) -> str | None:
    metadata = pod.metadata
    return workload_name(
        # A name made from a generateName is not known before admission, so it can name nothing.
        pod_name=None if metadata.generate_name else metadata.name,
        labels=metadata.labels or {},
        annotations=metadata.annotations or {},
        controller=controller_of(metadata),
        job_owner=partial(lookups.job_owner, namespace),
    )


def _unusable_name(pod: Pod) -> tuple[str, ...]:
    annotated = (pod.metadata.annotations or {}).get(keys.WORKLOAD)
    return (f"annotation {keys.WORKLOAD}: {annotated!r} is no object name",) if annotated else ()


def _in_force(
    configuration: Configuration, published: Published, now: float
) -> tuple[Rule | None, VgpuSlice | None, tuple[str, ...]]:
    """The active rule, the recommendation that holds, and what is wrong with the rules."""
    try:
        rule = configuration.active_rule(now)
    except ScheduleError as error:
        # What was in force when the rules could be evaluated stays so, as in the recommender.
        return configuration.rule_named(published.rule), published.without_rules(), (str(error),)
    return rule, published.usable(rule), ()
