"""What a look at a workload rested on, as a record of an array."""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recommender.decisions.availability import Availability
from recommender.decisions.conditions import Status
from recommender.decisions.recommendation import Decision
from recommender.decisions.verdicts import Verdict
from recommender.histories.estimators import Estimate
from vgpu.api import AutoSetResources
from vgpu.quantities import QuantityError
from vgpu.slices import Resource, format_amount, parse_amount

_PART: Final = np.dtype(
    [
        ("relevant", "?"),  # whether usage has a say
        ("empty", "?"),  # whether there were no samples
        ("sensitive", "?"),  # whether the target counts: the request lay outside, or a rule was active
        ("side", "i1"),  # -1 where the request lay below its bounds, 1 above, else 0
        ("request", "f8"),  # what was held against the bounds, NaN where nothing was
        ("target", "f8"),
        ("written", "f8", 3),  # target, lower and upper bound in the status
        ("same", "f8", 2),  # the confidences between which the status shows the same
    ]
)

LOOK: Final = np.dtype(
    [
        ("known", "?"),  # whether the record is a workload's
        ("settled", "?"),  # whether the same usage brings the same again
        ("blind", "?"),  # whether any usage does
        ("preallocated", "?"),  # whether usage told of VRAM that is taken in advance
        ("waiting", "i1"),  # for what: 0 nothing, 1 more samples, 2 an older first sample
        ("min_samples", "i8"),
        ("delay", "f8"),  # initialDelayPeriod, seconds
        ("usage", "i1"),  # whether usage came in, an Availability
        ("began", "f8"),  # since when a pod ran, infinite where none did
        ("estimation_written", "f8"),  # when, in seconds since the epoch
        *((resource.value, _PART) for resource in Resource),
    ]
)
"""What is remembered of each workload."""

Looks = npt.NDArray[np.void]

_FIELDS: Final = ("target", "lowerBound", "upperBound")
_MOST_SAMPLES: Final = 2**62
# Beyond this a float64 cannot tell whole numbers apart.
_LARGEST_EXACT: Final = 2**53
_NOTHING: Final = (True, False, 0, math.nan, math.nan, (math.nan,) * 3, (math.nan,) * 2)

_Part = tuple[Any, ...]


def look_at(verdict: Verdict, status: Status, estimation_written: float) -> tuple[Any, ...] | None:
    """The record of a look, or None where the next one may differ although usage does not.

    Args:
        verdict: what was found out.
        status: the status that is in step with it.
        estimation_written: when the estimation in it was written, in seconds since the epoch.
    """
    decision, spec = verdict.decision, verdict.configuration.spec
    if decision is None or spec is None:
        nothing = ((False, *_NOTHING) for _ in Resource)
        return (True, True, True, False, 0, 0, 0.0, *_usage(verdict), 0.0, *nothing)
    parts = [_part(resource, verdict, decision, status) for resource in Resource]
    if decision.changed or None in parts or not _in_step(status, verdict, decision):
        return None
    config = spec.auto_scaling_config.auto_set_resources
    return (
        True,
        True,
        False,
        verdict.evidence.shares is not None,
        _waiting(verdict, config),
        min(config.min_samples, _MOST_SAMPLES),
        config.initial_delay_period,
        *_usage(verdict),
        estimation_written,
        *parts,
    )


def _usage(verdict: Verdict) -> tuple[int, float]:
    found = verdict.usage
    return (Availability.UNTOLD, -math.inf) if found is None else (found.availability, found.began)


def _waiting(verdict: Verdict, config: AutoSetResources) -> int:
    if verdict.waiting is None:
        return 0
    few = verdict.evidence.samples < config.min_samples or verdict.evidence.first is None
    return 1 if few else 2


def _in_step(status: Status, verdict: Verdict, decision: Decision) -> bool:
    """Whether the estimation in a status is of the resources that it is to be of, and of no other."""
    written = set(status.get("estimation") or ())
    found = {resource.value for resource in verdict.estimates}
    return found <= written <= found | {resource.value for resource in decision.measured}


def _part(resource: Resource, verdict: Verdict, decision: Decision, status: Status) -> _Part | None:
    ruling, estimate = verdict.preallocation, verdict.estimates.get(resource)
    left_alone = resource is Resource.VRAM and ruling is not None and ruling.holds
    advised = resource in verdict.consultation.advice.resources
    if verdict.waiting is not None or left_alone or advised:
        return (False, *_NOTHING)
    if estimate is None:
        return (True, *_NOTHING)
    entry = (status.get("estimation") or {}).get(resource.value)
    shown = _shown(resource, entry) if isinstance(entry, Mapping) else None
    request = decision.compared.get(resource)
    if shown is None or (request or 0) > _LARGEST_EXACT:
        return None
    side = _side(request, estimate)
    sensitive = side != 0 or decision.rule is not None
    return (True, False, sensitive, side, math.nan if request is None else request, estimate.target, *shown)


def _side(request: int | None, estimate: Estimate) -> int:
    if request is None:
        return 0
    return -1 if request < estimate.lower_bound else int(request > estimate.upper_bound)


def _shown(
    resource: Resource, entry: Mapping[str, Any]
) -> tuple[tuple[float, ...], tuple[float, float]] | None:
    """The amounts that the status shows of a resource, and between which confidences it shows the same."""
    if entry.keys() != {*_FIELDS, "confidence"}:
        return None
    try:
        amounts = tuple(parse_amount(resource, entry[name]) for name in _FIELDS)
        confidence = float(entry["confidence"])
    except (QuantityError, TypeError, ValueError):
        return None
    # Anything that we would spell otherwise is to be written anew.
    ours = [*(format_amount(resource, amount) for amount in amounts), f"{confidence:.3g}"]
    if ours != [entry[name] for name in (*_FIELDS, "confidence")] or not math.isfinite(confidence):
        return None
    return tuple(map(float, amounts)), _same_text(Decimal(entry["confidence"]))


def _same_text(shown: Decimal) -> tuple[float, float]:
    """Between which numbers three digits show the same; a little less than that, to be sure."""
    half = Decimal("0.49").scaleb(shown.adjusted() - 2)
    # Below a power of ten the digits are finer.
    below = half / 10 if shown.normalize().as_tuple().digits == (1,) else half
    return float(shown - below), float(shown + half)
