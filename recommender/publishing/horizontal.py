"""HorizontalPodAutoscalers for workloads with auto-replicas, and none where a person has one already."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from recommender.cluster.scalers import ScaledObject
from recommender.decisions.status import HORIZONTAL_SCALING, Condition
from recommender.keys import WorkloadKey
from recommender.publishing.applying import owned_object
from vgpu.annotations import HPA_METRIC
from vgpu.api import AutoSetReplicas, WorkloadSpec
from vgpu.kube.objects import HorizontalPodAutoscaler
from vgpu.kube.ownership import is_ours
from vgpu.kube.resources import HPAS
from vgpu.naming import MAX_NAME_LENGTH, Owner
from vgpu.quantities import format_decimal

_PREFIX: Final = "vgpu-"
_CPU_ADVICE: Final = (
    f"give it the annotation {HPA_METRIC}: gpu to scale on the GPU, {HPA_METRIC}: keep to leave it so, "
    "or delete it to have one made"
)
# Kinds of Kubernetes itself that have no scale subresource.
_NOT_SCALABLE: Final = frozenset({"Pod", "Job", "CronJob", "DaemonSet"})

# Bounds and defaults of autoscaling/v2 (k8s.io/api/autoscaling/v2, HPAScalingRules).
_MAX_PERIOD: Final = 1800
_MAX_STABILIZATION: Final = 3600
_DEFAULT_PERIOD: Final = 15
_DEFAULT_PODS_UP: Final = 4


HorizontalReason = Literal[
    "AutoscalerInPlace",
    "AnotherWorkload",
    "NotScalable",
    "ForeignAutoscaler",
    "ForeignAutoscalerOnCpu",
    "AutoscalerFailed",
    "Disabled",
]
"""Reasons of the condition HorizontalScaling."""


@dataclass(frozen=True, slots=True)
class HorizontalDefaults:
    """What holds where a workload says nothing.

    Attributes:
        metric: the Pods metric to scale on, percent of the TFLOPS request.
        target: the average value to aim at.
    """

    metric: str
    target: float


@dataclass(frozen=True, slots=True)
class HorizontalPlan:
    """What shall be with a workload's HorizontalPodAutoscaler.

    Attributes:
        body: what to apply; None when there shall be none of ours.
        condition: how the workload's status tells it; None when there is nothing to tell.
        unwanted: others of ours that scale the same object, and are to go.
    """

    body: Mapping[str, Any] | None
    condition: Condition | None
    unwanted: tuple[HorizontalPodAutoscaler, ...] = ()


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What else may scale a workload's root controller.

    Attributes:
        workload: another workload of the same root controller, whose right it is to scale it.
        autoscalers: the HorizontalPodAutoscalers that scale the root controller, ours among them.
        scaled_objects: KEDA's ScaledObjects that scale the root controller.
        namesake: the HorizontalPodAutoscaler that has the name of the workload's, whatever it scales.
    """

    workload: WorkloadKey | None = None
    autoscalers: Collection[HorizontalPodAutoscaler] = ()
    scaled_objects: Collection[ScaledObject] = ()
    namesake: HorizontalPodAutoscaler | None = None


def hpa_key(workload: WorkloadKey) -> WorkloadKey:
    """Where a workload's HorizontalPodAutoscaler stands; a name too long for that ends in a digest."""
    name = f"{_PREFIX}{workload.name}"
    if len(name) > MAX_NAME_LENGTH:
        digest = hashlib.sha256(workload.name.encode()).hexdigest()[:8]
        name = f"{name[: MAX_NAME_LENGTH - 9].rstrip('-.')}-{digest}"
    return WorkloadKey(workload.namespace, name)


def plan_horizontal(
    *,
    workload: WorkloadKey,
    root: Owner | None,
    spec: WorkloadSpec,
    floor: int | None,
    neighbours: Neighbours,
    defaults: HorizontalDefaults,
) -> HorizontalPlan:
    """Decide about a workload's HorizontalPodAutoscaler.

    Args:
        workload: the workload.
        root: its root controller, which is what would be scaled.
        spec: the workload's configuration.
        floor: the least number of replicas that an active cron rule asks for.
        neighbours: what else may scale the root controller.
        defaults: what holds where the workload says nothing.
    """
    enabled = spec.auto_scaling_config.auto_set_replicas.enable
    if neighbours.workload is not None:
        message = f"The newest pod is workload {neighbours.workload.name}'s, which decides about replicas"
        return _without("AnotherWorkload", message) if enabled else HorizontalPlan(None, None)
    key = hpa_key(workload)
    others = (hpa for hpa in neighbours.autoscalers if hpa.metadata.name != key.name)
    unwanted = tuple(hpa for hpa in others if is_ours(hpa.metadata))
    if not enabled:
        return HorizontalPlan(None, None, unwanted)
    if root is None or root.kind in _NOT_SCALABLE:
        what = f"{root.kind} {root.name}" if root else "Nothing owns the pods: they"
        return _without("NotScalable", f"{what} cannot be scaled by a HorizontalPodAutoscaler")
    if (obstacle := _obstacle(key, root, neighbours)) is not None:
        return replace(_without(*obstacle), unwanted=unwanted)
    body = owned_object(HPAS, key, root=root, spec=hpa_spec(root, spec, floor=floor, defaults=defaults))
    message = f"HorizontalPodAutoscaler {key.name} scales {root.kind} {root.name} on {defaults.metric}"
    in_place = horizontal_condition("AutoscalerInPlace", message, status=True)
    return HorizontalPlan(body, in_place, unwanted)


