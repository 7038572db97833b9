"""A metric source that answers and has nothing to say."""

from collections.abc import Iterable

from structlog.testing import capture_logs

from recommender.usage.silence import Silence


def events(series: Iterable[int], *, running: bool = True) -> list[str]:
    silence = Silence(lambda: running)
    with capture_logs() as logs:
        for each in series:
            silence.answered(each)
    return [entry["event"] for entry in logs]


def test_many_polls_without_series_are_warned_about_once() -> None:
    assert events([0] * 100) == ["metric source answers, but has no usage of any pod"]


def test_a_few_polls_without_series_are_nothing() -> None:
    assert events(([0] * 9 + [1]) * 5) == []


def test_a_cluster_without_running_pods_may_be_silent() -> None:
    assert events([0] * 100, running=False) == []


def test_after_usage_has_come_again_the_next_silence_is_warned_about_too() -> None:
    warning, again = "metric source answers, but has no usage of any pod", "metric source has usage again"
    assert events([0] * 10 + [5] + [0] * 10) == [warning, again, warning]
