"""Showing the build of the control plane on a terminal, or line by line where there is none."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Display

from devcluster.binaries import Binaries, obtain
from devcluster.steps import Phase, Progress, Report

_WHY = (
    "The control plane (etcd, Kubernetes, kwok, Prometheus) is compiled from source, once: "
    "10 to 20 minutes on two cores. An interrupted build goes on where it stopped."
)
_SECONDS_BETWEEN_LINES = 20.0


@contextmanager
def show_build(console: Console | None = None) -> Iterator[Report]:
    """Give a report function for `obtain`; nothing is shown unless something is compiled."""
    shown = console or Console(stderr=True)
    if not shown.is_terminal:
        yield _Lines(shown)
        return
    bars = _Bars(shown)
    try:
        yield bars
    finally:
        bars.close()


def obtain_with_progress(console: Console | None = None) -> Binaries:
    """The programs of the control plane; a build of them is shown on the console (stderr by default)."""
    with show_build(console) as report:
        return obtain(report=report)


class _Lines:
    """A line for each change of phase, and one now and then in between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        if self._last is None:
            self._print(_WHY)
        if self._last is None or self._is_news(self._last, progress):
            self._last = progress
            self._print(_line(progress))

    def _is_news(self, last: Progress, progress: Progress) -> bool:
        if (last.tool, last.phase) != (progress.tool, progress.phase):
            return True
        return progress.elapsed - last.elapsed >= _SECONDS_BETWEEN_LINES

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


class _Bars:
    """A bar for each program, moving."""

    def __init__(self, console: Console) -> None:
        self._display = Display(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description:<23}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False, style="dim"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, progress: Progress) -> None:
        if not self._tasks:
            self._display.console.print(_WHY, highlight=False)
            self._display.start()
        task = self._tasks.get(progress.tool)
        if task is None:
            task = self._tasks[progress.tool] = self._display.add_task(progress.tool, total=None, note="")
        if progress.phase is Phase.DONE:
            self._finish(task)
        else:
            note = f"{progress.phase} {progress.item[-48:]}".strip()
            self._display.update(task, completed=progress.done, total=progress.total or None, note=note)

    def _finish(self, task: TaskID) -> None:
        total = next(known.total for known in self._display.tasks if known.id == task) or 1
        self._display.update(task, completed=total, total=total, note="")

    def close(self) -> None:
        self._display.stop()


def _line(progress: Progress) -> str:
    minutes, seconds = divmod(int(progress.elapsed), 60)
    count = f" {progress.done} of {progress.total} packages" if progress.total else ""
    where = f"[{progress.position}/{progress.count}] {progress.tool}"
    return f"{minutes:3d}:{seconds:02d} {where}: {progress.phase}{count} {progress.item}".rstrip()
