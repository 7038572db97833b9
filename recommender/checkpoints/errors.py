"""What can be wrong with a checkpoint, or with the place where it is kept."""

from typing import ClassVar

from recommender.errors import RecommenderError


class CheckpointError(RecommenderError):
    """Anything wrong with checkpoints; `reason` is a word for metrics."""

    reason: ClassVar[str] = "other"


class CheckpointUnreadable(CheckpointError):
    """A checkpoint that is there but cannot be used; an older one, or back-fill, takes its place."""


class CheckpointCorrupt(CheckpointUnreadable):
    """Not what was written."""

    reason = "corrupt"

    def __init__(self, problem: str) -> None:
        super().__init__(f"the checkpoint is damaged: {problem}")


class CheckpointIncomplete(CheckpointUnreadable):
    """A part of it is missing."""

    reason = "incomplete"


class CheckpointForeign(CheckpointUnreadable):
    """No checkpoint at all, or one of other histograms, another shard or another generation."""

    reason = "foreign"


class CheckpointNewer(CheckpointUnreadable):
    """Written by a later version of this program."""

    reason = "newer"

    def __init__(self, version: int, newest: int) -> None:
        super().__init__(
            f"the checkpoint has format {version}, and this version reads formats up to {newest}: "
            "a later version has written it"
        )


class CheckpointMissing(CheckpointUnreadable):
    """One shard of a former number of shards has left no checkpoint that can be used."""

    reason = "missing"


class CheckpointConflict(CheckpointError):
    """Somebody else writes this shard's checkpoints: he leads, and this process must not write on."""

    reason = "conflict"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} was changed by somebody else; nothing more is written. "
            "Is there a second recommender with the same shard_index in this namespace?"
        )


class CheckpointUnavailable(CheckpointError):
    """The place where checkpoints are kept cannot be read from or written to."""

    reason = "unavailable"
