"""Which of several recommenders serves which workload. Pure."""

from dataclasses import dataclass
from hashlib import blake2b

from recommender.keys import WorkloadKey


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` shards over which the workloads are divided.

    Attributes:
        index: which of them, from 0.
        count: how many there are.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(
                f"shard {self.index} of {self.count}: the index runs from 0 to one less than the count"
            )

    def __str__(self) -> str:
        return f"{self.index}-of-{self.count}"

    def owns(self, key: WorkloadKey) -> bool:
        """Whether the workload is this shard's: exactly one shard of a count says so.

        The answer is the same on every machine and in every version: histories are stored by it.
        """
        if self.count == 1:
            return True
        digest = blake2b(f"{key.namespace}/{key.name}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.index
