"""Evicts a pod: a last look at its root controller, and one request."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec
import structlog

from recommender.errors import NotLeader
from recommender.updating.members import Member
from recommender.updating.planning import EVICTABLE_KINDS
from recommender.updating.reasons import Reason
from vgpu.kube.client import KubeClient
from vgpu.kube.errors import ApiUnreachable, Conflict, Forbidden, KubeError, NotFound, Throttled
from vgpu.kube.objects import ObjectMeta
from vgpu.kube.resources import REPLICA_SETS

# In the message of the 429 by which a PodDisruptionBudget says no; too many requests are told with 429, too.
_BUDGET: Final = "disruption budget"

logger = structlog.get_logger(__name__)


class Outcome(StrEnum):
    """What becomes of an eviction; the value is a label in /metrics."""

    EVICTED = "evicted"
    GONE = "gone"
    HELD = "held"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Result:
    """What has become of one eviction.

    Attributes:
        outcome: what counts in /metrics.
        reason: why it was not done; None where it was, or where the pod is gone.
        retry_after: seconds that kube-apiserver wants us to wait, if it says so.
    """

    outcome: Outcome
    reason: Reason | None = None
    retry_after: float | None = None


class _RootSpec(msgspec.Struct, frozen=True, rename="camel"):
    replicas: int | None = None


class _RootStatus(msgspec.Struct, frozen=True, rename="camel"):
    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    available_replicas: int = 0


class Root(msgspec.Struct, frozen=True, rename="camel"):
    """A Deployment, ReplicaSet or StatefulSet, as far as it tells of a rollout."""

    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: _RootSpec = _RootSpec()
    status: _RootStatus = _RootStatus()

    @property
    def replicas(self) -> int:
        """How many pods there shall be."""
        return 1 if self.spec.replicas is None else self.spec.replicas

    @property
    def at_rest(self) -> bool:
        """Whether all pods are there, and all are of the newest template."""
        status = self.status
        if status.observed_generation < self.metadata.generation or status.replicas != self.replicas:
            return False
        # A ReplicaSet has one template for all.
        return self.kind == REPLICA_SETS.kind or status.updated_replicas == self.replicas

    def held(self, member: Member, *, present: int, single_allowed: bool) -> Reason | None:
        """Why a pod of its own is not evicted now.

        Args:
            member: the pod.
            present: how many pods of its own there are, by the watch: its status may be old.
            single_allowed: whether its only pod may be evicted.
        """
        metadata = self.metadata
        if metadata.uid != member.root.uid or metadata.deletion_timestamp is not None or not self.at_rest:
            return Reason.ROLLOUT
        if present < self.replicas:  # nobody makes new ones, or nobody has told of them yet
            return Reason.REPLACEMENT
        if self.replicas < 2 and not single_allowed:
            return Reason.SINGLE_REPLICA
        # It may have pods that are another workload's, and counts only those that are Ready for long enough.
        whole = not member.ready or self.status.available_replicas >= self.replicas
        return None if whole else Reason.NOT_READY


class Evictor:
    """Evicts pods through the Eviction API alone, so that PodDisruptionBudgets hold.

    Args:
        client: writes only while this replica leads.
    """

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def held(
        self, namespace: str, member: Member, *, present: int, single_allowed: bool
    ) -> Result | None:
        """What stands against evicting a pod now, by its root controller as it is; None for nothing.

        Args:
            namespace: where the pod is.
            member: which one.
            present: how many pods of its root there are.
            single_allowed: whether it may be the only one.
        """
        try:
            root = await self._root(namespace, member)
        except NotFound:
            return Result(Outcome.GONE)
        except KubeError as error:
            return _failed(error, namespace, member)
        reason = root.held(member, present=present, single_allowed=single_allowed)
        return Result(Outcome.HELD, reason) if reason is not None else None

    async def evict(self, namespace: str, member: Member) -> Result:
        """Evict one pod.

        Args:
            namespace: where it is.
            member: which one.

        Raises:
            NotLeader: this replica may write no more.
        """
        try:
            await self._client.evict(member.name, namespace=namespace, uid=member.uid)
        except NotLeader:
            raise
        except (NotFound, Conflict):
            return Result(Outcome.GONE)
        except Throttled as error:
            reason = Reason.BUDGET if _BUDGET in error.message else Reason.FAILED
            return Result(Outcome.REFUSED, reason, error.retry_after)
        except ApiUnreachable as error:  # it may have been done all the same
            logger.warning(
                "nobody knows whether a pod was evicted", **_told(namespace, member), error=str(error)
            )
            return Result(Outcome.UNKNOWN)
        except KubeError as error:
            return _failed(error, namespace, member)
        logger.info("pod evicted, to be made anew with what is recommended", **_told(namespace, member))
        return Result(Outcome.EVICTED)

    async def _root(self, namespace: str, member: Member) -> Root:
        resource = EVICTABLE_KINDS[member.root.api_version, member.root.kind]
        return await self._client.get(resource, member.root.name, namespace=namespace, type=Root)


def _failed(error: KubeError, namespace: str, member: Member) -> Result:
    forbidden = isinstance(error, Forbidden)
    logger.warning("pod cannot be evicted", **_told(namespace, member), error=str(error))
    return Result(Outcome.FAILED, Reason.FORBIDDEN if forbidden else Reason.FAILED)


def _told(namespace: str, member: Member) -> dict[str, str]:
    return {"namespace": namespace, "pod": member.name}
