"""UIDs of pods in as few bytes as they need. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, eq=False)
class CompactUids:
    """UIDs of m pods, k of them UUIDs as kube-apiserver writes them.

    Attributes:
        known: Which are UUIDs, shape (m,).
        uuids: These, shape (k, 16).
        others: The rest of them, as they are.
    """

    known: npt.NDArray[np.bool_]
    uuids: npt.NDArray[np.uint8]
    others: tuple[str, ...]


def compacted(uids: Sequence[str]) -> CompactUids:
    """Tells UUIDs, which are random and 16 bytes long, from other texts, which a static pod may have."""
    known = [_UUID.fullmatch(uid) is not None for uid in uids]
    digits = "".join(uid for uid, is_known in zip(uids, known, strict=True) if is_known).replace("-", "")
    return CompactUids(
        known=np.array(known, dtype=np.bool_),
        uuids=np.frombuffer(bytes.fromhex(digits), dtype=np.uint8).reshape(-1, 16),
        others=tuple(uid for uid, is_known in zip(uids, known, strict=True) if not is_known),
    )


def expanded(uids: CompactUids) -> tuple[str, ...]:
    """The UIDs in their order.

    Raises:
        ValueError: There are more or fewer UUIDs or others than there should be.
    """
    uuids, others = _uuids(uids.uuids.tobytes().hex()), iter(uids.others)
    if int(uids.known.sum()) != len(uids.uuids) or int((~uids.known).sum()) != len(uids.others):
        raise ValueError(
            f"{len(uids.uuids)} UUIDs and {len(uids.others)} other UIDs are not those of the pods"
        )
    return tuple(next(uuids) if is_known else next(others) for is_known in uids.known.tolist())


def _uuids(digits: str) -> Iterator[str]:
    for start in range(0, len(digits), 32):
        one = digits[start : start + 32]
        yield f"{one[:8]}-{one[8:12]}-{one[12:16]}-{one[16:20]}-{one[20:]}"
