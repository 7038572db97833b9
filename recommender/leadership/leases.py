"""One shard's Lease as kube-apiserver stores it, beside those of all other shards."""

import asyncio
import math
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from recommender.errors import MissingNamespace
from recommender.leadership.shards import Shard
from vgpu.annotations import GROUP
from vgpu.kube.client import KubeClient
from vgpu.kube.errors import ApiUnreachable, BadAnswer, NotFound
from vgpu.kube.objects import Lease
from vgpu.kube.ownership import MANAGED_BY, MANAGER
from vgpu.kube.resources import LEASES

LABELS: Final = {MANAGED_BY: MANAGER, f"{GROUP}/lease-of": "recommender"}
"""What the Leases of all shards are listed by."""
_SELECTOR: Final = ",".join(f"{key}={value}" for key, value in LABELS.items())
_NAME: Final = re.compile(r"vgpu-recommender-(\d+)-of-(\d+)")


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """How long a Lease is good for, in seconds; as in client-go, which has 15, 10 and 2.

    Attributes:
        duration: for how long after a sign of life nobody else takes a Lease.
        renew_deadline: for how long after a renewal its holder goes on without another; less than `duration`.
        retry: how often a Lease is renewed, or tried for.
    """

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry: float = 2.0

    @property
    def patience(self) -> float:
        """For how long a request is waited for: two of them must fit in before a holder gives up."""
        return self.renew_deadline / 2


def lease_name(shard: Shard) -> str:
    """The name of a shard's Lease."""
    return f"vgpu-recommender-{shard}"


def shard_of(lease: Lease) -> Shard | None:
    """The shard whose Lease it is; None where it is none of a shard's."""
    found = _NAME.fullmatch(lease.metadata.name)
    if found is None or int(found[1]) >= int(found[2]):
        return None
    return Shard(int(found[1]), int(found[2]))


