"""What an external scaler recommends, as one more thing that a decision rests on.

It takes the place of what usage says of the resources that it names: as an estimate of which nothing is
uncertain. So it is bounded, capped and merged with a cron rule as any other estimate is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from recommender.histories.estimators import Estimate
from vgpu.slices import Amounts, Resource


@dataclass(frozen=True, slots=True)
class Advice:
    """What an external scaler recommends.

    Attributes:
        requests: Of the resources that it names.
        reason: Its own words, maybe none.
    """

    requests: Amounts = field(default_factory=Amounts)
    reason: str = ""

    @property
    def resources(self) -> frozenset[Resource]:
        """What it has a say in."""
        return frozenset(resource for resource in Resource if self.requests.get(resource))


NO_ADVICE: Final = Advice()


def with_advice(estimates: Mapping[Resource, Estimate], advice: Advice) -> dict[Resource, Estimate]:
    """What a decision rests on: what the external scaler says, and of all else what usage does."""
    amounts = {resource: advice.requests.get(resource) or 0 for resource in advice.resources}
    told = {resource: Estimate(amount, amount, amount, 1.0) for resource, amount in amounts.items()}
    return {**estimates, **told}
