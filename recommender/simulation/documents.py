"""What a simulation prints for programs: JSON and CSV."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from recommender.histories.estimators import Estimate
from recommender.simulation.course import PER_UNIT, Fit
from recommender.simulation.replay import Step
from recommender.simulation.summary import ResourceSummary, Summary
from recommender.simulation.times import shown_time
from vgpu.slices import Resource, VgpuSlice

_ESTIMATED: Final = {"target": "target", "lowerBound": "lower_bound", "upperBound": "upper_bound"}


def to_json(last: Step, summary: Summary, steps: Sequence[Step] | None) -> str:
    """One JSON document: `{"steps": [STEP, ...], "last": STEP, "summary": {...}}`, steps only if asked for.

    Args:
        last: the last pass.
        summary: of all passes.
        steps: all passes, or None to leave them out.
    """
    parts = [] if steps is None else [f'"steps": [\n{_lines(steps)}\n]']
    parts += [f'"last": {_dumped(step_to_json(last))}', f'"summary": {_dumped(summary_to_json(summary))}']
    return "{\n" + ",\n".join(parts) + "\n}"


def _lines(steps: Sequence[Step]) -> str:
    """A line for each step: thousands of them are no longer to be read as a tree."""
    return ",\n".join(json.dumps(step_to_json(step), allow_nan=False) for step in steps)


def _dumped(value: Mapping[str, Any]) -> str:
    return json.dumps(value, allow_nan=False, indent=2)


def step_to_json(step: Step) -> dict[str, Any]:
    """A pass: estimates as numbers of TFLOPS and bytes, slices as quantities."""
    return {
        "time": shown_time(step.time),
        "resources": {
            resource.value: {
                **_estimate(resource, step.estimates.get(resource)),
                "samples": step.samples[resource],
            }
            for resource in Resource
        },
        "recommendation": _slice(step.recommendation),
        "activeCronScalingRule": step.rule,
        "messages": list(step.messages),
    }


def summary_to_json(summary: Summary) -> dict[str, Any]:
    """The summary; a figure that there is no sample for is null."""
    return {
        "firstSample": shown_time(summary.first),
        "lastSample": shown_time(summary.last),
        "interval": summary.interval,
        "steps": summary.passes,
        "pods": summary.pods,
        "recommendationChanges": summary.changes,
        "baseline": _slice(summary.own),
        "baselineAssumed": sorted(summary.assumed),
        "resources": {
            resource.value: _resource_summary(of_resource)
            for resource, of_resource in summary.resources.items()
        },
    }


def to_csv(steps: Sequence[Step]) -> str:
    """A header, and a line for each step: numbers of TFLOPS and bytes, and nothing where nothing is known."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(_row(steps[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(_row, steps))
    return text.getvalue()


def _row(step: Step) -> dict[str, Any]:
    written = step_to_json(step)
    row: dict[str, Any] = {"time": written["time"]}
    for resource, said in written["resources"].items():
        row |= {f"{resource}_{_snake(name)}": value for name, value in said.items()}
    slice_ = step.recommendation or VgpuSlice()
    for name, amounts in (("request", slice_.requests), ("limit", slice_.limits)):
        for resource in Resource:
            amount = amounts.get(resource)
            row[f"{resource}_{name}"] = None if amount is None else in_units(resource, amount)
    row["active_cron_scaling_rule"] = step.rule
    row["messages"] = "; ".join(step.messages)
    return row


def _snake(name: str) -> str:
    return _ESTIMATED.get(name, name)


def _estimate(resource: Resource, estimate: Estimate | None) -> dict[str, float | None]:
    if estimate is None:
        return dict.fromkeys((*_ESTIMATED, "confidence"))
    amounts = {name: in_units(resource, getattr(estimate, field)) for name, field in _ESTIMATED.items()}
    return {**amounts, "confidence": estimate.confidence}


def in_units(resource: Resource, amount: int) -> float:
    """An amount in TFLOPS, or in bytes."""
    unit = PER_UNIT[resource]
    return amount if unit == 1 else amount / unit


def _slice(slice_: VgpuSlice | None) -> dict[str, dict[str, str]] | None:
    return None if slice_ is None else slice_.to_json()


def _resource_summary(summary: ResourceSummary) -> dict[str, Any]:
    return {
        "samples": {"taken": summary.taken, "dropped": dict(summary.dropped)},
        "recommendation": _fit(summary.recommended),
        "baseline": None if summary.own is None else _fit(summary.own),
    }


def _fit(fit: Fit) -> dict[str, float | None]:
    return {
        "samples": fit.samples,
        "shareOfTimeAboveRequest": fit.above_request,
        "shareOfTimeAboveLimit": fit.above_limit,
        "averageUseOverRequest": fit.use_over_request,
    }
