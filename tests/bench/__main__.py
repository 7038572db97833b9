"""Measures what the project promises of its speed and size, and prints it beside the goals: `make bench`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from tests.bench import bank, passes, residence, restarting, scraping, writing
from tests.bench.report import BenchLine, render, to_json

BENCHES: Mapping[str, Callable[[], list[BenchLine]]] = {
    "bank": bank.lines,
    "pass": passes.lines,
    "memory": residence.lines,
    "restart": restarting.lines,
    "writes": writing.lines,
    "exposition": scraping.lines,
}
"""What can be measured, in the order in which it is."""

# Of a table that goes to a file: wide enough for every column whole.
_WIDTH: Final = 200


@click.command(help=__doc__)
@click.option(
    "--only",
    "names",
    metavar="NAME",
    multiple=True,
    type=click.Choice(list(BENCHES)),
    help=f"Measure only this: {', '.join(BENCHES)}. May be given many times.",
)
@click.option(
    "--json",
    "file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write figures to it.",
)
def main(names: Sequence[str], file: Path | None) -> None:
    """Measure, print a table, and write a file if asked."""
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH
    lines: list[BenchLine] = []
    for name in names or BENCHES:
        # No spinner: it would run while time is taken.
        click.echo(f"measuring: {name}", err=True)
        lines += BENCHES[name]()
    render(lines, console)
    if file:
        file.write_text(to_json(lines))


if __name__ == "__main__":
    main()
