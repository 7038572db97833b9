"""A checkpoint cut into parts that can be stored apart, each of which says what it belongs to. Pure.

A part is MAGIC, the format's version (2 bytes), the length of the header (4 bytes), a digest of everything
else in the part (16 bytes), the header as JSON, and a piece of the payload. Numbers are little-endian.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import msgspec

from recommender.checkpoints.errors import (
    CheckpointCorrupt,
    CheckpointForeign,
    CheckpointIncomplete,
    CheckpointNewer,
)
from recommender.leadership.shards import Shard

MAGIC: Final = b"VGPUCKPT"
VERSION: Final = 2

_PREFIX: Final = struct.Struct("<8sHI16s")
_UNSIGNED: Final = bytes(16)
_MOST_PARTS: Final = 10_000


class Header(msgspec.Struct, frozen=True):
    """What each part says.

    Attributes:
        shard_index: Of which shard this is ...
        shard_count: ... and of how many.
        generation: Which of this shard's checkpoints this is.
        part: Which part of it, from 0.
        parts: How many there are.
        digest: Of the whole payload, so that parts of different checkpoints are never put together.
        contents: What the payload holds, as JSON; the same in all parts.
    """

    shard_index: int
    shard_count: int
    generation: int
    part: int
    parts: int
    digest: str
    contents: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Document:
    """A checkpoint put together.

    Attributes:
        shard: Whose it is.
        generation: Which of this shard's checkpoints it is.
        contents: What the payload holds, as JSON.
        payload: The packed columns.
    """

    shard: Shard
    generation: int
    contents: bytes
    payload: bytes


def cut(document: Document, part_bytes: int) -> tuple[bytes, ...]:
    """Cuts a checkpoint into parts of at most `part_bytes` bytes.

    Raises:
        ValueError: The header alone is longer.
    """
    digest = _digest(document.payload)
    room = part_bytes - _PREFIX.size - len(_header(document, digest, _MOST_PARTS, _MOST_PARTS))
    if room <= 0:
        raise ValueError(f"parts of {part_bytes} bytes are too short for their header")
    payload = memoryview(document.payload)
    pieces = [payload[start : start + room] for start in range(0, max(len(payload), 1), room)]
    if len(pieces) > _MOST_PARTS:
        raise ValueError(f"{len(payload)} bytes make more than {_MOST_PARTS} parts of {part_bytes}")
    return tuple(
        _signed(_header(document, digest, number, len(pieces)), piece) for number, piece in enumerate(pieces)
    )


def join(parts: Sequence[bytes]) -> Document:
    """Puts the parts of a checkpoint together; their order does not matter.

    Raises:
        CheckpointUnreadable: They are not the parts of one checkpoint, as they were written, in a format that
            this version knows.
    """
    pieces = {header.part: (header, piece) for header, piece in map(_read, parts)}
    if not pieces:
        raise CheckpointIncomplete("the checkpoint has no parts")
    first, _ = next(iter(pieces.values()))
    if set(pieces) != set(range(first.parts)) or len(parts) != first.parts:
        raise CheckpointIncomplete(f"the checkpoint has {len(parts)} of {first.parts} parts")
    if any(_common(header) != _common(first) for header, _ in pieces.values()):
        raise CheckpointCorrupt("its parts are of different checkpoints")
    payload = b"".join(pieces[number][1] for number in range(first.parts))
    if _digest(payload) != first.digest:
        raise CheckpointCorrupt("its parts together have another digest")
    return Document(_shard(first), first.generation, bytes(first.contents), payload)


def _header(document: Document, digest: str, part: int, parts: int) -> bytes:
    return msgspec.json.encode(
        Header(
            shard_index=document.shard.index,
            shard_count=document.shard.count,
            generation=document.generation,
            part=part,
            parts=parts,
            digest=digest,
            contents=msgspec.Raw(document.contents),
        )
    )


def _signed(header: bytes, piece: memoryview) -> bytes:
    part = _PREFIX.pack(MAGIC, VERSION, len(header), _UNSIGNED) + header + piece
    digest = bytes.fromhex(_digest(part))
    return part[: _PREFIX.size - len(digest)] + digest + part[_PREFIX.size :]


def _read(part: bytes) -> tuple[Header, memoryview]:
    if not part.startswith(MAGIC):
        raise CheckpointForeign(f"these {len(part)} bytes are no checkpoint")
    if len(part) < _PREFIX.size:
        raise CheckpointCorrupt("a part is cut off")
    _, version, length, digest = _PREFIX.unpack_from(part)
    if version > VERSION:
        raise CheckpointNewer(version, VERSION)
    body = memoryview(part)[_PREFIX.size :]
    unsigned = _PREFIX.pack(MAGIC, version, length, _UNSIGNED)
    if length > len(body) or bytes.fromhex(_digest(unsigned, body)) != digest:
        raise CheckpointCorrupt("a part has another digest")
    if version < VERSION:
        raise CheckpointForeign(f"the checkpoint has the former format {version}, which is no longer read")
    try:
        return msgspec.json.decode(body[:length], type=Header), body[length:]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CheckpointCorrupt(f"a part's header cannot be read: {error}") from error


def _common(header: Header) -> tuple[object, ...]:
    return (_shard(header), header.generation, header.parts, header.digest, bytes(header.contents))


def _shard(header: Header) -> Shard:
    try:
        return Shard(header.shard_index, header.shard_count)
    except ValueError as error:
        raise CheckpointCorrupt(str(error)) from error


def _digest(*pieces: bytes | memoryview) -> str:
    digest = blake2b(digest_size=len(_UNSIGNED))
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
