"""From estimates to what a workload shall request: bounds, limits, caps, and cron rules.

All of it is pure: amounts are milli-TFLOPS and bytes, time is an argument, and TFLOPS and VRAM never touch.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from recommender.estimators import Estimate
from recommender.targets import LABELS, Proposal, Reduction, capped, describe, pair, propose, with_proposals
from vgpu.api import AutoSetResources
from vgpu.schedule import Rule
from vgpu.slices import Amounts, Resource, VgpuSlice, format_amount, merge_rule

Reason = Literal["OutOfEstimatedBound", "RuleActive", "RuleInactive", "WithinBounds", "InsufficientSamples"]

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
        warnings: What the operator should know about this decision, for the log.
    """

    recommendation: VgpuSlice | None
    changed: bool
    reason: Reason
    message: str
    rule: str | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Case:
    """What a decision rests on besides the cron rule."""

    estimates: Mapping[Resource, Estimate]
    config: AutoSetResources
    baseline: VgpuSlice
    current: VgpuSlice
    cap: Amounts

    def scalable(self) -> Iterator[Resource]:
        """The resources that have an estimate, and a ratio of the baseline to keep."""
        return (
            resource
            for resource in Resource
            if resource in self.estimates and all(pair(self.baseline, resource))
        )

    def propose(self, resource: Resource) -> Proposal:
        """What the resource's target makes of request and limit."""
        return propose(resource, self.estimates[resource].target, self.config, self.baseline)


def decide(  # noqa: PLR0913 - each is named at the call, and a decision has that many sides
    *,
    estimates: Mapping[Resource, Estimate],
    config: AutoSetResources,
    baseline: VgpuSlice,
    current: VgpuSlice,
    samples: int,
    first_sample: float | None,
    rule: Rule | None,
    previous_rule: str | None,
    cap: Amounts,
    now: float,
) -> Decision:
    """Decides what a workload shall request.

    Args:
        estimates: Of the resources that have samples.
        config: The workload's own configuration.
        baseline: The slice as the user asked for it; its ratio of limit to request is kept.
        current: The last recommendation, or the baseline where there was none.
        samples: TFLOPS samples taken so far, over all pods.
        first_sample: When the first of them was taken, epoch seconds.
        rule: The cron rule that is active.
        previous_rule: Name of the rule that was active on the last pass.
        cap: What a card gives; None or 0 where that is not known.
        now: The time, epoch seconds.
    """
    waiting = _waiting_for(config, samples, first_sample, now)
    current = _completed(current, baseline)
    case = _Case({} if waiting else estimates, config, baseline, current, cap)
    if rule is not None:
        return _while_active(case, rule, previous_rule)
    if previous_rule is not None:
        return _at_the_end(case, previous_rule)
    if waiting:
        return Decision(None, changed=False, reason="InsufficientSamples", message=waiting, rule=None)
    return _by_bounds(case)


def _waiting_for(
    config: AutoSetResources, samples: int, first_sample: float | None, now: float
) -> str | None:
    """Why it is too early for a recommendation, or None."""
    if samples < config.min_samples or first_sample is None:
        return f"Fewer than {config.min_samples} samples so far"
    if not now - first_sample >= config.initial_delay_period:
        return f"The first sample is less than initialDelayPeriod ({config.initial_delay_period:g}s) old"
    return None


def _completed(current: VgpuSlice, baseline: VgpuSlice) -> VgpuSlice:
    """The current slice, with the baseline's value where it has none."""
    for resource in Resource:
        request, limit = current.requests.get(resource), current.limits.get(resource)
        current = current.with_resource(
            resource,
            request=baseline.requests.get(resource) if request is None else request,
            limit=baseline.limits.get(resource) if limit is None else limit,
        )
    return current


