"""HorizontalPodAutoscalers for workloads with auto-replicas, and none where a person has one already."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import structlog

from recommender.applying import apply_politely, is_ours, is_up_to_date, owned_object
from recommender.keys import WorkloadKey, key_of
from recommender.metrics import RecommenderMetrics
from recommender.status import HORIZONTAL_SCALING, Condition
from vgpu.api import AutoSetReplicas, WorkloadSpec
from vgpu.kube.client import KubeClient
from vgpu.kube.errors import NotFound
from vgpu.kube.objects import HorizontalPodAutoscaler
from vgpu.kube.resources import HPAS
from vgpu.naming import MAX_NAME_LENGTH, Owner
from vgpu.quantities import format_decimal

_PREFIX: Final = "vgpu-"
# Kinds of Kubernetes itself that have no scale subresource.
_NOT_SCALABLE: Final = frozenset({"Pod", "Job", "CronJob", "DaemonSet"})

# Bounds and defaults of autoscaling/v2 (k8s.io/api/autoscaling/v2, HPAScalingRules).
_MAX_PERIOD: Final = 1800
_MAX_STABILIZATION: Final = 3600
_DEFAULT_PERIOD: Final = 15
_DEFAULT_PODS_UP: Final = 4

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HorizontalDefaults:
    """What holds where a workload says nothing.

    Attributes:
        metric: the Pods metric to scale on, percent of the TFLOPS request.
        target: the average value to aim at.
    """

    metric: str
    target: float


class ScaleTarget(NamedTuple):
    """An object that can be scaled; the version of its API group does not matter."""

    namespace: str
    group: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class HorizontalPlan:
    """What shall be with a workload's HorizontalPodAutoscaler.

    Attributes:
        body: what to apply; None when there shall be none of ours.
        condition: how the workload's status tells it; None when there is nothing to tell.
    """

    body: Mapping[str, Any] | None
    condition: Condition | None


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
    autoscalers: Iterable[HorizontalPodAutoscaler],
    defaults: HorizontalDefaults,
) -> HorizontalPlan:
    """Decide about a workload's HorizontalPodAutoscaler.

    Args:
        workload: the workload.
        root: its root controller, which is what would be scaled.
        spec: the workload's configuration.
        floor: the least number of replicas that an active cron rule asks for.
        autoscalers: the HorizontalPodAutoscalers that scale the root controller, ours among them.
        defaults: what holds where the workload says nothing.
    """
    if not spec.auto_scaling_config.auto_set_replicas.enable:
        return HorizontalPlan(None, None)
    if root is None or root.kind in _NOT_SCALABLE:
        kind = root.kind if root else "nothing that"
        return _without("NotScalable", f"{kind} can be scaled by a HorizontalPodAutoscaler")
    rival = next((hpa for hpa in autoscalers if not is_ours(hpa.metadata)), None)
    if rival is not None:
        message = f"HorizontalPodAutoscaler {rival.metadata.name} scales {root.kind} {root.name} already"
        return _without("ForeignAutoscaler", message)
    key = hpa_key(workload)
    body = owned_object(HPAS, key, root=root, spec=hpa_spec(root, spec, floor=floor, defaults=defaults))
    message = f"HorizontalPodAutoscaler {key.name} scales {root.kind} {root.name} on {defaults.metric}"
    return HorizontalPlan(body, Condition(HORIZONTAL_SCALING, "AutoscalerInPlace", message, status=True))


def _without(reason: str, message: str) -> HorizontalPlan:
    return HorizontalPlan(None, Condition(HORIZONTAL_SCALING, reason, message, status=False))


def target_of_hpa(hpa: HorizontalPodAutoscaler) -> ScaleTarget:
    """What an autoscaler scales."""
    target = hpa.spec.get("scaleTargetRef") or {}
    group = _group(str(target.get("apiVersion", "")))
    return ScaleTarget(
        hpa.metadata.namespace, group, str(target.get("kind", "")), str(target.get("name", ""))
    )


def target_of_root(namespace: str, root: Owner) -> ScaleTarget:
    """The scale target that a root controller is."""
    return ScaleTarget(namespace, _group(root.api_version), root.kind, root.name)


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]


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


class HpaKeeper:
    """Brings HorizontalPodAutoscalers in step with their plans.

    Args:
        client: where they are applied and deleted.
        metrics: counts writes.
    """

    def __init__(self, *, client: KubeClient, metrics: RecommenderMetrics) -> None:
        self._client = client
        self._metrics = metrics
        self._asked: dict[WorkloadKey, Mapping[str, Any]] = {}

    async def keep(
        self, workload: WorkloadKey, plan: HorizontalPlan, live: HorizontalPodAutoscaler | None
    ) -> None:
        """Apply or delete, if that is not how things are.

        Args:
            workload: whose autoscaler it is.
            plan: what shall be.
            live: the object of our name, as it is known.

        Raises:
            KubeError: kube-apiserver does not answer or refuses.
        """
        if plan.body is not None:
            await self._apply(workload, plan.body, live)
        elif live is not None and is_ours(live.metadata):
            await self._delete(live)

    def forget(self, hpa: WorkloadKey) -> None:
        """Make it possible to create an autoscaler again that was deleted."""
        self._asked.pop(hpa, None)

    async def _apply(
        self, workload: WorkloadKey, body: Mapping[str, Any], live: HorizontalPodAutoscaler | None
    ) -> None:
        name = hpa_key(workload)
        if (live is not None and is_up_to_date(live.metadata, body)) or self._asked.get(name) == body:
            return
        applied = await apply_politely(self._client, HPAS, body)
        self._asked[name] = body
        self._metrics.writes.labels("hpa", "written").inc()
        self._metrics.foreign_fields.labels("hpa").inc(len(applied.foreign_fields))
        logger.info("autoscaler applied", workload=str(workload), left_to_others=applied.foreign_fields)

    async def _delete(self, live: HorizontalPodAutoscaler) -> None:
        try:
            await self._client.delete(HPAS, live.metadata.name, namespace=live.metadata.namespace)
        except NotFound:
            return
        self.forget(key_of(live.metadata))
        self._metrics.writes.labels("hpa", "deleted").inc()
        logger.info("autoscaler deleted", autoscaler=str(key_of(live.metadata)))
