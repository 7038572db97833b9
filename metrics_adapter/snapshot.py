"""The latest table, and how far it may be believed now."""

from collections.abc import Iterable
from dataclasses import dataclass

from metrics_adapter.errors import SourceUnavailable
from metrics_adapter.table import Table, Value


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the poller has to offer.

    Attributes:
        table: The latest table that was made; None before the first.
        failing: Whether the poll after it failed, so that the table is an old one that was kept.
    """

    table: Table | None = None
    failing: bool = False

    def require_table(self, *, now: float, freshness: float) -> Table:
        """The table, if it is young enough to answer from.

        Raises:
            SourceUnavailable: there is none yet, or the source has not answered for too long.
        """
        if self.table is None:
            raise SourceUnavailable(
                "the metric source does not answer: there are no metrics yet"
                if self.failing
                else "the metrics have not been read from their source yet"
            )
        age = now - self.table.time
        if age > freshness:
            raise SourceUnavailable(_too_old(age, freshness))
        return self.table

    def only_fresh(self, values: Iterable[Value], *, now: float, freshness: float) -> list[Value]:
        """The values whose samples are not too old by now.

        A pod whose samples end while the source works has no value. But one whose samples only age because
        the source fails is not gone: then nobody knows, and the answer is an error.

        Raises:
            SourceUnavailable: values went stale while the source fails.
        """
        values = list(values)
        fresh = [value for value in values if now - value.time <= freshness]
        if self.failing and len(fresh) < len(values):
            raise SourceUnavailable(_too_old(now - min(value.time for value in values), freshness))
        return fresh


def _too_old(age: float, freshness: float) -> str:
    return (
        f"the metric source does not answer: its last values are {age:.0f} s old "
        f"and are not used after {freshness:.0f} s"
    )
