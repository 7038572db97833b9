"""From a pod's controller to the root controller: ReplicaSet to Deployment, Job to CronJob."""

from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

import msgspec
import structlog

from recommender.cluster.failures import in_parallel
from recommender.errors import OwnerGone
from vgpu.kube.errors import Forbidden, KubeError, NotFound
from vgpu.kube.objects import ObjectMeta, OwnerReference, PartialObject, controller_of
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
LISTED_KINDS: Final = tuple(_BETWEEN.values())
"""The kinds of which many objects are listed at once, where that is allowed."""
_KNOWN = {(kind.api_version, kind.kind): kind for kind in OWNER_KINDS}
_REVISION: Final = "deployment.kubernetes.io/revision"

# From so many lookups in a namespace on, its objects are listed: a Deployment keeps ten old ReplicaSets, and
# one of a list costs a twentieth of one that is asked for alone.
_WORTH_A_LIST: Final = 30
# Rather than send more requests than that, the objects of all namespaces are listed.
_MOST_REQUESTS: Final = 500
_LISTS_AT_ONCE: Final = 4

logger = structlog.get_logger(__name__)


class _Metadata(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    uid: str = ""
    owner_references: list[OwnerReference] | None = None


class OwnedObject(msgspec.Struct, frozen=True, gc=False):
    """Of an object only what tells whose it is: most of those that are listed are nobody's concern."""

    metadata: _Metadata = _Metadata()


@dataclass(frozen=True, slots=True)
class _Expected:
    """Objects that are to be looked up, in one namespace or, where that is empty, in any."""

    resource: ResourceType
    namespace: str
    uids: frozenset[str]


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

    async def list(
        self,
        resource: ResourceType,
        *,
        type: type[OwnedObject],  # noqa: A002 - the client's own keyword
        namespace: str | None = None,
        metadata_only: bool = False,
    ) -> tuple[list[OwnedObject], str]:
        """Read all objects of a kind."""
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
        self._listed: dict[str, Owner | None] = {}
        self._refused: set[ResourceType] = set()

    @asynccontextmanager
    async def expecting(self, owners: Iterable[tuple[str, Owner]]) -> AsyncIterator[None]:
        """Be ready for many calls of `parent_of`, as after a start: many objects are listed at once.

        Where listing fails or is not allowed, objects are read one by one, as they are where they are few.

        Args:
            owners: namespace and owner that will be asked for inside.
        """
        listed: dict[str, Owner | None] = {}
        await in_parallel(
            partial(self._list, listed=listed), self._worth_listing(owners), limit=_LISTS_AT_ONCE
        )
        self._listed |= listed
        try:
            yield
        finally:
            for uid in listed:
                self._listed.pop(uid, None)

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
            parent = await self._look_up(resource, namespace, owner)
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

    async def _look_up(self, resource: ResourceType, namespace: str, owner: Owner) -> Owner | None:
        if (listed := self._listed.get(owner.uid)) is not None:
            return listed
        found = await self._read(resource, namespace, owner)
        return controller_of(found.metadata)

    def _worth_listing(self, owners: Iterable[tuple[str, Owner]]) -> list[_Expected]:
        """What to list, so that few requests are left to be sent."""
        wanted: defaultdict[ResourceType, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for namespace, owner in owners:
            resource = _BETWEEN.get((owner.api_version, owner.kind))
            if resource is not None and resource not in self._refused and owner.uid not in self._parents:
                wanted[resource][namespace].add(owner.uid)
        return [
            expected
            for resource, namespaces in wanted.items()
            for expected in _lists_of(resource, namespaces)
        ]

    async def _list(self, expected: _Expected, *, listed: dict[str, Owner | None]) -> None:
        resource, namespace = expected.resource, expected.namespace or None
        try:
            found, _ = await self._client.list(
                resource, type=OwnedObject, namespace=namespace, metadata_only=True
            )
        except KubeError as error:
            if isinstance(error, Forbidden):
                self._refused.add(resource)
            told = {"resource": resource.full_name, "namespace": expected.namespace, "error": str(error)}
            logger.warning("owners of pods are looked up one by one", **told)
            return
        for metadata in (each.metadata for each in found):
            if metadata.uid in expected.uids:
                listed[metadata.uid] = controller_of(ObjectMeta(owner_references=metadata.owner_references))

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


def _lists_of(resource: ResourceType, wanted: Mapping[str, set[str]]) -> list[_Expected]:
    many = {namespace: uids for namespace, uids in wanted.items() if len(uids) >= _WORTH_A_LIST}
    single = sum(len(uids) for namespace, uids in wanted.items() if namespace not in many)
    if len(many) + single > _MOST_REQUESTS:
        return [_Expected(resource, "", frozenset[str]().union(*wanted.values()))]
    return [_Expected(resource, namespace, frozenset(uids)) for namespace, uids in many.items()]
