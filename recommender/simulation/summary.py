"""What a simulation came to as a whole."""

from collections.abc import Mapping
from dataclasses import dataclass

from recommender.simulation.course import Course, Fit, fits
from recommender.simulation.measurements import Measurements
from recommender.simulation.trial import Trial
from recommender.usage.samples import Outcome
from vgpu.slices import Resource, VgpuSlice


@dataclass(frozen=True, slots=True)
class ResourceSummary:
    """One resource's part.

    Attributes:
        taken: samples that were fed.
        dropped: rows that were not, by reason.
        recommended: how usage stood to what was recommended.
        own: how the same usage stood to the user's own slice; None where nobody gave one.
    """

    taken: int
    dropped: Mapping[Outcome, int]
    recommended: Fit
    own: Fit | None


@dataclass(frozen=True, slots=True)
class Summary:
    """What a simulation came to as a whole.

    Attributes:
        first: time of the first sample, in seconds since the epoch.
        last: time of the latest.
        interval: seconds between two passes.
        passes: how many there were.
        pods: how many pods have samples.
        changes: how often the recommendation became another, the first included.
        own: the slice that it began with.
        assumed: the resources in it that nobody gave.
        resources: what each resource came to.
    """

    first: float
    last: float
    interval: float
    passes: int
    pods: int
    changes: int
    own: VgpuSlice
    assumed: frozenset[Resource]
    resources: Mapping[Resource, ResourceSummary]


def summarize(course: Course, measurements: Measurements, trial: Trial, *, interval: float) -> Summary:
    """Sum up what was recommended for some usage.

    Args:
        course: what was recommended when.
        measurements: the usage.
        trial: what was tried.
        interval: seconds between two passes.
    """
    own = trial.spec.resources
    resources = {}
    for resource, measured in measurements.resources.items():
        recommended, of_own = fits(course, measured, resource, own)
        resources[resource] = ResourceSummary(
            taken=len(measured.times),
            dropped=measured.dropped,
            recommended=recommended,
            own=None if resource in trial.assumed else of_own,
        )
    return Summary(
        first=measurements.first,
        last=measurements.last,
        interval=interval,
        passes=len(course.times),
        pods=len(measurements.pods),
        changes=course.changes,
        own=own,
        assumed=trial.assumed,
        resources=resources,
    )
