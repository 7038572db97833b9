"""Decides what becomes of a pod at its creation. Pure: the cluster is in `lookups`, the time in `now`.

1. A pod that is gated, carries a slice and has a nameable workload gets that name and a record of its slice.
2. Its autoscaling configuration is its annotations over its profile, or else its workload's own.
3. The slice is the original one, with the recommendation for the resources that are targets and the active
   cron rule over it; only what differs is written.

Trouble leaves the pod as it is, with a warning: a pod must start whatever becomes of the autoscaler.
"""

from dataclasses import replace
from functools import partial

import msgspec

from vgpu import annotations as keys
from vgpu.dialects import Dialect, dialect_of
from vgpu.kube.objects import Pod, controller_of
from vgpu.naming import workload_name
from vgpu.schedule import Rule, ScheduleError
from vgpu.slices import VgpuSlice
from webhook.application import apply
from webhook.baselines import read_baseline
from webhook.configuration import NOTHING, Configuration, overriding
from webhook.edits import Label, Outcome, Subject, edit
from webhook.errors import (
    CachesNotSyncedError,
    LeftAloneError,
    UnreadablePodError,
    UnusableConfigurationError,
)
from webhook.lookups import KnownWorkload, Lookups
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
    configuration, profile_slice = _configuration(subject, workload, lookups)
    published = workload.published if workload is not None else Published()
    rule, recommendation, problems = _in_force(configuration, published, now)
    baseline = read_baseline(
        pod, dialect, profile=profile_slice, rules=[rule.name for rule in configuration.rules]
    )
    applying = partial(apply, recommendation=recommendation, targets=configuration.targets, rule=rule)
    application = applying(baseline.slice, malformed=baseline.malformed)
    if application.leaves_out(baseline.carried):
        # A field cannot be taken away from a pod again; what stays is then what the pod asks for.
        baseline = baseline.anew()
        application = applying(baseline.slice, malformed=baseline.malformed)
    problems = (*baseline.problems, *configuration.warnings, *problems)
    if published.problem is not None:
        problems = (*problems, f"TensorFusionWorkload {name}: {published.problem}")
    if application.slice == VgpuSlice():
        return Outcome(Label.IGNORED, warnings=problems)
    return edit(subject, baseline, application, problems=problems)


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


def _configuration(
    subject: Subject, workload: KnownWorkload | None, lookups: Lookups
) -> tuple[Configuration, VgpuSlice]:
    """What counts for the pod, and the slice in its profile.

    Raises:
        UnusableConfigurationError: the profile is not there, or what counts is wrong.
    """
    profile_name = subject.annotations.get(keys.WORKLOAD_PROFILE)
    if profile_name:
        profile = lookups.profile(subject.namespace, profile_name)
        source = f"WorkloadProfile {profile_name!r}"
        if profile is None:
            raise UnusableConfigurationError(source, f"not found in namespace {subject.namespace}")
        _require_usable(profile.configuration, source)
        configuration = lookups.configured(subject.annotations, profile)
        _require_usable(configuration, "its annotations")
        return configuration, profile.configuration.resources
    if overriding(subject.annotations):
        configuration = lookups.configured(subject.annotations, None)
        _require_usable(configuration, "its annotations")
        return configuration, VgpuSlice()
    configuration = workload.configuration if workload is not None else NOTHING
    _require_usable(configuration, f"TensorFusionWorkload {subject.workload_name!r}")
    return configuration, VgpuSlice()


def _require_usable(configuration: Configuration, source: str) -> None:
    if configuration.problem is not None:
        raise UnusableConfigurationError(source, configuration.problem)


def _in_force(
    configuration: Configuration, published: Published, now: float
) -> tuple[Rule | None, VgpuSlice | None, tuple[str, ...]]:
    """The active rule, the recommendation that holds, and what is wrong with the rules."""
    try:
        rule = configuration.active_rule(now)
    except ScheduleError as error:
        return None, published.without_rules(), (str(error),)
    return rule, published.usable(rule), ()
