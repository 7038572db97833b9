"""From a pod's controller to the root controller: ReplicaSet to Deployment, Job to CronJob."""

from collections import OrderedDict
from typing import Final, Protocol

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
OWNER_KINDS: Final = (REPLICA_SETS, JOBS, DEPLOYMENTS, STATEFUL_SETS, DAEMON_SETS, CRON_JOBS)
"""The kinds of which single objects are read."""
_KNOWN = {(kind.api_version, kind.kind): kind for kind in OWNER_KINDS}
_REVISION: Final = "deployment.kubernetes.io/revision"


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
    """Finds root controllers, and remembers what it found until an owner turns out to be gone.

    Owners hardly ever change: when a Deployment is deleted with `--cascade=orphan`, its ReplicaSets go to the
    next one that selects them. So a ReplicaSet without an owner is one that may still get one.

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
            parent = controller_of(found.metadata)
            if parent is None and resource is REPLICA_SETS:
                return None
            self._remember(owner.uid, parent)
        self._parents.move_to_end(owner.uid)
        return self._parents[owner.uid]

    async def revision_of(self, namespace: str, owner: Owner) -> int:
        """Which of a Deployment's templates a ReplicaSet stands for: the highest is the Deployment's own.

        It is read anew every time, since a rollback gives an old ReplicaSet a new number. What has no number,
        or is gone, counts as 0.

        Raises:
            KubeError: kube-apiserver does not answer or says no.
        """
        if _BETWEEN.get((owner.api_version, owner.kind)) is not REPLICA_SETS:
            return 0
        try:
            found = await self._read(REPLICA_SETS, namespace, owner)
        except OwnerGone:
            return 0
        written = (found.metadata.annotations or {}).get(_REVISION, "")
        return int(written) if written.isdecimal() else 0

    async def require(self, namespace: str, owner: Owner) -> None:
        """See to it that an owner still stands: what is given to a dead one is collected at once.

        What was remembered of one that is gone is dropped, so that its former dependents are looked up anew.
        Kinds that are not Kubernetes' own are taken on trust, since the recommender may not read them.

        Raises:
            OwnerGone: it is not there any more or is being deleted.
            KubeError: kube-apiserver does not answer or says no.
        """
        resource = _KNOWN.get((owner.api_version, owner.kind))
        if resource is None:
            return
        try:
            found = await self._read(resource, namespace, owner)
        except OwnerGone:
            self._forget_dependents(owner)
            raise
        if found.metadata.deletion_timestamp is not None:
            self._forget_dependents(owner)
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

    def _forget_dependents(self, owner: Owner) -> None:
        for uid in [uid for uid, parent in self._parents.items() if parent == owner]:
            del self._parents[uid]

    def _remember(self, uid: str, parent: Owner | None) -> None:
        self._parents[uid] = parent
        if len(self._parents) > self._capacity:
            self._parents.popitem(last=False)
