import io

import pytest
from rich.console import Console

from recommender.simulation import progress
from recommender.simulation.progress import watched


def shown(*, terminal: bool) -> str:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=80)
    items = list(watched(range(2000), "simulating", console=console, total=2000, weight=lambda _: 1))
    assert items == list(range(2000))
    return output.getvalue()


def test_what_is_over_soon_shows_no_progress() -> None:
    assert shown(terminal=True) == ""


def test_what_takes_long_shows_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BEFORE", 0.0)
    assert "simulating" in shown(terminal=True)


def test_nothing_is_shown_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BEFORE", 0.0)
    assert shown(terminal=False) == ""


def test_an_error_takes_the_bar_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BEFORE", 0.0)
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    seen = watched(range(10), "simulating", console=console, total=None, weight=lambda _: 1)
    next(seen)
    next(seen)
    seen.close()  # type: ignore[attr-defined] # a generator, left in the middle as by an error
    assert not console._live_stack
