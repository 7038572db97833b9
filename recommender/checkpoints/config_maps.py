"""Checkpoints in ConfigMaps.

A shard has two slots, one for even and one for odd generations. A part of a checkpoint is a ConfigMap; part 0
is written last, and a checkpoint is there when its part 0 is. So the newest checkpoint is whole at any time,
and the one before it until the next is begun.

A part that is written names the version that it replaces, so that of two writers one is refused, at his first
request. A label that somebody puts on a part makes another version of it, too, but leaves the mark of the
checkpoint on it as it was: such a part is written over.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import msgspec

from recommender.checkpoints.errors import CheckpointConflict, CheckpointUnavailable
from recommender.checkpoints.store import Generation
from recommender.leadership.shards import Shard
from vgpu.annotations import GROUP
from vgpu.kube.client import KubeClient
from vgpu.kube.errors import AlreadyExists, Conflict, KubeError, NotFound
from vgpu.kube.objects import ConfigMap, ObjectMeta, PartialObject
from vgpu.kube.ownership import MANAGED_BY, MANAGER
from vgpu.kube.resources import CONFIG_MAPS

LABELS: Final = {MANAGED_BY: MANAGER, f"{GROUP}/checkpoint-of": "recommender"}
"""What the ConfigMaps of all shards are listed by."""

PART_BYTES: Final = 750 * 1024
"""A ConfigMap holds 1 MiB. It is sent as base64, and larger requests than 1 MiB aiohttp warns of."""

_SHARD_LABEL: Final = f"{GROUP}/checkpoint-shard"
_SLOT_LABEL: Final = f"{GROUP}/checkpoint-slot"
_MARK: Final = f"{GROUP}/checkpoint"
_KEY: Final = "part"
_NAME: Final = re.compile(r"vgpu-recommender-checkpoint-(\d+)-of-(\d+)-([ab])-(\d+)")

_PAGE: Final = 4
"""ConfigMaps read at once: some 4 MiB of JSON, and a quarter of the requests."""


class _Mark(msgspec.Struct, frozen=True):
    """The annotation of a ConfigMap: which checkpoint it is of, which of its parts, and a digest of that."""

    generation: int
    written: float
    part: int
    parts: int
    digest: str


@dataclass(frozen=True, slots=True)
class _Seen:
    """A ConfigMap as it was when we last read or wrote it.

    Attributes:
        version: kube-apiserver's, which any change makes another.
        mark: The annotation, which any recommender that writes a checkpoint makes another; None without one.
    """

    version: str
    mark: str | None

    @classmethod
    def of(cls, metadata: ObjectMeta) -> "_Seen":
        return cls(metadata.resource_version, (metadata.annotations or {}).get(_MARK))


class ConfigMapStore:
    """Keeps checkpoints in ConfigMaps of one namespace.

    Args:
        client: Its writes are to be guarded by the Lease.
        namespace: Where the ConfigMaps are.
        part_bytes: The most bytes in a ConfigMap.
    """

    def __init__(self, client: KubeClient, *, namespace: str, part_bytes: int = PART_BYTES) -> None:
        self._client = client
        self._namespace = namespace
        self._part_bytes = part_bytes
        self._seen: dict[str, _Seen] = {}

    @property
    def part_bytes(self) -> int:
        """The most bytes that a part may have."""
        return self._part_bytes

    async def generations(self) -> Sequence[Generation]:
        """All complete checkpoints there are; a single request, for metadata only."""
        with self._reaching():
            found, _ = await self._client.list(
                CONFIG_MAPS,
                type=PartialObject,
                namespace=self._namespace,
                label_selector=_selector(LABELS),
            )
        self._seen = {each.metadata.name: _Seen.of(each.metadata) for each in found}
        return [generation for each in found if (generation := _complete(each.metadata)) is not None]

    async def read(self, generation: Generation) -> Sequence[bytes]:
        """The parts of a checkpoint, as far as they are still there; a request for four of them."""
        with self._reaching():
            found, _ = await self._client.list(
                CONFIG_MAPS,
                type=ConfigMap,
                namespace=self._namespace,
                label_selector=_selector(_labels(generation)),
                page_size=_PAGE,
            )
        return [
            (each.binary_data or {}).get(_KEY, b"")
            for each in found
            if (mark := _mark_of(each.metadata)) is not None
            and (mark.generation, mark.written) == (generation.number, generation.written)
        ]

    async def write(self, generation: Generation, parts: Sequence[bytes]) -> None:
        """Stores a checkpoint in the older slot, a request for each part; removes parts left over there."""
        with self._reaching():
            for number in (*range(1, len(parts)), 0):
                mark = _mark(generation, number, parts)
                await self._put(_name(generation, number), _labels(generation), mark, parts[number])
            number = len(parts)
            while (name := _name(generation, number)) in self._seen:
                await self._delete(name)
                number += 1

    async def remove(self, shard: Shard) -> None:
        """Removes all checkpoints of a shard; what makes them complete goes first."""
        found = [match for name in self._seen if (match := _NAME.fullmatch(name))]
        with self._reaching():
            for match in sorted(found, key=lambda match: int(match[4])):
                if (int(match[1]), int(match[2])) == (shard.index, shard.count):
                    await self._delete(match[0])

    async def _put(self, name: str, labels: dict[str, str], mark: _Mark, part: bytes) -> None:
        written = msgspec.json.encode(mark).decode()
        metadata = {"name": name, "labels": labels, "annotations": {_MARK: written}}
        body = {
            "apiVersion": CONFIG_MAPS.api_version,
            "kind": CONFIG_MAPS.kind,
            "metadata": metadata,
            "binaryData": {_KEY: part},
        }
        try:
            version = await self._create_or_replace(name, body)
        except (Conflict, AlreadyExists) as error:
            version = await self._version_despite(error, name, body)
        self._seen[name] = _Seen(version, written)

    async def _create_or_replace(self, name: str, body: dict[str, Any]) -> str:
        """Writes over the version that we know; returns the new one."""
        if (seen := self._seen.get(name)) is not None:
            metadata = {**body["metadata"], "resourceVersion": seen.version}
            # A person may have removed it in the meantime.
            with suppress(NotFound):
                answer = await self._client.replace(
                    CONFIG_MAPS, name, {**body, "metadata": metadata}, namespace=self._namespace
                )
                return str(answer["metadata"]["resourceVersion"])
        answer = await self._client.create(CONFIG_MAPS, body, namespace=self._namespace)
        return str(answer["metadata"]["resourceVersion"])

    async def _version_despite(self, error: KubeError, name: str, body: dict[str, Any]) -> str:
        """The version of a part that was refused, which is no harm where no other recommender wrote it.

        It is what we want to write where an answer of ours was lost. It still has the mark that we know where
        somebody has only touched it, and is then written once more.

        Raises:
            CheckpointConflict: Somebody else wrote it, or does not cease to touch it.
        """
        before = self._seen.get(name)
        try:
            live = await self._client.get(CONFIG_MAPS, name, namespace=self._namespace, type=PartialObject)
            found = _Seen.of(live.metadata)
            if found.mark == body["metadata"]["annotations"][_MARK]:
                return found.version
            if before is not None and found.mark == before.mark:
                self._seen[name] = found
                return await self._create_or_replace(name, body)
        except (Conflict, AlreadyExists, NotFound) as again:
            error = again
        raise CheckpointConflict(f"ConfigMap {self._namespace}/{name}") from error

    async def _delete(self, name: str) -> None:
        with suppress(NotFound):  # another shard may clean up, too
            await self._client.delete(CONFIG_MAPS, name, namespace=self._namespace)
        self._seen.pop(name, None)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except KubeError as error:
            raise CheckpointUnavailable(
                f"checkpoints in ConfigMaps of namespace {self._namespace} cannot be used: {error}"
            ) from error


def _selector(labels: dict[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())


def _labels(generation: Generation) -> dict[str, str]:
    return {**LABELS, _SHARD_LABEL: str(generation.shard), _SLOT_LABEL: _slot(generation)}


def _slot(generation: Generation) -> str:
    return "ab"[generation.number % 2]


def _name(generation: Generation, part: int) -> str:
    return f"vgpu-recommender-checkpoint-{generation.shard}-{_slot(generation)}-{part}"


def _mark(generation: Generation, part: int, parts: Sequence[bytes]) -> _Mark:
    digest = blake2b(parts[part], digest_size=16).hexdigest()
    return _Mark(generation.number, generation.written, part, len(parts), digest)


def _mark_of(metadata: ObjectMeta) -> _Mark | None:
    try:
        return msgspec.json.decode((metadata.annotations or {}).get(_MARK, ""), type=_Mark)
    except msgspec.MsgspecError:  # not ours, or a later version's: it is as if it were not there
        return None


def _complete(metadata: ObjectMeta) -> Generation | None:
    """The checkpoint that a part 0 stands for; None for any other ConfigMap."""
    match, mark = _NAME.fullmatch(metadata.name), _mark_of(metadata)
    if match is None or mark is None or int(match[4]) != 0 or int(match[1]) >= int(match[2]):
        return None
    return Generation(Shard(int(match[1]), int(match[2])), mark.generation, mark.written)
