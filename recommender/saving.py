"""Saves what is remembered of usage, from time to time and when a term ends."""

import structlog

from recommender.checkpoints.errors import CheckpointConflict, CheckpointError
from recommender.checkpoints.keeper import CheckpointKeeper
from recommender.errors import TermOver
from recommender.histories.memory import Memory

logger = structlog.get_logger(__name__)


class Saver:
    """Writes checkpoints of a memory.

    Args:
        memory: what is saved.
        keeper: where; None where nothing is saved.
    """

    def __init__(self, *, memory: Memory, keeper: CheckpointKeeper | None) -> None:
        self._memory = memory
        self._keeper = keeper

    async def save(self, now: float) -> None:
        """Save everything as it is; what fails is told, and tried again the next time.

        Raises:
            TermOver: somebody else writes these checkpoints, or the Lease is lost.
            TornHistories: they are not what they should be.
        """
        if self._keeper is None:
            return
        try:
            await self._keeper.save(await self._memory.snapshot(now))
        except CheckpointConflict as error:
            raise TermOver(str(error)) from error
        except CheckpointError as error:
            logger.warning("checkpoint was not saved", error=str(error))
