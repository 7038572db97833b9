"""Where checkpoints are kept: what any such place must be able to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from recommender.leadership.shards import Shard


@dataclass(frozen=True, slots=True)
class Generation:
    """One complete checkpoint of a shard, as a store lists it.

    Attributes:
        shard: Whose it is.
        number: The larger, the newer.
        written: When it was taken, epoch seconds, to the millisecond.
    """

    shard: Shard
    number: int
    written: float


class CheckpointStore(Protocol):
    """Keeps checkpoints, of all shards and all divisions into shards.

    All methods raise CheckpointUnavailable where the store cannot be reached or refuses.
    """

    @property
    def part_bytes(self) -> int:
        """The most bytes that a part may have."""

    async def generations(self) -> Sequence[Generation]:
        """All complete checkpoints there are, in any order.

        What it finds is what `write` expects still to be there.
        """

    async def read(self, generation: Generation) -> Sequence[bytes]:
        """The parts of a checkpoint, as far as they are still there."""

    async def write(self, generation: Generation, parts: Sequence[bytes]) -> None:
        """Stores a checkpoint; nobody sees it before it is complete, nor any harm to the newest one.

        Whatever interrupts this, a checkpoint whose number differs by an odd number stays readable until this
        one is.

        Raises:
            CheckpointConflict: Somebody else wrote since this store was listed or written to last.
        """

    async def remove(self, shard: Shard) -> None:
        """Removes all checkpoints of a shard that were there when the store was listed last."""
