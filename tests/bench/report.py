"""What benches found, beside what they should find: a table for people and JSON for programs."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class BenchLine:
    """One figure.

    Attributes:
        name: What was measured.
        measured: The figure.
        unit: Of what, "ns" or "x" for example.
        goal: What it should be, empty where there is no goal.
        met: Whether it is; None where there is no goal.
        against: What it is compared with, measured in the same run, or why there is nothing.
    """

    name: str
    measured: float
    unit: str
    goal: str = ""
    met: bool | None = None
    against: str = ""


def at_most(name: str, measured: float, unit: str, limit: float, against: str = "") -> BenchLine:
    """A figure that should not exceed a limit."""
    return BenchLine(name, measured, unit, f"<= {limit:g} {unit}", measured <= limit, against)


def at_least(name: str, measured: float, unit: str, limit: float, against: str = "") -> BenchLine:
    """A figure that should reach a limit."""
    return BenchLine(name, measured, unit, f">= {limit:g} {unit}", measured >= limit, against)


def machine() -> str:
    """The machine and what runs on it, in a line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, numpy {version('numpy')}"
    )


def render(lines: Sequence[BenchLine], console: Console) -> None:
    """Prints a table."""
    table = Table(box=box.SIMPLE_HEAD, caption=machine(), caption_justify="left")
    table.add_column("what", no_wrap=True)
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("goal", justify="right", no_wrap=True)
    table.add_column("")
    table.add_column("beside, in this run")
    for line in lines:
        table.add_row(
            line.name, f"{_rounded(line.measured)} {line.unit}", line.goal, _mark(line.met), line.against
        )
    console.print(table)


def to_json(lines: Sequence[BenchLine]) -> str:
    """One document: the machine, and every line with all of its fields."""
    return json.dumps({"machine": machine(), "lines": [asdict(line) for line in lines]}, indent=2) + "\n"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _rounded(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.3g}"


def _mark(met: bool | None) -> str:
    if met is None:
        return ""
    return "[green]met[/]" if met else "[bold red]missed[/]"
