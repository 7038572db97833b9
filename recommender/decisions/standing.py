"""What a decision starts from: the current value of each resource, by what stands behind it.

- Usage does, where a resource has an estimate, or had one when its recommendation was made and no rule has
  taken it over since: then the last recommendation is the current value, also over a restart.
- Otherwise nothing does but the user's own slice, as it is now: a later edit of the template comes through.

A limit is never remembered: it follows from the request by the ratio that the baseline has now. A resource
without such a ratio, one that has a zero or nothing in its request or limit, is the user's alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from recommender.decisions.targets import Proposal, pair, propose, with_proposals
from recommender.histories.estimators import Estimate
from vgpu.api import AutoSetResources
from vgpu.schedule import Rule
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
        """Whether a resource has what the rule asked for: usage wins only with more than that.

        A rule that names a limit alone can cut the user's own request to it, never one that rests on usage.
        """
        if self.recommendation is None or self.rule is None:
            return False
        recommended = self.recommendation.requests.get(resource) or 0
        request, limit = pair(self.desired, resource)
        if request is None:
            return limit == recommended and resource not in self.measured
        return recommended <= request


@dataclass(frozen=True, slots=True)
class Standing:
    """What a decision rests on.

    Attributes:
        estimates: Of the resources that have samples enough.
        config: The workload's own configuration.
        baseline: The slice as the user asked for it.
        published: What was decided last.
        ended: Whether a rule that was active then no longer is.
        rule: The cron rule that is active.
    """

    estimates: Mapping[Resource, Estimate]
    config: AutoSetResources
    baseline: VgpuSlice
    published: Published
    ended: bool
    rule: Rule | None = None
    # Asked for many times in a decision.
    _scalable: tuple[Resource, ...] = field(init=False, repr=False, compare=False)
    _measured: frozenset[Resource] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Work out which resources usage has a say in."""
        scalable = tuple(each for each in Resource if each in self.estimates and self._has_ratio(each))
        stand = (
            each for each in self.published.measured if self._has_ratio(each) and not self._is_hidden(each)
        )
        object.__setattr__(self, "_scalable", scalable)
        object.__setattr__(self, "_measured", frozenset((*scalable, *stand)))

    @property
    def before(self) -> VgpuSlice:
        """What new pods have got so far."""
        return self.published.recommendation or self.baseline

    def scalable(self) -> tuple[Resource, ...]:
        """The resources that have an estimate, and a ratio of the baseline to keep."""
        return self._scalable

    def measured(self) -> frozenset[Resource]:
        """The resources that usage has a say in."""
        return self._measured

    def current(self) -> VgpuSlice:
        """The slice that the bounds are compared with.

        Where a rule has ended it is the larger of baseline and target, so that nothing dips. Where an active
        one hides what usage said before, it is that too, unless the baseline exceeds the rule's word: what is
        hidden does not, so that it cannot have been the baseline. A rule that begins hides it at once, or the
        next pass would decide otherwise.
        """
        current = self.baseline
        for resource in self.measured():
            afresh = self.ended or self._is_hidden(resource)
            if not (afresh and resource in self.estimates):
                current = self._with_published(current, resource)
        return with_proposals(current, self.risen())

    def risen(self) -> list[Proposal]:
        """The targets that count at once, whatever the bounds say."""
        targets = (
            self.propose(resource) for resource in self.scalable() if self.ended or self._is_hidden(resource)
        )
        return [target for target in targets if self._counts_at_once(target)]

    def _is_hidden(self, resource: Resource) -> bool:
        """Whether a rule asks for as much as usage said before: what that was, the next pass cannot tell."""
        if self.rule is None and self.published.rule is None:  # nearly always
            return False
        said_by_rule = self._said_by_rule(resource)
        hides = said_by_rule is not None and (self.before.requests.get(resource) or 0) <= said_by_rule
        return hides or self.published.is_of_rule(resource)

    def _said_by_rule(self, resource: Resource) -> int | None:
        return self.rule.desired.requests.get(resource) if self.rule is not None else None

    def as_hidden(self, moved: VgpuSlice) -> VgpuSlice:
        """What the next pass will take for the current slice, where the active rule hides what usage says.

        Args:
            moved: the current slice with the targets that the bounds ask for.
        """
        for resource in self.scalable():
            said_by_rule = self._said_by_rule(resource)
            if said_by_rule is None or (moved.requests.get(resource) or 0) > said_by_rule:
                continue
            request, limit = pair(self.baseline, resource)
            if self.propose(resource).request <= (request or 0) <= said_by_rule:
                moved = moved.with_resource(resource, request=request, limit=limit)
        return moved

    def _counts_at_once(self, target: Proposal) -> bool:
        baseline = self.baseline.requests.get(target.resource) or 0
        before = self.before.requests.get(target.resource) or 0
        said_by_rule = max(before, self._said_by_rule(target.resource) or 0)
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

    def with_own_limits(self, cut: VgpuSlice, wanted: VgpuSlice) -> VgpuSlice:
        """Gives a request that is the user's own its limit back, as far as it was wanted.

        A target may end at the baseline's request, by the card or otherwise. The next pass cannot tell that
        from the user's own slice, which no card cuts.

        Args:
            cut: what the card has left of `wanted`.
            wanted: what the workload would get.
        """
        for resource in self.measured():
            request, limit = pair(cut, resource)
            own_request, own_limit = pair(self.baseline, resource)
            wanted_limit = wanted.limits.get(resource)
            if request == own_request and limit and own_limit and wanted_limit:
                given_back = max(limit, min(wanted_limit, own_limit))
                cut = cut.with_resource(resource, request=request, limit=given_back)
        return cut

    def _with_published(self, slice_: VgpuSlice, resource: Resource) -> VgpuSlice:
        request = self.before.requests.get(resource)
        baseline_request, baseline_limit = pair(self.baseline, resource)
        if not request or not baseline_request or not baseline_limit:
            return slice_
        limit, _ = limit_for(request, baseline_request=baseline_request, baseline_limit=baseline_limit)
        return slice_.with_resource(resource, request=request, limit=limit)

    def _has_ratio(self, resource: Resource) -> bool:
        return all(pair(self.baseline, resource))
