"""Publishes what was decided about a workload: its HorizontalPodAutoscaler, its status, its metrics."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from recommender.cluster.claims import Claims, target_of_root
from recommender.cluster.pods import PodIndex, newest
from recommender.cluster.view import Cluster
from recommender.decisions.status import (
    HORIZONTAL_SCALING,
    Condition,
    configuration_condition,
    find_condition,
    wanted_status,
)
from recommender.decisions.verdicts import Verdict
from recommender.figures.table import WorkloadFigures
from recommender.keys import WorkloadKey, key_of
from recommender.publishing.applied import count_applied
from recommender.publishing.autoscalers import HpaKeeper
from recommender.publishing.horizontal import (
    HorizontalDefaults,
    HorizontalPlan,
    Neighbours,
    horizontal_condition,
    hpa_key,
    plan_horizontal,
)
from recommender.publishing.publisher import InStep, StatusPublisher
from recommender.publishing.urgency import Due, is_urgent
from vgpu.api import WorkloadSpec
from vgpu.kube.errors import KubeError
from vgpu.kube.objects import CustomObject, controller_of
from vgpu.naming import Owner
from vgpu.schedule import Rule
from vgpu.slices import VgpuSlice

_OFF: Final = horizontal_condition("Disabled", "auto-replicas is off")

Rejudge = Callable[[CustomObject], Verdict]


class Reporter:
    """Makes a verdict visible, and writes only what differs from what is there.

    Args:
        cluster: the local copy of the cluster.
        pods: the gated pods by workload.
        claims: decides which of several workloads scales a root controller.
        hpas: applies and deletes HorizontalPodAutoscalers.
        publisher: writes status.
        figures: shows recommendations and estimates.
        defaults: what a HorizontalPodAutoscaler gets where its workload says nothing.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        pods: PodIndex,
        claims: Claims,
        hpas: HpaKeeper,
        publisher: StatusPublisher,
        figures: WorkloadFigures,
        defaults: HorizontalDefaults,
    ) -> None:
        self._cluster = cluster
        self._pods = pods
        self._claims = claims
        self._hpas = hpas
        self._publisher = publisher
        self._figures = figures
        self._defaults = defaults

    def claim(self, live: CustomObject) -> None:
        """Take note of what a workload would scale; all of a pass claim before the first one is reported."""
        key, root = key_of(live.metadata), self._root(live)
        if root is None:
            self._claims.forget(key)
        else:
            self._claims.claim(key, target_of_root(key.namespace, root))

    def compare(
        self, live: CustomObject, verdict: Verdict, *, problems: Sequence[str], now: float
    ) -> InStep | Due:
        """Hold a workload, which has claimed, against a verdict: nothing is written.

        Args:
            live: the workload that was judged.
            verdict: what was found out about it.
            problems: what is wrong with its template or profile.
            now: seconds since the epoch.

        Returns:
            Its status, where everything about it is in step.
        """
        plan = self._planned(live, verdict)
        if plan is not None:
            key = key_of(live.metadata)
            hpa = self._cluster.hpas.get(*hpa_key(key))
            if self._hpas.is_due(key, plan, hpa):
                return Due(urgent=True)
            refusal = self._hpas.refusal(key, plan, hpa)
            plan = plan if refusal is None else HorizontalPlan(None, _failed(refusal))
        wanted = self._wanted(live, verdict, plan or HorizontalPlan(None, None), problems, now)
        found = self._publisher.compare(live, wanted, now)
        return found if isinstance(found, InStep) else Due(urgent=is_urgent(live.status, found))

    async def report(
        self, live: CustomObject, verdict: Verdict, *, rejudge: Rejudge, problems: Sequence[str], now: float
    ) -> None:
        """Bring everything about one workload, which has claimed, in step with a verdict.

        Args:
            live: the workload that was judged.
            verdict: what was found out about it.
            rejudge: makes the verdict on a newer version, after a conflict.
            problems: what is wrong with its template or profile.
            now: seconds since the epoch.

        Raises:
            KubeError: kube-apiserver does not answer or refuses.
        """
        plan, failure = await self._scale(live, verdict)

        def compose(newest: CustomObject) -> Mapping[str, Any]:
            latest = verdict if newest is live else rejudge(newest)
            return self._wanted(newest, latest, plan, problems, now)

        await self._publisher.publish(live, compose, now)
        if failure is not None:
            raise failure

    def latest(self, live: CustomObject) -> CustomObject:
        """A workload with our own last write in it, which the watch may not have brought yet."""
        return self._publisher.latest(live)

    def seen(self, key: WorkloadKey) -> None:
        """The watch has brought another version of a workload."""
        self._publisher.seen(key)

    def deleted_hpa(self, key: WorkloadKey) -> None:
        """Somebody has deleted a HorizontalPodAutoscaler: if it was ours and is wanted, it comes back."""
        self._hpas.forget(key)

    def forget(self, key: WorkloadKey) -> None:
        """Drop a workload that is no more."""
        self._publisher.forget(key)
        self._claims.forget(key)
        self._figures.forget(key)

    async def _scale(self, live: CustomObject, verdict: Verdict) -> tuple[HorizontalPlan, KubeError | None]:
        """Bring the autoscaler in step; what goes wrong there must not hold up the recommendation."""
        key, plan = key_of(live.metadata), self._planned(live, verdict)
        if plan is None:
            return HorizontalPlan(None, None), None
        try:
            refusal = await self._hpas.keep(key, plan, self._cluster.hpas.get(*hpa_key(key)))
        except KubeError as error:
            return HorizontalPlan(None, _failed(str(error))), error
        return plan if refusal is None else HorizontalPlan(None, _failed(refusal)), None

    def _planned(self, live: CustomObject, verdict: Verdict) -> HorizontalPlan | None:
        spec, rule = verdict.configuration.spec, verdict.configuration.rule
        if spec is None:
            return None
        return self._plan(key_of(live.metadata), self._root(live), spec, rule)

    def _wanted(
        self,
        live: CustomObject,
        verdict: Verdict,
        plan: HorizontalPlan,
        problems: Sequence[str],
        now: float,
    ) -> Mapping[str, Any]:
        applied = self._applied(live, verdict)
        self._show(key_of(live.metadata), verdict, applied)
        conditions = _conditions(live, verdict, plan, problems)
        return wanted_status(live, verdict, applied=applied, conditions=conditions, now=now)

    def _root(self, live: CustomObject) -> Owner | None:
        pod = newest(self._pods.of(key_of(live.metadata)))
        # A workload that a person has made has no owner: what its pods belong to is what counts.
        return pod.root if pod is not None else controller_of(live.metadata)

    def _plan(
        self, key: WorkloadKey, root: Owner | None, spec: WorkloadSpec, rule: Rule | None
    ) -> HorizontalPlan:
        return plan_horizontal(
            workload=key,
            root=root,
            spec=spec,
            floor=rule.desired_replicas if rule is not None else None,
            neighbours=self._neighbours(key, root),
            defaults=self._defaults,
        )

    def _neighbours(self, key: WorkloadKey, root: Owner | None) -> Neighbours:
        if root is None:
            return Neighbours()
        target = target_of_root(key.namespace, root)
        winner = self._claims.winner(target)
        return Neighbours(
            workload=winner if winner != key else None,
            autoscalers=self._cluster.autoscalers_of(target),
            scaled_objects=self._cluster.scaled_objects_of(target),
            namesake=self._cluster.hpas.get(*hpa_key(key)),
        )

    def _applied(self, live: CustomObject, verdict: Verdict) -> int:
        spec = verdict.configuration.spec
        if spec is None:
            return int(live.status.get("appliedRecommendedReplicas") or 0)
        return count_applied(
            self._pods.of(key_of(live.metadata)),
            spec=spec,
            recommendation=verdict.recommendation,
            rule=verdict.configuration.rule,
            card=self._cluster.cap(spec.gpu_model, spec.resources.requests),
        )

    def _show(self, key: WorkloadKey, verdict: Verdict, applied: int) -> None:
        spec, rule = verdict.configuration.spec, verdict.configuration.rule
        self._figures.show(
            key,
            own=spec.resources if spec is not None else VgpuSlice(),
            recommendation=verdict.recommendation,
            rule=rule.name if rule is not None else None,
            applied=applied,
            waiting=verdict.waiting is not None,
        )


def _conditions(
    live: CustomObject, verdict: Verdict, plan: HorizontalPlan, problems: Sequence[str]
) -> list[Condition]:
    configuration = verdict.configuration
    return [
        *configuration_condition(live.status, [*problems, *configuration.problems]),
        *_horizontal_condition(live.status, plan, configuration.spec),
    ]


def _failed(reason: str) -> Condition:
    return horizontal_condition("AutoscalerFailed", reason)


def _horizontal_condition(
    status: Mapping[str, Any], plan: HorizontalPlan, spec: WorkloadSpec | None
) -> list[Condition]:
    if plan.condition is not None:
        return [plan.condition]
    told = find_condition(status, HORIZONTAL_SCALING)
    return [_OFF] if told is not None and spec is not None else []
