"""The command `vgpu-autoscaler simulate`."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from recommender.simulation.documents import to_csv, to_json
from recommender.simulation.errors import BadUsage
from recommender.simulation.lines import STDIN, open_usage
from recommender.simulation.measurements import Measurements, measure
from recommender.simulation.options import (
    SHORTEST,
    duration_option,
    given_slice,
    quantity_option,
    require_fitting_times,
    setting_option,
    slice_options,
)
from recommender.simulation.progress import watched
from recommender.simulation.replay import Pace, Replay, Step
from recommender.simulation.summary import Summary, summarize
from recommender.simulation.tables import last_step, steps_table, summary_table
from recommender.simulation.trial import CardGiven, Trial, prepare, read_profile
from recommender.simulation.usage_file import read_usage
from vgpu.capacity import any_card
from vgpu.gpu_models import GpuModels
from vgpu.gpu_peaks import load_models
from vgpu.slices import Amounts, Resource

# As wide as a line may become where it is not for a terminal: nothing is to be cut there.
_UNBOUNDED: Final = 10_000


@click.command("simulate")
@click.argument("usage", type=click.Path(exists=True, dir_okay=False, allow_dash=True), metavar="USAGE.csv")
@click.option(
    "--profile",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="YAML or JSON of a WorkloadProfile, of a TensorFusionWorkload, or of the spec of one.",
)
@duration_option("--interval", "How often usage is read and decided on.", least=SHORTEST, default="1m")
@click.option(
    "--output",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="For people, as one JSON document, or a line a step.",
)
@click.option("--all-steps", is_flag=True, help="Print every step, not only the last.")
@slice_options
@click.option(
    "--gpu-model", metavar="NAME", help="Card of the pods, like A100: caps TFLOPS; or the profile's."
)
@quantity_option("--gpu-memory", Resource.VRAM, "The card's memory, like 80Gi, which caps VRAM.")
@duration_option(
    "--usage-step",
    "Take a pod's maximum of each such step as one sample, as the recommender does where its metric source "
    "has more; every row is a sample otherwise.",
    least=SHORTEST,
)
@setting_option("half_life")
@setting_option("peak_window")
def simulate(usage: str, profile: Path | None, output: str, *, all_steps: bool, **flags: Any) -> None:  # noqa: ANN401 - the options that are not named
    """Try a profile on recorded usage, without a cluster.

    USAGE.csv has the columns timestamp,pod,tflops,vram_bytes in any order: times as ISO 8601 or seconds since
    1970, an empty field where there is no sample. It may be packed by gzip; - is standard input. All rows are
    of one workload. They go through the recommender's own engine, on their own clock, and what it recommends
    is printed, with a summary of how usage stood to it.

    Exit codes: 0 simulated, 2 the file, the profile or an option is wrong.
    """
    require_fitting_times(flags)
    models = load_models()
    trial = _trial(profile, models, flags)
    _tell(trial.notes)
    measurements = _measurements(usage, trial, models, usage_step=flags["usage_step"])
    pace = Pace(flags["interval"], half_life=flags["half_life"], peak_window=flags["peak_window"])
    replay = Replay(trial=trial, measurements=measurements, pace=pace)
    passes = watched(replay, "simulating", console=_errors(), total=len(replay), weight=lambda _: 1)
    steps = deque(passes, maxlen=None if all_steps else 1)
    _tell(replay.course.problems)
    _tell(_too_early(steps[-1]))
    summary = summarize(replay.course, measurements, trial, interval=pace.interval)
    _PRINTERS[output](steps, summary, all_steps=all_steps)


def _trial(profile: Path | None, models: GpuModels, flags: Mapping[str, Any]) -> Trial:
    return prepare(
        read_profile(profile) if profile is not None else {},
        given_slice(flags),
        origin=str(profile) if profile is not None else "the command line",
        card=CardGiven(model=flags["gpu_model"], vram=flags["gpu_memory"]),
        models=models,
    )


def _measurements(usage: str, trial: Trial, models: GpuModels, *, usage_step: float | None) -> Measurements:
    name = "standard input" if usage == STDIN else usage

    def watch(lines: Iterable[bytes]) -> Iterable[bytes]:
        return watched(lines, "reading", console=_errors(), total=_size(usage), weight=len)

    with open_usage(usage) as stream:
        file = read_usage(stream, name, watch=watch)
    if file.ignored:
        _tell([f"columns that mean nothing here are ignored: {', '.join(file.ignored)}"])
    measurements = measure(file, largest=_largest(trial.cap, any_card(models)), usage_step=usage_step)
    if not len(measurements):
        reasons = ", ".join(f"{count} {reason}" for reason, count in measurements.dropped.items())
        raise BadUsage(name, f"has no sample that can be taken ({reasons or 'every field is empty'})")
    return measurements


def _too_early(last: Step) -> Iterable[str]:
    """Why usage has no say at the end; samples of VRAM alone never give it one."""
    if last.waiting is not None:
        count = last.samples[Resource.TFLOPS]
        why = f"{last.waiting} (of TFLOPS, which count: {count:,})"
        yield f"it is too early for a recommendation from usage: {why}"


def _largest(cap: Amounts, otherwise: Amounts) -> Amounts:
    """What can be measured at most: what the card gives, and where that is not known, what any does."""
    return Amounts(tflops=cap.tflops or otherwise.tflops, vram=cap.vram or otherwise.vram)


def _size(usage: str) -> int | None:
    """Bytes to read, where that can be known."""
    if usage == STDIN or not Path(usage).is_file() or Path(usage).suffix == ".gz":
        return None
    return Path(usage).stat().st_size


def _tell(notes: Iterable[str]) -> None:
    for note in notes:
        click.echo(f"note: {note}", err=True)


def _errors() -> Console:
    return Console(stderr=True)


def _print_table(steps: Sequence[Step], summary: Summary, *, all_steps: bool) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=_UNBOUNDED)
    if all_steps:
        console.print(steps_table(steps), "")
    console.print(last_step(steps[-1], summary), "", summary_table(summary))


def _print_json(steps: Sequence[Step], summary: Summary, *, all_steps: bool) -> None:
    click.echo(to_json(steps[-1], summary, steps if all_steps else None))


def _print_csv(steps: Sequence[Step], summary: Summary, *, all_steps: bool) -> None:
    del summary, all_steps  # steps are lines of one form; a summary is not
    click.echo(to_csv(steps), nl=False)


_PRINTERS: Final = {"table": _print_table, "json": _print_json, "csv": _print_csv}
