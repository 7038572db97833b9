"""From a pod's controller to the root controller: ReplicaSet to Deployment, Job to CronJob."""

from collections import OrderedDict
from typing import Protocol

from recommender.errors import OwnerGone
from vgpu.kube.errors import NotFound
from vgpu.kube.objects import PartialObject, controller_of
from vgpu.kube.resources import (
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    JOBS,
    REPLICA_SETS,
    STATEFUL_SETS,
    ResourceType,
)
from vgpu.naming import Owner

# Kinds between a pod and its root controller. Only these are looked up for every pod.
_BETWEEN = {(kind.api_version, kind.kind): kind for kind in (REPLICA_SETS, JOBS)}
_KNOWN = _BETWEEN | {
    (kind.api_version, kind.kind): kind for kind in (DEPLOYMENTS, STATEFUL_SETS, DAEMON_SETS, CRON_JOBS)
}


class MetadataReader(Protocol):
    """The part of the Kubernetes client that is needed here."""

    async def get(
        self,
        resource: ResourceType,
        name: str,
        *,
        namespace: str | None = None,
        type: type[PartialObject],  # noqa: A002 - the client's own keyword
        metadata_only: bool = False,
    ) -> PartialObject:
        """Read one object."""
        ...


class OwnerLookup:
    """Finds root controllers, and remembers what it found: owners of ReplicaSets and Jobs do not change.

    Args:
        client: reads metadata from kube-apiserver.
        capacity: how many answers are kept; the least recently used goes first.
    """

    def __init__(self, client: MetadataReader, *, capacity: int = 20_000) -> None:
        self._client = client
        self._capacity = capacity
        self._parents: OrderedDict[str, Owner | None] = OrderedDict()

    async def parent_of(self, namespace: str, owner: Owner) -> Owner | None:
        """The controller of a ReplicaSet or a Job; None for other kinds and for one that has none.

        Raises:
            OwnerGone: it is not there any more, or another one has taken its name.
            KubeError: kube-apiserver does not answer or says no.
        """
        resource = _BETWEEN.get((owner.api_version, owner.kind))
        if resource is None:
            return None
        if owner.uid not in self._parents:
            found = await self._read(resource, namespace, owner)
            self._remember(owner.uid, controller_of(found.metadata))
        self._parents.move_to_end(owner.uid)
        return self._parents[owner.uid]

    async def root_of(self, namespace: str, controller: Owner) -> Owner:
        """The topmost controller above a pod that this lookup knows of.

        Raises:
            OwnerGone, KubeError: as in `parent_of`.
        """
        return await self.parent_of(namespace, controller) or controller

    async def require(self, namespace: str, owner: Owner) -> None:
        """See to it that an owner still stands: what is given to a dead one is collected at once.

        Kinds that are not Kubernetes' own are taken on trust, since the recommender may not read them.

        Raises:
            OwnerGone: it is not there any more or is being deleted.
            KubeError: kube-apiserver does not answer or says no.
        """
        resource = _KNOWN.get((owner.api_version, owner.kind))
        if resource is None:
            return
        found = await self._read(resource, namespace, owner)
        if found.metadata.deletion_timestamp is not None:
            raise OwnerGone(namespace, owner)

    async def _read(self, resource: ResourceType, namespace: str, owner: Owner) -> PartialObject:
        try:
            found = await self._client.get(
                resource, owner.name, namespace=namespace, type=PartialObject, metadata_only=True
            )
        except NotFound as error:
            raise OwnerGone(namespace, owner) from error
        if found.metadata.uid != owner.uid:
            raise OwnerGone(namespace, owner)
        return found

    def _remember(self, uid: str, parent: Owner | None) -> None:
        self._parents[uid] = parent
        if len(self._parents) > self._capacity:
            self._parents.popitem(last=False)
