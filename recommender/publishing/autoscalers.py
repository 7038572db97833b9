"""Applies and deletes HorizontalPodAutoscalers, so that they are as planned."""

from collections.abc import Mapping
from typing import Any

import structlog

from recommender.keys import WorkloadKey, key_of
from recommender.metrics import RecommenderMetrics
from recommender.publishing.applying import apply_politely, is_up_to_date
from recommender.publishing.horizontal import HorizontalPlan, hpa_key
from vgpu.kube.client import KubeClient
from vgpu.kube.errors import Conflict, Invalid, NotFound
from vgpu.kube.objects import HorizontalPodAutoscaler
from vgpu.kube.ownership import is_ours
from vgpu.kube.resources import HPAS

logger = structlog.get_logger(__name__)


class HpaKeeper:
    """Brings HorizontalPodAutoscalers in step with their plans.

    Args:
        client: where they are applied and deleted.
        metrics: counts writes.
    """

    def __init__(self, *, client: KubeClient, metrics: RecommenderMetrics) -> None:
        self._client = client
        self._metrics = metrics
        # What was asked of kube-apiserver last, and its refusal if it refused: neither is asked twice.
        self._asked: dict[WorkloadKey, tuple[Mapping[str, Any], str | None]] = {}

    async def keep(
        self, workload: WorkloadKey, plan: HorizontalPlan, live: HorizontalPodAutoscaler | None
    ) -> str | None:
        """Apply or delete, if that is not how things are.

        Args:
            workload: whose autoscaler it is.
            plan: what shall be.
            live: the object of our name, as it is known.

        Returns:
            Why kube-apiserver refuses what is planned, where asking again could not help.

        Raises:
            KubeError: kube-apiserver does not answer, or refuses for now.
        """
        if self.is_due(workload, plan, live):
            for unwanted in plan.unwanted:
                await self._delete(unwanted)
            if plan.body is None and live is not None and is_ours(live.metadata):
                await self._delete(live)
            if plan.body is not None and not self._is_asked(workload, plan.body, live):
                self._asked[hpa_key(workload)] = plan.body, await self._apply(workload, plan.body)
        return self.refusal(workload, plan, live)

    def is_due(
        self, workload: WorkloadKey, plan: HorizontalPlan, live: HorizontalPodAutoscaler | None
    ) -> bool:
        """Whether there is anything to apply or delete."""
        if plan.unwanted:
            return True
        if plan.body is None:
            return live is not None and is_ours(live.metadata)
        return not self._is_asked(workload, plan.body, live)

    def refusal(
        self, workload: WorkloadKey, plan: HorizontalPlan, live: HorizontalPodAutoscaler | None
    ) -> str | None:
        """Why kube-apiserver has refused what is planned, where asking again could not help."""
        if plan.body is None or (live is not None and is_up_to_date(live.metadata, plan.body)):
            return None
        asked = self._asked.get(hpa_key(workload))
        return asked[1] if asked is not None and asked[0] == plan.body else None

    def _is_asked(
        self, workload: WorkloadKey, body: Mapping[str, Any], live: HorizontalPodAutoscaler | None
    ) -> bool:
        if live is not None and is_up_to_date(live.metadata, body):
            return True
        asked = self._asked.get(hpa_key(workload))
        return asked is not None and asked[0] == body

    def forget(self, hpa: WorkloadKey) -> None:
        """Make it possible to create an autoscaler again that was deleted."""
        self._asked.pop(hpa, None)

    async def _apply(self, workload: WorkloadKey, body: Mapping[str, Any]) -> str | None:
        try:
            applied = await apply_politely(self._client, HPAS, body)
        except (Invalid, Conflict) as error:
            self._metrics.writes.labels("hpa", "invalid").inc()
            logger.warning("autoscaler refused", workload=str(workload), error=str(error))
            return str(error)
        self._metrics.writes.labels("hpa", "written").inc()
        self._metrics.foreign_fields.labels("hpa").inc(len(applied.foreign_fields))
        logger.info("autoscaler applied", workload=str(workload), left_to_others=applied.foreign_fields)
        return None

    async def _delete(self, live: HorizontalPodAutoscaler) -> None:
        self.forget(key_of(live.metadata))
        try:
            await self._client.delete(HPAS, live.metadata.name, namespace=live.metadata.namespace)
        except NotFound:
            return
        self._metrics.writes.labels("hpa", "deleted").inc()
        logger.info("autoscaler deleted", autoscaler=str(key_of(live.metadata)))
