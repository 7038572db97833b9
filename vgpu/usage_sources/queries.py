"""The PromQL that reads all pods' use of a resource at once."""

from collections.abc import Collection, Iterator
from typing import Final, Literal

from vgpu.slices import Resource
from vgpu.usage_sources.preset import Measure, Preset, Reading

SampleKind = Literal["maximum", "mean"]

_OVER_TIME: Final[dict[SampleKind, str]] = {"maximum": "max_over_time", "mean": "avg_over_time"}
# An expression is evaluated so often in each window, where a selector gives every raw sample.
_EVALUATIONS: Final = 4
_SHORTEST_RESOLUTION: Final = 1000


def bulk_query(
    preset: Preset,
    resource: Resource,
    *,
    window: float,
    sample: SampleKind = "maximum",
    pods: Collection[str] = (),
) -> str:
    """The PromQL of one resource of all pods, one series for each GPU of a pod.

    Values are TFLOPS, bytes, or parts of a card from 0 to 1.

    Args:
        preset: what to ask for.
        resource: what to measure.
        window: seconds before each point that the point stands for, open on the left.
        sample: what of the window counts; of VRAM it is always the maximum.
        pods: names of the pods that are wanted; none for all. It needs `restrictable(preset)`.
    """
    measure = preset.measure(resource)
    function = _OVER_TIME[sample if resource is Resource.TFLOPS else "maximum"]
    labels = ", ".join(preset.labels)
    milliseconds = round(window * 1000)
    return " or ".join(
        f"max by ({labels}) ({function}({_in_window(query, milliseconds)})){_times(reading.scale)}"
        for reading in measure.readings
        for query in _restricted(reading, preset.pod_labels, pods)
    )


def probe(preset: Preset, resource: Resource) -> str:
    """A query that a server takes if, and only if, it will take those of this resource."""
    return bulk_query(preset, resource, window=1.0)


def raw_query(measure: Measure, *, window: float) -> str:
    """The range selector of a resource's raw samples, of each way in which it is told.

    Args:
        measure: how it is told; several ways are plain metric names.
        window: seconds before the time of the query.

    Raises:
        ValueError: there are several ways, and they are no metric names.
    """
    milliseconds = round(window * 1000)
    if len(measure.readings) == 1:
        return _in_window(measure.readings[0].query, milliseconds)
    names = [reading.selector for reading in measure.readings]
    if any(name is None or not name[0] or name[1] for name in names):
        raise ValueError(f"{names} cannot be asked for at once: raw samples are found by plain metric names")
    return f'{{__name__=~"{"|".join(name[0] for name in names if name)}"}}[{milliseconds}ms]'


def reading_of(measure: Measure, metric: str) -> int | None:
    """Which of a measure's readings a raw series is of, by its metric's name; None where it is of none."""
    if len(measure.readings) == 1:
        return 0
    names = [reading.selector for reading in measure.readings]
    return next((index for index, name in enumerate(names) if name and name[0] == metric), None)


def restrictable(preset: Preset) -> bool:
    """Whether the server can be asked for some pods only.

    Not where the series of other pods tell whether a card is shared, nor within any expression.
    """
    readings = (*preset.compute.readings, *preset.memory.readings)
    return not preset.whole_cards and all(reading.selector is not None for reading in readings)


def _in_window(query: str, milliseconds: int) -> str:
    if Reading(query).selector is not None:
        return f"{query}[{milliseconds}ms]"
    resolution = max(_SHORTEST_RESOLUTION, milliseconds // _EVALUATIONS)
    # A query may end in a comment, which ends with its line.
    return f"({query}\n)[{milliseconds}ms:{min(resolution, milliseconds)}ms]"


def _restricted(reading: Reading, labels: tuple[str, ...], pods: Collection[str]) -> Iterator[str]:
    """The reading's query for some pods: PromQL has no `or` within a selector, so once for each label."""
    if not pods:
        yield reading.query
        return
    selector = reading.selector
    if selector is None:
        raise ValueError(f"{reading.query} cannot be asked for some pods only: it is no plain selector")
    name, matchers = selector
    wanted = "|".join(pod.replace(".", "[.]") for pod in sorted(pods))
    for label in labels:
        yield f'{name}{{{matchers}{"," if matchers else ""}{label}=~"{wanted}"}}'


def _times(scale: float) -> str:
    return "" if scale == 1 else f" * {scale:.12g}"
