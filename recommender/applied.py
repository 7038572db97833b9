"""How many pods run with what is recommended now."""

from collections.abc import Iterable

from recommender.pods import TrackedPod
from vgpu.annotations import APPLIED_RECOMMENDATION
from vgpu.api import WorkloadSpec
from vgpu.dialects import dialect_of
from vgpu.schedule import Rule
from vgpu.slices import Resource, VgpuSlice


def count_applied(
    pods: Iterable[TrackedPod], *, spec: WorkloadSpec, recommendation: VgpuSlice | None, rule: Rule | None
) -> int:
    """Count running pods that the webhook has written on, and that carry what it would write today.

    Args:
        pods: the workload's pods.
        spec: its configuration, which says what is applied and what is only recommended.
        recommendation: what is recommended now.
        rule: the cron rule in force; it is applied to what it names even where usage is only recommended.
    """
    expected = _expected(spec, recommendation, rule)
    return sum(1 for pod in pods if pod.running and _carries(pod, expected))


_Expected = dict[Resource, tuple[int | None, int | None]]


def _expected(spec: WorkloadSpec, recommendation: VgpuSlice | None, rule: Rule | None) -> _Expected:
    """Request and limit of each resource that is applied; None where nothing is asked for."""
    expected: _Expected = {}
    for resource in Resource:
        if rule is not None:
            expected[resource] = _pair(rule.desired, resource)
        if recommendation is not None and resource in spec.applied_resources():
            expected[resource] = _pair(recommendation, resource)
    return {resource: wanted for resource, wanted in expected.items() if wanted != (None, None)}


def _carries(pod: TrackedPod, expected: _Expected) -> bool:
    dialect = dialect_of(pod.pod)
    if dialect is None or APPLIED_RECOMMENDATION not in (pod.pod.metadata.annotations or {}):
        return False
    carried = dialect.read(pod.pod).slice
    # A resource that the pod does not ask for at all is none that a recommendation would be written for.
    asked = [resource for resource in expected if _pair(carried, resource) != (None, None)]
    return bool(asked) and all(_matches(_pair(carried, resource), expected[resource]) for resource in asked)


def _matches(carried: tuple[int | None, int | None], wanted: tuple[int | None, int | None]) -> bool:
    return all(want is None or have == want for have, want in zip(carried, wanted, strict=True))


def _pair(slice_: VgpuSlice, resource: Resource) -> tuple[int | None, int | None]:
    return slice_.requests.get(resource), slice_.limits.get(resource)
