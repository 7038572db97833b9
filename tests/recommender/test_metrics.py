import pytest
from prometheus_client import CollectorRegistry

from recommender.metrics import RecommenderMetrics


class Shown:
    """The recommender's metrics, as Prometheus would read them."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.metrics = RecommenderMetrics(self._registry)

    def value(self, name: str, **labels: str) -> float | None:
        return self._registry.get_sample_value(f"vgpu_recommender_{name}", labels)


@pytest.mark.parametrize(
    "stage", ["observe", "feed", "estimate", "decide", "compare", "publish", "checkpoint", "backfill"]
)
def test_every_stage_of_a_pass_is_there_before_it_ran(stage: str) -> None:
    shown = Shown()
    assert shown.value("pass_duration_seconds_count", stage=stage) == 0
    with shown.metrics.timed(stage):
        assert shown.value("pass_duration_seconds_count", stage=stage) == 0
    assert shown.value("pass_duration_seconds_count", stage=stage) == 1


def test_a_stage_that_fails_is_measured_too() -> None:
    shown = Shown()
    with pytest.raises(ValueError, match="broken"), shown.metrics.timed("feed"):
        raise ValueError("broken")
    assert shown.value("pass_duration_seconds_count", stage="feed") == 1


def test_what_is_watched_is_counted_when_somebody_asks() -> None:
    shown = Shown()
    waiting: list[str] = []
    shown.metrics.watch(workloads=lambda: 3, pods=lambda: 5, queue=lambda: len(waiting))
    waiting.append("web")
    assert [shown.value(name) for name in ("workloads", "pods", "queue_length")] == [3, 5, 1]


@pytest.mark.parametrize(
    "name",
    [
        "source_last_success_timestamp_seconds",
        "source_cursor_timestamp_seconds",
        "checkpoint_timestamp_seconds",
    ],
)
def test_a_time_that_is_not_known_yet_is_not_shown(name: str) -> None:
    assert Shown().value(name) is None


def test_a_checkpoint_shows_its_time_size_duration_and_generation() -> None:
    shown = Shown()
    shown.metrics.checkpoint_saved(size=4096, seconds=0.5, generation=7, now=1000.0)
    assert shown.value("checkpoint_timestamp_seconds") == 1000
    assert shown.value("checkpoint_size_bytes") == 4096
    assert shown.value("checkpoint_duration_seconds") == 0.5
    assert shown.value("checkpoint_generation") == 7


def test_a_checkpoint_that_is_gone_on_from_shows_when_it_was_saved() -> None:
    shown = Shown()
    shown.metrics.checkpoint_loaded(written=900.0)
    assert shown.value("checkpoint_timestamp_seconds") == 900
    assert shown.value("checkpoint_size_bytes") is None


def test_a_checkpoint_that_fails_is_counted_by_reason_and_leaves_the_last_one_shown() -> None:
    shown = Shown()
    shown.metrics.checkpoint_saved(size=4096, seconds=0.5, generation=7, now=1000.0)
    shown.metrics.checkpoint_failed("conflict")
    assert shown.value("checkpoint_failures_total", reason="conflict") == 1
    assert shown.value("checkpoint_timestamp_seconds") == 1000


def test_what_only_a_leader_knows_is_not_shown_after_its_term() -> None:
    shown = Shown()
    shown.metrics.checkpoint_saved(size=4096, seconds=0.5, generation=7, now=1000.0)
    shown.metrics.source_cursor.set(990)
    shown.metrics.source_last_success.set(1000)
    shown.metrics.backfill_pending.set_function(lambda: 12)
    shown.metrics.end_term()
    assert shown.value("backfill_pending_workloads") == 0
    for name in (
        "source_last_success_timestamp_seconds",
        "source_cursor_timestamp_seconds",
        "checkpoint_timestamp_seconds",
        "checkpoint_size_bytes",
        "checkpoint_generation",
    ):
        assert shown.value(name) is None
