"""From a target to request and limit: the baseline's ratio, the limits that a user set, and the card's."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from vgpu.api import AutoSetResources
from vgpu.capacity import cap
from vgpu.quantities import INT64_MAX
from vgpu.slices import Amounts, Resource, VgpuSlice, format_amount, limit_for

LABELS: Final = {Resource.TFLOPS: "TFLOPS", Resource.VRAM: "VRAM"}
"""How messages name the resources."""


class Reduction(NamedTuple):
    """A target that was cut to what is allowed."""

    target: int
    allowed: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one resource's target makes of its request and limit.

    Attributes:
        resource: Which resource it is.
        request: The target within the limits that the user set.
        limit: What goes with it, by the baseline's ratio.
        reduction: The target and `maxAllowed`, where that cut it.
        warning: What the operator should know.
    """

    resource: Resource
    request: int
    limit: int
    reduction: Reduction | None = None
    warning: str | None = None


def propose(resource: Resource, target: int, config: AutoSetResources, baseline: VgpuSlice) -> Proposal:
    """Makes of a target a request within `minAllowed` and `maxAllowed`, then the ratios, and its limit.

    Raises:
        ValueError: The baseline has no request, or no limit, of the resource to keep the ratio of.
    """
    baseline_request, baseline_limit = pair(baseline, resource)
    if not baseline_request or not baseline_limit:
        raise ValueError(f"the baseline {baseline} has no ratio of {resource} to keep")
    target = min(max(target, 0), INT64_MAX)
    allowed, reduction = _within_allowed(config, resource, target)
    request = _within_ratios(config, resource, allowed, baseline_request)
    limit, cut = limit_for(request, baseline_request=baseline_request, baseline_limit=baseline_limit)
    return Proposal(
        resource=resource,
        request=request,
        limit=limit,
        reduction=reduction if request < target else None,
        warning=f"the {LABELS[resource]} limit was cut to the largest possible number" if cut else None,
    )


def with_proposals(slice_: VgpuSlice, proposals: Iterable[Proposal]) -> VgpuSlice:
    """The slice with the requests and limits that are proposed."""
    for proposal in proposals:
        slice_ = slice_.with_resource(proposal.resource, request=proposal.request, limit=proposal.limit)
    return slice_


def capped(
    wanted: VgpuSlice, card: Amounts, proposals: Iterable[Proposal] = ()
) -> tuple[VgpuSlice, dict[Resource, Reduction]]:
    """Cuts a slice to what a card gives, limits included.

    Args:
        wanted: Any slice.
        card: What it gives; None or 0 where that is not known.
        proposals: Where the slice may come from.

    Returns:
        The slice, and the requests that were cut, now or when they were proposed.
    """
    reductions = {
        proposal.resource: proposal.reduction
        for proposal in proposals
        if proposal.reduction and wanted.requests.get(proposal.resource) == proposal.request
    }
    for resource in Resource:
        most = card.get(resource)
        if not most:
            continue
        request = wanted.requests.get(resource)
        if request is not None and request > most:
            target = reductions[resource].target if resource in reductions else request
            reductions[resource] = Reduction(target, most)
    return cap(wanted, card), reductions


def describe(resource: Resource, reduction: Reduction) -> str:
    """What the condition's message says of a reduction, in the documented words."""
    target, allowed = (format_amount(resource, amount) for amount in reduction)
    return f"{LABELS[resource]} reduced due to target ({target}) exceed max allowed ({allowed})"


def pair(slice_: VgpuSlice, resource: Resource) -> tuple[int | None, int | None]:
    """Request and limit of one resource."""
    return slice_.requests.get(resource), slice_.limits.get(resource)


def _within_allowed(
    config: AutoSetResources, resource: Resource, target: int
) -> tuple[int, Reduction | None]:
    request = max(target, config.min_allowed.get(resource) or 0)
    most = config.max_allowed.get(resource)
    if most is None or request <= most:
        return request, None
    return most, Reduction(target, most)


def _within_ratios(config: AutoSetResources, resource: Resource, request: int, baseline: int) -> int:
    least, most = _ratios(config, resource)
    if least is not None:
        request = max(request, _share(baseline, least))
    return request if most is None else min(request, _share(baseline, most))


def _ratios(config: AutoSetResources, resource: Resource) -> tuple[float | None, float | None]:
    if resource is Resource.TFLOPS:
        return config.min_compute_resources_ratio, config.max_compute_resources_ratio
    return config.min_vram_resources_ratio, config.max_vram_resources_ratio


def _share(amount: int, ratio: float) -> int:
    product = amount * ratio
    return round(product) if product < INT64_MAX else INT64_MAX
