"""What a decision starts from: the current value of each resource, by what stands behind it.

- Usage does, where a resource has an estimate, or had one when its recommendation was made and no rule has
  taken it over since: then the last recommendation is the current value, also over a restart.
- Otherwise nothing does but the user's own slice, as it is now: a later edit of the template comes through.

A limit is never remembered: it follows from the request by the ratio that the baseline has now. A resource
without such a ratio, one that has a zero or nothing in its request or limit, is the user's alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from recommender.estimators import Estimate
from recommender.targets import Proposal, pair, propose, with_proposals
from vgpu.api import AutoSetResources
from vgpu.slices import Amounts, Resource, VgpuSlice, limit_for


@dataclass(frozen=True, slots=True)
class Published:
    """What the last decisions left behind, in the status of the workload.

    Attributes:
        recommendation: The last one, or None.
        measured: The resources in it that rest on usage.
        rule: Name of the cron rule that was active, or None.
        desired: What that rule asked for.
    """

    recommendation: VgpuSlice | None = None
    measured: frozenset[Resource] = frozenset()
    rule: str | None = None
    desired: VgpuSlice = field(default_factory=VgpuSlice)

    def is_of_rule(self, resource: Resource) -> bool:
        """Whether a resource has what the rule asked for: usage wins only with more than that."""
        if self.recommendation is None or self.rule is None:
            return False
        recommended = self.recommendation.requests.get(resource) or 0
        request, limit = pair(self.desired, resource)
        return recommended <= request if request is not None else limit == recommended


@dataclass(frozen=True, slots=True)
class Standing:
    """What a decision rests on besides the cron rule that is active.

    Attributes:
        estimates: Of the resources that have samples enough.
        config: The workload's own configuration.
        baseline: The slice as the user asked for it.
        published: What was decided last.
        ended: Whether a rule that was active then no longer is.
    """

    estimates: Mapping[Resource, Estimate]
    config: AutoSetResources
    baseline: VgpuSlice
    published: Published
    ended: bool

    @property
    def before(self) -> VgpuSlice:
        """What new pods have got so far."""
        return self.published.recommendation or self.baseline

    def scalable(self) -> Iterator[Resource]:
        """The resources that have an estimate, and a ratio of the baseline to keep."""
        return (resource for resource in Resource if resource in self.estimates and self._has_ratio(resource))

    def measured(self) -> frozenset[Resource]:
        """The resources that usage has a say in."""
        standing = (
            resource
            for resource in self.published.measured
            if self._has_ratio(resource) and not self.published.is_of_rule(resource)
        )
        return frozenset(self.scalable()) | frozenset(standing)

    def current(self) -> VgpuSlice:
        """The slice that the bounds are compared with.

        Where a rule has ended it is the larger of baseline and target, so that nothing dips. Where an active
        one hides what usage said before, it is that too, unless the baseline exceeds the rule's word: what is
        hidden does not, so that it cannot have been the baseline.
        """
        current = self.baseline
        for resource in self.measured():
            afresh = self.ended or self.published.is_of_rule(resource)
            if not (afresh and resource in self.estimates):
                current = self._with_published(current, resource)
        return with_proposals(current, self.risen())

    def risen(self) -> list[Proposal]:
        """The targets that count at once, whatever the bounds say."""
        targets = (
            self.propose(resource)
            for resource in self.scalable()
            if self.ended or self.published.is_of_rule(resource)
        )
        return [target for target in targets if self._counts_at_once(target)]

    def _counts_at_once(self, target: Proposal) -> bool:
        baseline = self.baseline.requests.get(target.resource) or 0
        said_by_rule = self.before.requests.get(target.resource) or 0
        return target.request > baseline or (not self.ended and baseline > said_by_rule)

    def propose(self, resource: Resource) -> Proposal:
        """What the resource's target makes of request and limit."""
        return propose(resource, self.estimates[resource].target, self.config, self.baseline)

    def most(self, wanted: VgpuSlice, card: Amounts) -> Amounts:
        """What each resource of a slice may have at most; None where nothing cuts it.

        The card cuts what usage asks for or confirms now. It does not cut the user's own slice, nor, while
        there is no estimate, what was published: the larger cards may only be scaled away.

        Args:
            wanted: what the workload would get.
            card: what the largest card gives; None or 0 where that is not known.
        """
        return Amounts(**{resource.value: self._most(resource, wanted, card) for resource in Resource})

    def _most(self, resource: Resource, wanted: VgpuSlice, card: Amounts) -> int | None:
        most = card.get(resource)
        usage = resource in self.measured() and pair(wanted, resource) != pair(self.baseline, resource)
        if not most or not usage:
            return None
        if resource in self.estimates:
            return most
        return max(most, *(amount or 0 for amount in pair(self.before, resource)))

    def _with_published(self, slice_: VgpuSlice, resource: Resource) -> VgpuSlice:
        request = self.before.requests.get(resource)
        baseline_request, baseline_limit = pair(self.baseline, resource)
        if not request or not baseline_request or not baseline_limit:
            return slice_
        limit, _ = limit_for(request, baseline_request=baseline_request, baseline_limit=baseline_limit)
        return slice_.with_resource(resource, request=request, limit=limit)

    def _has_ratio(self, resource: Resource) -> bool:
        return all(pair(self.baseline, resource))
