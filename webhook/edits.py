"""Writes on a pod what was decided for it: the slice, the records beside it, and what people are told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

import msgspec

from vgpu import annotations as keys
from vgpu.application import Application
from vgpu.dialects import Dialect
from vgpu.kube.objects import Pod, controller_of
from vgpu.kube.patches import PatchOperation, annotation_operations, escape_pointer
from vgpu.slices import VgpuSlice
from webhook.baselines import Baseline
from webhook.errors import AnnotationsTooLargeError

MAX_ANNOTATION_BYTES = 256 * 1024
"""Kubernetes' limit on all keys and values of an object (apimachinery, TotalAnnotationSizeLimitB)."""


class Label(StrEnum):
    """What was done, for the metric."""

    RULE = "rule"
    RECOMMENDATION = "recommendation"
    RECORDED = "recorded"
    UNCHANGED = "unchanged"
    MISCONFIGURED = "misconfigured"
    IGNORED = "ignored"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a pod; it is always admitted.

    Attributes:
        label: what was done, a `Label` or the `outcome` of a `LeftAloneError`.
        dialect: name of the pod's dialect, `none` where it has none.
        operations: the patch (RFC 6902), empty when the pod stays as it is.
        warnings: for the person who creates the pod.
        audit_annotations: for the audit log: which workload, recommendation and rule.
    """

    label: str
    dialect: str = "none"
    operations: tuple[PatchOperation, ...] = ()
    warnings: tuple[str, ...] = ()
    audit_annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Subject:
    """A gated pod with a slice and a workload.

    Attributes:
        pod: the pod as it stands in the review.
        dialect: how it writes its slice.
        namespace: where it is being created.
        workload_name: the name of its TensorFusionWorkload, whether or not there is one yet.
    """

    pod: Pod
    dialect: Dialect
    namespace: str
    workload_name: str

    @property
    def annotations(self) -> Mapping[str, str]:
        """The pod's annotations; empty where it has no such map."""
        return self.pod.metadata.annotations or {}


def edit(
    subject: Subject, baseline: Baseline, application: Application, *, warnings: tuple[str, ...]
) -> Outcome:
    """The outcome that gives a pod its slice and the records that go with it; only what differs is written.

    Args:
        subject: the pod.
        baseline: what it asks for.
        application: what it shall carry.
        warnings: what was found wrong on the way.

    Raises:
        AnnotationsTooLargeError: there is no room for our annotations on the pod.
    """
    slice_edit = subject.dialect.write(subject.pod, application.slice)
    changes = {**_records(subject, baseline, application), **slice_edit.annotations}
    _require_room({**subject.annotations, **changes})
    operations = (
        *annotation_operations(subject.pod.metadata.annotations, changes),
        *_removals(subject, application),
        *slice_edit.operations,
    )
    return Outcome(
        label=_label(application, changed=bool(operations)),
        operations=operations,
        warnings=(*warnings, *(_notice(subject, application) if slice_edit else ())),
        audit_annotations=_audit(subject, application),
    )


def _records(subject: Subject, baseline: Baseline, application: Application) -> dict[str, str]:
    records = {keys.WORKLOAD: subject.workload_name}
    if not baseline.recorded:
        records[keys.ORIGINAL_RESOURCES] = _record(baseline.slice)
    if application.digest is not None:
        records[keys.APPLIED_RECOMMENDATION] = application.digest
    return records


@lru_cache(maxsize=4096)
def _record(original: VgpuSlice) -> str:
    return msgspec.json.encode(original.to_json()).decode()


def _removals(subject: Subject, application: Application) -> tuple[PatchOperation, ...]:
    """Takes away a digest that came with the pod although nothing is applied to it."""
    if application.digest is not None or keys.APPLIED_RECOMMENDATION not in subject.annotations:
        return ()
    pointer = escape_pointer(keys.APPLIED_RECOMMENDATION)
    return ({"op": "remove", "path": f"/metadata/annotations/{pointer}"},)


def _require_room(annotations: Mapping[str, str]) -> None:
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > MAX_ANNOTATION_BYTES:
        raise AnnotationsTooLargeError(size, MAX_ANNOTATION_BYTES)


def _label(application: Application, *, changed: bool) -> Label:
    if not changed:
        return Label.UNCHANGED
    if application.rule is not None:
        return Label.RULE
    return Label.RECOMMENDATION if application.recommended else Label.RECORDED


def _notice(subject: Subject, application: Application) -> tuple[str, ...]:
    """Tells who creates a pod by hand what it got; a controller has nobody to tell, once for each replica."""
    if controller_of(subject.pod.metadata) is not None:
        return ()
    amounts = application.slice.to_json().get("requests", {})
    text = ", ".join(f"{resource} {amount}" for resource, amount in amounts.items())
    return (f"vGPU slice requests are now {text}, by the {_reason(application)}",)


def _reason(application: Application) -> str:
    if application.rule is not None:
        return f"cron scaling rule {application.rule!r}"
    if application.recommended:
        return "recommendation"
    return "template and profile"


def _audit(subject: Subject, application: Application) -> dict[str, str]:
    audit = {"workload": subject.workload_name}
    if application.recommended:
        audit["recommended"] = ",".join(sorted(application.recommended))
    if application.rule is not None:
        audit["rule"] = application.rule
    if application.digest is not None:
        audit["applied"] = application.digest
    return audit
