"""Applies a recommendation and the active cron rule to a pod's own slice. Pure.

The webhook writes by it, and the recommender counts by it the pods that carry what is recommended.
"""

from dataclasses import dataclass
from functools import lru_cache

from vgpu.capacity import cap
from vgpu.schedule import Rule
from vgpu.slices import Amounts, Resource, VgpuSlice, applied_digest, merge_rule


@dataclass(frozen=True, slots=True)
class Application:
    """What a pod shall carry.

    Attributes:
        slice: the slice; the pod's own where nothing is applied.
        recommended: the resources that got the recommendation or the larger of it and the rule.
        rule: name of the rule that was applied, if one was.
        digest: the value of the annotation applied-recommendation; None where nothing is applied.
    """

    slice: VgpuSlice
    recommended: frozenset[Resource] = frozenset()
    rule: str | None = None
    digest: str | None = None

    def left_out(self, carried: VgpuSlice) -> frozenset[Resource]:
        """The resources of which a pod that carries this slice has a field that the result lacks."""
        return frozenset(
            resource
            for resource in Resource
            for there, here in (
                (carried.requests.get(resource), self.slice.requests.get(resource)),
                (carried.limits.get(resource), self.slice.limits.get(resource)),
            )
            if there is not None and here is None
        )


# The pods of a template all ask the same.
@lru_cache(maxsize=4096)
def apply(
    base: VgpuSlice,
    *,
    recommendation: VgpuSlice | None,
    targets: frozenset[Resource],
    rule: Rule | None,
    card: Amounts,
    malformed: frozenset[Resource] = frozenset(),
) -> Application:
    """What a pod shall carry.

    A recommendation is for a resource that the pod asks for: right-sizing adds no resource that a template
    leaves out. A rule names what it wants, so that is applied whatever the pod asks for and whatever the
    targets are; where the resource is a target too, the larger request of rule and recommendation counts.
    A rule gives no more than a card has; a recommendation was capped when it was made, and is not cut again.
    Of a resource that neither reaches, the pod keeps its own values, even where they are odd.

    Args:
        base: the slice as the pod's template asked for it.
        recommendation: what the recommender published and still holds, if anything.
        targets: the resources whose recommendation is applied and not only shown.
        rule: the rule that is active now, if one is.
        card: what the largest card gives that the pod may get; None where that is not known.
        malformed: resources of which the pod carries a value that cannot be read; they are left as they are.
    """
    recommended = frozenset(
        resource
        for resource in targets - malformed
        if recommendation is not None and recommendation.requests.get(resource) and _asked(base, resource)
    )
    ruled = _named(rule.desired) - malformed if rule is not None else frozenset()
    histogram = _only(recommendation or VgpuSlice(), recommended)
    current = _overlaid(base, histogram, recommended)
    merged = (
        merge_rule(cap(rule.desired, card), histogram, current) if rule is not None and ruled else current
    )
    result = base
    for resource in recommended | ruled:
        result = result.with_resource(
            resource, request=merged.requests.get(resource), limit=merged.limits.get(resource)
        )
    return Application(
        slice=result,
        recommended=recommended,
        rule=rule.name if rule is not None and ruled else None,
        digest=applied_digest(result) if recommended or ruled else None,
    )


def _asked(slice_: VgpuSlice, resource: Resource) -> bool:
    return slice_.requests.get(resource) is not None or slice_.limits.get(resource) is not None


def _named(slice_: VgpuSlice) -> frozenset[Resource]:
    return frozenset(resource for resource in Resource if _asked(slice_, resource))


def _only(slice_: VgpuSlice, resources: frozenset[Resource]) -> VgpuSlice:
    for resource in frozenset(Resource) - resources:
        slice_ = slice_.with_resource(resource, request=None, limit=None)
    return slice_


def _overlaid(base: VgpuSlice, histogram: VgpuSlice, resources: frozenset[Resource]) -> VgpuSlice:
    """The base with the recommendation; a limit that it leaves out stays, but never below the request."""
    for resource in resources:
        request, limit = histogram.requests.get(resource), histogram.limits.get(resource)
        limit = base.limits.get(resource) if limit is None else limit
        if request is not None and limit is not None:
            limit = max(request, limit)
        base = base.with_resource(resource, request=request, limit=limit)
    return base
