"""For how long the metric source has been heard: a workload is silent only while the source answers."""

import math
from collections import deque
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Heard:
    """What the metric source's answers allow to be said of workloads; times in seconds since the epoch.

    Attributes:
        fresh_from: a workload with a sample at this time or later has usage coming in.
        silent_before: one without a sample since before this time has none, although the source answered
            for the whole patience since.
        failing_since: since when the source has not answered; None while it does.
        patience: seconds.
    """

    fresh_from: float
    silent_before: float
    failing_since: float | None
    patience: float

    @property
    def ever(self) -> bool:
        """Whether the source has answered at all in this term."""
        return self.fresh_from != math.inf

    def is_away(self, now: float) -> bool:
        """Whether the source has not answered for longer than the patience."""
        return self.failing_since is not None and now - self.failing_since > self.patience


NOTHING_HEARD: Final = Heard(fresh_from=math.inf, silent_before=-math.inf, failing_since=None, patience=0.0)
"""The source has not been asked yet: nothing can be said of any workload."""


class Hearing:
    """Follows when the metric source answers and when it fails.

    Time between two answers counts as heard, but for gaps: where the source has failed between them, or
    nobody has asked it for longer than the patience. All time before the first answer is a gap.

    Args:
        patience: seconds without a sample, or without an answer, that mean nothing yet.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._answered: float | None = None
        self._gaps: deque[tuple[float, float]] = deque()
        self.heard = Heard(math.inf, -math.inf, None, patience)

    def answered(self, now: float) -> None:
        """All usage up to now has been read."""
        last = self._answered
        if last is None or now < last:  # a clock that was set back: what it said before is worth nothing
            self._gaps.clear()
            self._gaps.append((-math.inf, now))
        elif self.heard.failing_since is not None or now - last > self._patience:
            self._gaps.append((last, now))
        self._answered = now
        self.heard = Heard(now - self._patience, self._silent_before(now), None, self._patience)

    def failed(self, now: float) -> None:
        """The source did not answer."""
        heard = self.heard
        if heard.failing_since is None:
            since = now if self._answered is None else min(self._answered, now)
            self.heard = Heard(heard.fresh_from, heard.silent_before, since, self._patience)

    def _silent_before(self, now: float) -> float:
        """The time since which the source was heard for the whole patience, whatever lay between."""
        left, end = self._patience, now
        for begin, over in reversed(self._gaps):
            if end - over >= left:
                break
            left -= end - over
            end = begin
        found = end - left
        while self._gaps and self._gaps[0][1] <= found:
            self._gaps.popleft()
        return found