def _by_bounds(case: _Case) -> Decision:
    causes = _causes(case)
    proposals = _worthwhile(case, [case.propose(resource) for resource in causes])
    wanted, reductions = capped(with_proposals(case.current, proposals), case.cap, proposals)
    calm = _HELD if causes else _WITHIN
    if wanted == case.current:
        return Decision(wanted, changed=False, reason="WithinBounds", message=calm, rule=None)
    told = [
        cause
        for resource, cause in causes.items()
        if resource in reductions or pair(wanted, resource) != pair(case.current, resource)
    ]
    return Decision(
        recommendation=wanted,
        changed=True,
        reason="OutOfEstimatedBound" if told else "WithinBounds",
        message=_joined(told or [calm], reductions),
        rule=None,
        warnings=_warnings(proposals),
    )


def _while_active(case: _Case, rule: Rule, previous_rule: str | None) -> Decision:
    if previous_rule not in {None, rule.name}:
        # One rule follows another: what the first one asked for ends here.
        case = replace(case, current=_after_rule(case)[0])
    proposals = _worthwhile(case, [case.propose(resource) for resource in _causes(case)])
    merged = merge_rule(rule.desired, with_proposals(_measured(case), proposals), case.current)
    wanted, reductions = capped(merged, case.cap, proposals)
    return Decision(
        recommendation=wanted,
        changed=wanted != case.current or previous_rule != rule.name,
        reason="RuleActive",
        message=_joined([f'Cron scaling rule "{rule.name}" is active'], reductions),
        rule=rule.name,
        warnings=_warnings(proposals),
    )


def _at_the_end(case: _Case, previous_rule: str) -> Decision:
    slice_, proposals = _after_rule(case)
    wanted, reductions = capped(slice_, case.cap, proposals)
    return Decision(
        recommendation=wanted,
        changed=True,
        reason="RuleInactive",
        message=_joined([f'Cron scaling rule "{previous_rule}" is inactive'], reductions),
        rule=None,
        warnings=_warnings(proposals),
    )


def _after_rule(case: _Case) -> tuple[VgpuSlice, list[Proposal]]:
    """The larger of baseline and target for each resource, so that nothing dips when a rule ends."""
    targets = [case.propose(resource) for resource in case.scalable()]
    larger = [
        target for target in targets if target.request > (case.baseline.requests.get(target.resource) or 0)
    ]
    return with_proposals(case.baseline, larger), larger


def _measured(case: _Case) -> VgpuSlice:
    """The current values of the resources that usage has a say in, and nothing of the others."""
    measured = VgpuSlice()
    for resource in case.scalable():
        request, limit = pair(case.current, resource)
        measured = measured.with_resource(resource, request=request, limit=limit)
    return measured


def _causes(case: _Case) -> dict[Resource, str]:
    """The resources whose current request lies outside its bounds, and how the condition says so."""
    causes = {resource: _cause(case, resource) for resource in case.scalable()}
    return {resource: cause for resource, cause in causes.items() if cause is not None}


def _cause(case: _Case, resource: Resource) -> str | None:
    estimate = case.estimates[resource]
    request = case.current.requests.get(resource) or 0
    if request < estimate.lower_bound:
        direction, bound, amount = "up", "below lower bound", estimate.lower_bound
    elif request > estimate.upper_bound:
        direction, bound, amount = "down", "above upper bound", estimate.upper_bound
    else:
        return None
    shown, limit = format_amount(resource, request), format_amount(resource, amount)
    return f"{LABELS[resource]} scaled {direction} due to ({shown}) {bound} ({limit})"


def _worthwhile(case: _Case, proposals: list[Proposal]) -> list[Proposal]:
    """All proposals, or none when not one of them moves its request by more than the threshold."""
    for proposal in proposals:
        request = case.current.requests.get(proposal.resource) or 0
        if abs(proposal.request - request) > case.config.update_threshold * request:
            return proposals
    return []


def _joined(parts: list[str], reductions: Mapping[Resource, Reduction]) -> str:
    notes = [describe(resource, reductions[resource]) for resource in Resource if resource in reductions]
    return ", ".join([*parts, *notes])


def _warnings(proposals: Iterable[Proposal]) -> tuple[str, ...]:
    return tuple(proposal.warning for proposal in proposals if proposal.warning)
