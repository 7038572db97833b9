"""Reads usage into the histories, and knows whether the metric source does its part."""

import structlog

from recommender.histories import Histories
from recommender.metrics import RecommenderMetrics
from recommender.samples import Outcome
from recommender.usage import Usage, UsageReader
from vgpu.prometheus import PrometheusError

logger = structlog.get_logger(__name__)


class Feeder:
    """Takes in all usage that there is up to now.

    A source that fails moves nothing: the next call asks for the same stretch again.

    Args:
        reader: where usage comes from.
        histories: where it goes.
        metrics: counts samples and errors.
    """

    def __init__(self, *, reader: UsageReader, histories: Histories, metrics: RecommenderMetrics) -> None:
        self._reader = reader
        self._histories = histories
        self._metrics = metrics
        self.problem: str | None = "the metric source has not been asked yet"
        for outcome in Outcome:
            metrics.samples.labels(outcome.value)

    async def feed(self, now: float) -> None:
        """Read stretch after stretch until the present, as far as the source answers.

        Args:
            now: seconds since the epoch.
        """
        self._put_clock_right(now)
        try:
            while (usage := await self._reader.read(now)) is not None:
                self._take(usage)
        except PrometheusError as error:
            self._metrics.source_errors.labels(type(error).__name__).inc()
            self.problem = f"the metric source fails: {error}"
            logger.warning("usage cannot be read", error=str(error), cursor=self._reader.cursor)
            return
        self.problem = None
        self._metrics.source_last_success.set(now)
        self._histories.forget_idle(now)

    def _put_clock_right(self, now: float) -> None:
        ahead = self._reader.put_right(now)
        if ahead:
            self._metrics.clock_put_right.inc()
            logger.warning("the clock has been set back", seconds=ahead, cursor=self._reader.cursor)

    def _take(self, usage: Usage) -> None:
        self._histories.feed(usage)
        for outcome, count in usage.outcomes.items():
            self._metrics.samples.labels(outcome.value).inc(count)
        self._metrics.source_cursor.set(usage.until)
