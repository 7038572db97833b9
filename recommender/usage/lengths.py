"""How much of the past to ask a metric source for at once."""

from typing import Final

# Prometheus refuses a range query of more points a series.
MAX_POINTS: Final = 11_000
# While nobody knows how many series there are, an answer must fit in memory however many they are.
_FIRST_POINTS: Final = 10
# So many answers of one length let the next be twice as long: a server at its limit seldom has to fail again.
_ANSWERS_TO_GROW: Final = 4
# Samples of one resource in an answer: some 20 MB of JSON, and a few seconds of work.
_MOST_SAMPLES: Final = 500_000


class AnswerLength:
    """Finds how many points of a series a server gives at once, and this process takes.

    Args:
        series: about how many series an answer has; 0 where that is not known yet: then a few points are
            asked for, and the first answer that has any series tells.
    """

    def __init__(self, *, series: int = 0) -> None:
        self._points = MAX_POINTS
        self._answers = 0
        self._series = series
        self._blind = _FIRST_POINTS

    @property
    def points(self) -> int:
        """The number of points to ask for, at least one."""
        fitting = _MOST_SAMPLES // self._series if self._series else self._blind
        return max(1, min(self._points, fitting))

    def expect(self, series: int) -> None:
        """The next answer has about so many series."""
        self._series = series

    def failed(self, asked: int) -> None:
        """The server has not given so many points: half of them are next."""
        self._answers = 0
        if asked > 1:  # that a single step fails says nothing about lengths
            self._points = asked // 2

    def answered(self, series: int) -> None:
        """The server has answered, with so many series."""
        if series:
            self._series = series
        else:  # a stretch without usage says nothing of the next one
            self._blind = min(MAX_POINTS, self._blind * 2)
        self._answers += 1
        if self._answers >= _ANSWERS_TO_GROW:
            self._answers, self._points = 0, min(MAX_POINTS, self._points * 2)