class LeaseStore:
    """Reads and writes of a shard's Lease; each is waited for so long and no longer.

    Args:
        client: the connection to kube-apiserver.
        namespace: where the Leases live.
        shard: whose Lease it is.
        identity: who wants to hold it: no other process may ever have the same.
        timing: what stands in the Lease, and how long to wait.
        wall: seconds since the epoch, for people to read: nobody reckons with them.
    """

    def __init__(
        self,
        *,
        client: KubeClient,
        namespace: str,
        shard: Shard,
        identity: str,
        timing: LeaseTiming,
        wall: Callable[[], float],
    ) -> None:
        self.shard = shard
        self.identity = identity
        self.timing = timing
        self._client = client
        self._namespace = namespace
        self._wall = wall

    @property
    def name(self) -> str:
        """The Lease's name."""
        return lease_name(self.shard)

    async def read(self) -> Lease | None:
        """The Lease as it is now; None when there is none."""
        try:
            async with self._in_time("read"):
                return await self._client.get(LEASES, self.name, namespace=self._namespace, type=Lease)
        except NotFound:
            return None

    async def of_all_shards(self) -> list[tuple[Shard, Lease]]:
        """All shards' Leases, of whatever count of shards."""
        async with self._in_time("list"):
            leases, _ = await self._client.list(
                LEASES, type=Lease, namespace=self._namespace, label_selector=_SELECTOR
            )
        return [(shard, lease) for lease in leases if (shard := shard_of(lease)) is not None]

    async def claim(self, live: Lease | None) -> Lease:
        """Take or renew the Lease, which must still be as it was read; the Lease as it is then.

        Raises:
            Conflict, AlreadyExists: somebody else has written it meanwhile.
            NotFound: it was there and is gone.
            MissingNamespace: there is no place for it.
        """
        if live is None:
            return await self._create()
        mine = live.spec.holder_identity == self.identity
        now = self._now()
        return await self._replace(
            live,
            {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": self._seconds,
                "acquireTime": (live.spec.acquire_time or now) if mine else now,
                "renewTime": now,
                "leaseTransitions": (live.spec.lease_transitions or 0) + (0 if mine else 1),
            },
        )

    async def release(self, live: Lease) -> None:
        """Let go of the Lease, so that the next may take it at once; Conflict when it has been written to."""
        now = self._now()
        spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "acquireTime": now, "renewTime": now}
        await self._replace(live, {**spec, "leaseTransitions": live.spec.lease_transitions or 0})

    async def remove(self, lease: Lease, *, check: Callable[[], None]) -> None:
        """Delete a Lease that nobody will want again, if `check` still lets it be."""
        try:
            async with self._in_time("delete"):
                await self._client.guarded(check).delete(
                    LEASES, lease.metadata.name, namespace=self._namespace
                )
        except NotFound:
            return

    @property
    def _seconds(self) -> int:
        """The duration as a Lease can say it: never less than it is."""
        return math.ceil(self.timing.duration)

    def _now(self) -> str:
        return datetime.fromtimestamp(self._wall(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    async def _create(self) -> Lease:
        now = self._now()
        body = self._body(
            {"name": self.name, "labels": LABELS},
            {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": self._seconds,
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        )
        try:
            async with self._in_time("create"):
                answer = await self._client.create(LEASES, body, namespace=self._namespace)
        except NotFound as error:  # the type is always served, so it is the namespace
            raise MissingNamespace(self._namespace, f"Lease {self.name}") from error
        return self._stored(answer)

    async def _replace(self, live: Lease, spec: dict[str, Any]) -> Lease:
        metadata = {
            "name": self.name,
            "resourceVersion": live.metadata.resource_version,
            "labels": {**(live.metadata.labels or {}), **LABELS},
            "annotations": live.metadata.annotations or {},
        }
        async with self._in_time("replace"):
            answer = await self._client.replace(
                LEASES, self.name, self._body(metadata, spec), namespace=self._namespace
            )
        return self._stored(answer)

    def _stored(self, answer: Mapping[str, Any]) -> Lease:
        try:
            return msgspec.convert(answer, Lease)
        except msgspec.ValidationError as error:
            raise BadAnswer("PUT", LEASES.path(self._namespace, self.name), str(error)) from error

    @staticmethod
    def _body(metadata: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
        return {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}

    @asynccontextmanager
    async def _in_time(self, verb: str) -> AsyncIterator[None]:
        patience = self.timing.patience
        try:
            async with asyncio.timeout(patience):
                yield
        except TimeoutError as error:
            reason = f"{verb} of Lease {self._namespace}/{self.name}: nothing within {patience:g} seconds"
            raise ApiUnreachable(self._client.server, reason) from error


class SignsOfLife:
    """Tells by the own monotonic clock until when the holders of Leases are to be waited for.

    A holder's clock may be wrong, so the times in a Lease are not looked at. Any change of a Lease is a sign
    of life, reckoned from when it was first seen, which is later than it was made: nobody is given up early.

    Args:
        clock: seconds on a monotonic clock.
        duration: seconds to wait where a Lease does not say how many.
    """

    def __init__(self, *, clock: Callable[[], float], duration: float) -> None:
        self._clock = clock
        self._duration = duration
        self._seen: dict[str, tuple[tuple[str, str], float]] = {}

    def note(self, leases: Iterable[Lease]) -> None:
        """Remember when these Leases were first seen as they are, and forget all others."""
        now = self._clock()
        seen = {}
        for lease in leases:
            version = (lease.metadata.uid, lease.metadata.resource_version)
            before = self._seen.get(lease.metadata.name)
            seen[lease.metadata.name] = before if before and before[0] == version else (version, now)
        self._seen = seen

    def end_of(self, lease: Lease) -> float:
        """Until when a noted Lease's holder is waited for; minus infinity where it has none."""
        if not lease.spec.holder_identity:
            return -math.inf
        _, at = self._seen[lease.metadata.name]
        return at + (lease.spec.lease_duration_seconds or self._duration)
