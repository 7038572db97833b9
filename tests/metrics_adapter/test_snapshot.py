import pytest

from metrics_adapter.errors import SourceUnavailable
from metrics_adapter.snapshot import Snapshot
from metrics_adapter.table import Table
from tests.support.adapter import NOW, table_with


def test_before_the_first_poll_there_is_an_error() -> None:
    with pytest.raises(SourceUnavailable, match="not been read from their source yet"):
        Snapshot().require_table(now=NOW, freshness=60)


def test_a_source_that_was_never_reached_is_named_as_the_reason() -> None:
    with pytest.raises(SourceUnavailable, match="does not answer"):
        Snapshot(failing=True).require_table(now=NOW, freshness=60)


def test_an_old_table_is_kept_while_it_is_fresh_enough() -> None:
    snapshot = Snapshot(Table(time=NOW - 60), failing=True)
    assert snapshot.require_table(now=NOW, freshness=60).time == NOW - 60


def test_a_table_that_is_too_old_is_an_error_that_says_how_old() -> None:
    snapshot = Snapshot(Table(time=NOW - 61), failing=True)
    with pytest.raises(SourceUnavailable, match=r"61 s old .* after 60 s"):
        snapshot.require_table(now=NOW, freshness=60)


def test_a_value_goes_stale_by_the_time_of_its_own_sample() -> None:
    values = table_with({"a": 1.0}, age=50).rows("pods", "gpu_tflops", "default").values()
    snapshot = Snapshot(Table(time=NOW))
    assert snapshot.only_fresh(values, now=NOW + 10, freshness=60) == list(values)
    assert snapshot.only_fresh(values, now=NOW + 11, freshness=60) == []


def test_a_value_that_ages_while_the_source_fails_is_an_error_and_not_a_missing_pod() -> None:
    values = table_with({"a": 1.0}, age=50).rows("pods", "gpu_tflops", "default").values()
    with pytest.raises(SourceUnavailable, match="61 s old"):
        Snapshot(Table(time=NOW), failing=True).only_fresh(values, now=NOW + 11, freshness=60)
