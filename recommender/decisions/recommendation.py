"""From estimates to what a workload shall request: bounds, limits, caps, and cron rules.

All of it is pure: amounts are milli-TFLOPS and bytes, time is an argument, and TFLOPS and VRAM never touch.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from recommender.decisions.external import NO_ADVICE, Advice, with_advice
from recommender.decisions.standing import Published, Standing
from recommender.decisions.targets import LABELS, Proposal, Reduction, capped, describe, pair, with_proposals
from recommender.histories.estimators import Estimate
from vgpu.api import AutoSetResources
from vgpu.schedule import Rule
from vgpu.slices import Amounts, Resource, VgpuSlice, format_amount, merge_rule

Reason = Literal[
    "OutOfEstimatedBound",
    "ExternalScalerRecommended",
    "RuleActive",
    "RuleInactive",
    "WithinBounds",
    "InsufficientSamples",
]

_WITHIN: Final = "Requests lie within the estimated bounds"
_HELD: Final = "Requests stay as they are by updateThreshold, by their configured limits or by the card"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a workload shall request from now on, and why.

    Attributes:
        recommendation: The slice for new pods; None when there is nothing to recommend yet, and what was
            recommended before, if anything was, stays.
        changed: Whether the recommendation or the active rule is another one than before. Where it is not,
            reason and message only say how things are: those of the last change still explain what is
            recommended.
        reason: Of the condition RecommendationProvided.
        message: Of the same condition. It changes only with the decision, never by counts or times.
        rule: Name of the active cron rule.
        measured: The resources whose value rests on usage, or is held by what usage said before a restart.
        warnings: What the operator should know about this decision, for the log.
        compared: The requests that were held against the bounds, of the resources that have estimates and a
            ratio to keep.
    """

    recommendation: VgpuSlice | None
    changed: bool
    reason: Reason
    message: str
    rule: str | None
    measured: frozenset[Resource] = frozenset()
    warnings: tuple[str, ...] = ()
    compared: Mapping[Resource, int] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class _Case:
    """What a decision rests on, and what follows from that alone."""

    standing: Standing
    current: VgpuSlice
    measured: frozenset[Resource]
    cap: Amounts
    advice: Advice


def waiting_for(
    config: AutoSetResources, *, samples: int, first_sample: float | None, now: float
) -> str | None:
    """Why it is too early for usage to have a say, or None.

    Args:
        config: The workload's own configuration.
        samples: TFLOPS samples taken so far, over all pods.
        first_sample: When the first of them was taken, epoch seconds.
        now: The time, epoch seconds.
    """
    if samples < config.min_samples or first_sample is None:
        return f"Fewer than {config.min_samples} samples so far"
    if not now - first_sample >= config.initial_delay_period:
        return f"The first sample is less than initialDelayPeriod ({config.initial_delay_period:g}s) old"
    return None


def decide(
    *,
    estimates: Mapping[Resource, Estimate],
    config: AutoSetResources,
    baseline: VgpuSlice,
    published: Published,
    waiting: str | None,
    rule: Rule | None,
    cap: Amounts,
    advice: Advice = NO_ADVICE,
) -> Decision:
    """Decides what a workload shall request.

    Args:
        estimates: Of the resources that have samples.
        config: The workload's own configuration.
        baseline: The slice as the user asked for it; its ratio of limit to request is kept.
        published: What was decided last.
        waiting: Why it is too early for usage to have a say; estimates then count for nothing.
        rule: The cron rule that is active.
        cap: What a card gives; None or 0 where that is not known.
        advice: What an external scaler says; it counts in place of the estimates, and whoever waits for usage
            does not wait for it.
    """
    ended = published.rule is not None and (rule is None or rule.name != published.rule)
    counting = with_advice({} if waiting else estimates, advice)
    standing = Standing(counting, config, baseline, published, ended, rule)
    case = _Case(standing, standing.current(), standing.measured(), cap, advice)
    return replace(_decided(case, waiting, rule), compared=_compared(case))


def _decided(case: _Case, waiting: str | None, rule: Rule | None) -> Decision:
    published = case.standing.published
    if rule is not None:
        return _while_active(case, rule)
    if published.rule is not None:
        return _at_the_end(case, published.rule)
    if waiting and published.recommendation is None and not case.advice.resources:
        return Decision(None, changed=False, reason="InsufficientSamples", message=waiting, rule=None)
    return _by_bounds(case, waiting)


