"""Notices a metric source that answers every poll and never tells of any pod."""

from collections.abc import Callable
from typing import Final

import structlog

# A rollout of the exporter, or of everything that uses a GPU, is over by then.
_POLLS: Final = 10

logger = structlog.get_logger(__name__)


class Silence:
    """Warns once when many polls in a row bring no series although pods run, and tells when some come again.

    Args:
        running: whether there are running pods; asked after polls without series only.
    """

    def __init__(self, running: Callable[[], bool]) -> None:
        self._running = running
        self._polls = 0

    def answered(self, series: int) -> None:
        """A poll has brought so many series."""
        if series:
            if self._polls >= _POLLS:
                logger.info("metric source has usage again", series=series)
            self._polls = 0
        elif self._running():
            self._polls += 1
            if self._polls == _POLLS:
                logger.warning(
                    "metric source answers, but has no usage of any pod",
                    polls=self._polls,
                    remedy="see whether the preset's metrics are there, and not later than settle",
                )
