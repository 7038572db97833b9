"""How many pods run with what is recommended now."""

from collections.abc import Iterable

from recommender.cluster.pods import TrackedPod
from vgpu.annotations import APPLIED_RECOMMENDATION
from vgpu.api import WorkloadSpec
from vgpu.application import apply
from vgpu.dialects import baseline, dialect_of
from vgpu.kube.objects import Pod
from vgpu.schedule import Rule
from vgpu.slices import Amounts, VgpuSlice


def count_applied(
    pods: Iterable[TrackedPod],
    *,
    spec: WorkloadSpec,
    recommendation: VgpuSlice | None,
    rule: Rule | None,
    card: Amounts,
) -> int:
    """Count running pods that the webhook has written on, and on which it would have nothing to change today.

    Args:
        pods: the workload's pods.
        spec: its configuration, which says what is applied and what is only recommended.
        recommendation: what is recommended now.
        rule: the cron rule in force; it is applied to what it names even where usage is only recommended.
        card: what the largest card gives that the workload may get.
    """

    def carries(pod: Pod) -> bool:
        dialect = dialect_of(pod)
        if dialect is None or APPLIED_RECOMMENDATION not in (pod.metadata.annotations or {}):
            return False
        wanted = apply(
            baseline(pod).slice,
            recommendation=recommendation,
            targets=spec.applied_resources(),
            rule=rule,
            card=card,
        )
        return wanted.digest is not None and not dialect.write(pod, wanted.slice)

    return sum(1 for pod in pods if pod.running and carries(pod.pod))