def _by_bounds(case: _Case, waiting: str | None) -> Decision:
    causes = _causes(case)
    proposals = _worthwhile(case, [case.standing.propose(resource) for resource in causes])
    wanted, reductions = _capped(case, with_proposals(case.current, proposals), proposals)
    told = {
        resource: cause
        for resource, cause in causes.items()
        if resource in reductions or pair(wanted, resource) != pair(case.current, resource)
    }
    changed = wanted != case.standing.before
    decision = Decision(
        recommendation=wanted,
        changed=changed,
        reason="InsufficientSamples" if waiting else "WithinBounds",
        message=waiting or (_HELD if causes else _WITHIN),
        rule=None,
        measured=case.measured,
        warnings=_warnings(proposals) if changed else (),
    )
    if not changed:
        return decision
    return replace(
        decision,
        reason=_reason(told, case.advice) or decision.reason,
        message=_joined([*told.values()] or [decision.message], reductions) + _quoted(told, case.advice),
    )


def _reason(told: Iterable[Resource], advice: Advice) -> Reason | None:
    """Who has moved the recommendation: usage, even if it was not alone, or the external scaler."""
    moved = frozenset(told)
    if not moved:
        return None
    return "ExternalScalerRecommended" if moved <= advice.resources else "OutOfEstimatedBound"


def _quoted(told: Iterable[Resource], advice: Advice) -> str:
    return f": {advice.reason}" if advice.reason and advice.resources.intersection(told) else ""


def _while_active(case: _Case, rule: Rule) -> Decision:
    proposals = _worthwhile(case, [case.standing.propose(resource) for resource in _causes(case)])
    desired, cuts = capped(rule.desired, case.cap)
    # What the rule does not name goes on from what usage says now, so that the next pass finds the same.
    current = case.standing.as_hidden(with_proposals(case.current, proposals))
    merged = merge_rule(desired, _only(case.measured, current), current)
    wanted, reductions = _capped(case, merged, proposals)
    cuts = {resource: cut for resource, cut in cuts.items() if wanted.requests.get(resource) == cut.allowed}
    return Decision(
        recommendation=wanted,
        changed=wanted != case.standing.before or case.standing.published.rule != rule.name,
        reason="RuleActive",
        message=_joined([f'Cron scaling rule "{rule.name}" is active'], cuts | reductions),
        rule=rule.name,
        measured=case.measured,
        warnings=_warnings(proposals),
    )


def _at_the_end(case: _Case, previous_rule: str) -> Decision:
    proposals = case.standing.risen()
    wanted, reductions = _capped(case, case.current, proposals)
    return Decision(
        recommendation=wanted,
        changed=True,
        reason="RuleInactive",
        message=_joined([f'Cron scaling rule "{previous_rule}" is inactive'], reductions),
        rule=None,
        measured=case.measured,
        warnings=_warnings(proposals),
    )


def _capped(
    case: _Case, wanted: VgpuSlice, proposals: list[Proposal]
) -> tuple[VgpuSlice, dict[Resource, Reduction]]:
    cut, reductions = capped(wanted, case.standing.most(wanted, case.cap), proposals)
    return case.standing.with_own_limits(cut, wanted), reductions


def _only(resources: Iterable[Resource], slice_: VgpuSlice) -> VgpuSlice:
    """Some resources of a slice, and nothing of the others."""
    only = VgpuSlice()
    for resource in resources:
        request, limit = pair(slice_, resource)
        only = only.with_resource(resource, request=request, limit=limit)
    return only


def _compared(case: _Case) -> dict[Resource, int]:
    return {resource: case.current.requests.get(resource) or 0 for resource in case.standing.scalable()}


def _causes(case: _Case) -> dict[Resource, str]:
    """The resources whose current request lies outside its bounds, and how the condition says so."""
    causes = {resource: _cause(case, resource) for resource in case.standing.scalable()}
    return {resource: cause for resource, cause in causes.items() if cause is not None}


def _cause(case: _Case, resource: Resource) -> str | None:
    estimate = case.standing.estimates[resource]
    request = case.current.requests.get(resource) or 0
    if request < estimate.lower_bound:
        direction, bound, amount = "up", "below lower bound", estimate.lower_bound
    elif request > estimate.upper_bound:
        direction, bound, amount = "down", "above upper bound", estimate.upper_bound
    else:
        return None
    shown, limit = format_amount(resource, request), format_amount(resource, amount)
    if resource in case.advice.resources:
        return f"{LABELS[resource]} scaled {direction} due to external scaler ({limit})"
    return f"{LABELS[resource]} scaled {direction} due to ({shown}) {bound} ({limit})"


def _worthwhile(case: _Case, proposals: list[Proposal]) -> list[Proposal]:
    """All proposals, or none when not one of them moves its request by more than the threshold."""
    threshold = case.standing.config.update_threshold
    for proposal in proposals:
        request = case.current.requests.get(proposal.resource) or 0
        if abs(proposal.request - request) > threshold * request:
            return proposals
    return []


def _joined(parts: list[str], reductions: Mapping[Resource, Reduction]) -> str:
    notes = [describe(resource, reductions[resource]) for resource in Resource if resource in reductions]
    return ", ".join([*parts, *notes])


def _warnings(proposals: Iterable[Proposal]) -> tuple[str, ...]:
    return tuple(proposal.warning for proposal in proposals if proposal.warning)
