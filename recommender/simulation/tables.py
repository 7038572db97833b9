"""What a simulation prints for people."""

from collections.abc import Iterable, Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from recommender.decisions.targets import LABELS, pair
from recommender.histories.estimators import LARGEST, Estimate
from recommender.simulation.course import PER_UNIT, Fit
from recommender.simulation.replay import Step
from recommender.simulation.summary import ResourceSummary, Summary
from recommender.simulation.times import shown_time
from vgpu.slices import Resource, VgpuSlice

_UNKNOWN = "–"  # noqa: RUF001 - a dash as in print
_GIB = 1 << 30


def steps_table(steps: Iterable[Step]) -> Table:
    """A line for each step."""
    table = Table("time", box=None, header_style="bold", pad_edge=False)
    for resource in Resource:
        for name in ("target", "bounds", "request", "limit"):
            table.add_column(f"{LABELS[resource]} {name}", justify="right", no_wrap=True)
    table.add_column("rule", no_wrap=True)
    table.add_column("message", overflow="fold")
    for step in steps:
        cells = (cell for resource in Resource for cell in _step_cells(step, resource))
        # Names and messages are text, whatever brackets they hold.
        table.add_row(shown_time(step.time), *cells, Text(step.rule or ""), Text("; ".join(step.messages)))
    return table


def last_step(step: Step, summary: Summary) -> RenderableType:
    """The last step in full."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    estimated, slices = ("target", "lower bound", "upper bound"), ("request", "limit")
    for name in (*estimated, "samples", *slices, *(f"own {part}" for part in slices)):
        table.add_column(name, justify="right", no_wrap=True)
    for resource in Resource:
        target, lower, upper = _estimate_cells(step, resource)
        mine = ("assumed", "") if resource in summary.assumed else _pair_cells(summary.own, resource)
        samples = f"{step.samples[resource]:,}"
        recommended = _pair_cells(step.recommendation, resource)
        table.add_row(LABELS[resource], target, lower, upper, samples, *recommended, *mine)
    return Group(Text(f"At {shown_time(step.time)}{_said(step)}"), table)


def summary_table(summary: Summary) -> RenderableType:
    """The summary."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    for name in ("time above request", "time above limit", "use / request", "samples"):
        table.add_column(name, justify="right", no_wrap=True)
    for resource, of_resource in summary.resources.items():
        table.add_row(f"{LABELS[resource]} as recommended", *_fit_cells(of_resource.recommended))
        if of_resource.own is not None:
            table.add_row(f"{LABELS[resource]} of your own slice", *_fit_cells(of_resource.own))
    return Group(Text("\n".join(_overview(summary))), table)


def _overview(summary: Summary) -> Iterator[str]:
    yield (
        f"{shown_time(summary.first)} to {shown_time(summary.last)}: pods {summary.pods:,}, "
        f"steps {summary.passes:,} of {summary.interval:g} s, recommendations {summary.changes:,}"
    )
    for resource, of_resource in summary.resources.items():
        yield f"{LABELS[resource]}: {_taken(of_resource)}"


def _taken(summary: ResourceSummary) -> str:
    dropped = [f"{count:,} {reason.replace('_', ' ')}" for reason, count in summary.dropped.items()]
    return f"{summary.taken:,} samples taken" + (f", dropped: {', '.join(dropped)}" if dropped else "")


def _said(step: Step) -> str:
    estimate = next(iter(step.estimates.values()), None)
    parts = [
        f"confidence {estimate.confidence:.3g}" if estimate else "",
        f"cron scaling rule {step.rule} is active" if step.rule else "",
        "too early for a recommendation" if step.recommendation is None else "",
        *step.messages,
    ]
    return "".join(f", {part}" for part in parts if part)


def _step_cells(step: Step, resource: Resource) -> tuple[str, str, str, str]:
    target, lower, upper = _estimate_cells(step, resource)
    bounds = f"{lower} to {upper}" if target != _UNKNOWN else _UNKNOWN
    return (target, bounds, *_pair_cells(step.recommendation, resource))


def _estimate_cells(step: Step, resource: Resource) -> tuple[str, str, str]:
    estimate: Estimate | None = step.estimates.get(resource)
    if estimate is None:
        return _UNKNOWN, _UNKNOWN, _UNKNOWN
    target, lower, upper = (
        _amount(resource, amount) for amount in (estimate.target, estimate.lower_bound, estimate.upper_bound)
    )
    return target, lower, "any" if estimate.upper_bound >= LARGEST * PER_UNIT[resource] else upper


def _pair_cells(slice_: VgpuSlice | None, resource: Resource) -> tuple[str, str]:
    request, limit = pair(slice_ or VgpuSlice(), resource)
    return _amount(resource, request), _amount(resource, limit)


def _amount(resource: Resource, amount: int | None) -> str:
    if amount is None:
        return _UNKNOWN
    if resource is Resource.VRAM:
        return f"{amount / _GIB:,.2f}Gi"
    return f"{amount / PER_UNIT[resource]:,.3f}".rstrip("0").rstrip(".")


def _fit_cells(fit: Fit) -> tuple[str, str, str, str]:
    shares = (fit.above_request, fit.above_limit, fit.use_over_request)
    above_request, above_limit, use = (_UNKNOWN if share is None else f"{share:.1%}" for share in shares)
    return above_request, above_limit, use, f"{fit.samples:,}"