def _obstacle(key: WorkloadKey, root: Owner, neighbours: Neighbours) -> tuple[HorizontalReason, str] | None:
    """Why a person's autoscaler leaves no room for ours: reason and message of the condition."""
    scaled = f"scales {root.kind} {root.name} already"
    # KEDA's wish counts before, and after, there is an autoscaler that it made of it.
    for keda in neighbours.scaled_objects:
        return "ForeignAutoscaler", f"ScaledObject {keda.metadata.name} (KEDA) {scaled}"
    for hpa in neighbours.autoscalers:
        if is_ours(hpa.metadata):
            continue
        told = f"HorizontalPodAutoscaler {hpa.metadata.name} {scaled}"
        if scales_on_cpu_alone(hpa) and (hpa.metadata.annotations or {}).get(HPA_METRIC) != "keep":
            return "ForeignAutoscalerOnCpu", f"{told}, by CPU alone: {_CPU_ADVICE}"
        return "ForeignAutoscaler", told
    if neighbours.namesake is not None and not is_ours(neighbours.namesake.metadata):
        message = f"HorizontalPodAutoscaler {key.name} is somebody else's, and the name would be ours"
        return "ForeignAutoscaler", message
    return None


def scales_on_cpu_alone(hpa: HorizontalPodAutoscaler) -> bool:
    """Whether an autoscaler looks at nothing but CPU, which is what kube-apiserver fills in by default."""
    metrics = hpa.spec.get("metrics") or ()
    # Empty metrics are filled in by the API server (80 % CPU, autoscaling/v2 defaults), so none is CPU too.
    return all(metric.get("type") == "Resource" and metric["resource"]["name"] == "cpu" for metric in metrics)


def horizontal_condition(reason: HorizontalReason, message: str, *, status: bool = False) -> Condition:
    """The condition that tells who scales the replicas, or why nobody does."""
    return Condition(HORIZONTAL_SCALING, reason, message, status=status)


def _without(reason: HorizontalReason, message: str) -> HorizontalPlan:
    return HorizontalPlan(None, horizontal_condition(reason, message))


def hpa_spec(
    root: Owner, spec: WorkloadSpec, *, floor: int | None, defaults: HorizontalDefaults
) -> dict[str, Any]:
    """The spec of a workload's HorizontalPodAutoscaler."""
    replicas = spec.auto_scaling_config.auto_set_replicas
    least = max(replicas.min_replicas, min(floor or 0, replicas.max_replicas))
    target = {
        "type": "AverageValue",
        "averageValue": format_decimal(target_utilization(spec, defaults.target)),
    }
    built = {
        "scaleTargetRef": {"apiVersion": root.api_version, "kind": root.kind, "name": root.name},
        "minReplicas": least,
        "maxReplicas": replicas.max_replicas,
        "metrics": [{"type": "Pods", "pods": {"metric": {"name": defaults.metric}, "target": target}}],
    }
    rules = behavior(replicas)
    return {**built, "behavior": rules} if rules else built


def target_utilization(spec: WorkloadSpec, default: float) -> float:
    """The percentage of the TFLOPS request to aim at.

    A workload names its target as a fraction (or percentage) of its limit, the metric is a percentage of the
    request: hence limit over request of the baseline, a ratio that every recommendation keeps.
    """
    target = spec.auto_scaling_config.auto_set_replicas.target_tflops_of_limits
    if target is None:
        return default
    # Nobody can use more than the limit: what is above 1 was meant as a percentage.
    percent = target * 100 if target <= 1 else target
    request, limit = spec.resources.requests.tflops, spec.resources.limits.tflops
    return percent * limit / request if request and limit else percent


def behavior(replicas: AutoSetReplicas) -> dict[str, Any]:
    """Scaling rules from steps and cool-downs; a direction of which nothing is said is left to Kubernetes.

    At most a step within a cool-down. The evaluation period is how long the metric must hold: the
    stabilization window, which for scaling down is the cool-down where no period is given.
    """
    up = _rules(
        step=replicas.scale_up_step,
        cool_down=replicas.scale_up_cool_down_time,
        stabilization=replicas.evaluation_period,
        default=({"type": "Pods", "value": _DEFAULT_PODS_UP}, {"type": "Percent", "value": 100}),
    )
    period = replicas.evaluation_period
    down = _rules(
        step=replicas.scale_down_step,
        cool_down=replicas.scale_down_cool_down_time,
        stabilization=replicas.scale_down_cool_down_time if period is None else period,
        default=({"type": "Percent", "value": 100},),
    )
    return {name: rules for name, rules in (("scaleUp", up), ("scaleDown", down)) if rules}


def _rules(
    *,
    step: int | None,
    cool_down: float | None,
    stabilization: float | None,
    default: tuple[Mapping[str, Any], ...],
) -> dict[str, Any]:
    rules: dict[str, Any] = {}
    if step is not None or cool_down is not None:
        period = _DEFAULT_PERIOD if cool_down is None else min(max(round(cool_down), 1), _MAX_PERIOD)
        amounts = default if step is None else ({"type": "Pods", "value": step},)
        rules["policies"] = [{**amount, "periodSeconds": period} for amount in amounts]
    if stabilization is not None:
        rules["stabilizationWindowSeconds"] = min(round(stabilization), _MAX_STABILIZATION)
    return rules
