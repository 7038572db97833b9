"""Shorthand for the many sides of a decision: requests in TFLOPS and GiB, and what is not said is quiet."""

from typing import Any

from hypothesis import strategies as st

from recommender.decisions.recommendation import Decision, decide, waiting_for
from recommender.decisions.standing import Published
from recommender.histories.estimators import Estimate
from vgpu.api import AutoSetResources
from vgpu.quantities import INT64_MAX
from vgpu.schedule import Rule
from vgpu.slices import Amounts, Resource, VgpuSlice

GIB = 1 << 30
NOW = 1_700_000_000.0
TFLOPS, VRAM = Resource.TFLOPS, Resource.VRAM


def slice_of(tflops: float, vram: int = 1, *, limits: tuple[float, int] | None = None) -> VgpuSlice:
    """Requests in TFLOPS and GiB, limits the same where none are given."""
    tflops_limit, vram_limit = limits or (tflops, vram)
    return VgpuSlice(
        Amounts(tflops=round(1000 * tflops), vram=vram * GIB),
        Amounts(tflops=round(1000 * tflops_limit), vram=vram_limit * GIB),
    )


def tflops(target: float, lower: float, upper: float) -> dict[Resource, Estimate]:
    return {TFLOPS: Estimate(round(1000 * target), round(1000 * lower), round(1000 * upper), confidence=1.0)}


def vram(target: int, lower: int, upper: int) -> dict[Resource, Estimate]:
    return {VRAM: Estimate(target * GIB, lower * GIB, upper * GIB, confidence=1.0)}


def rule(name: str = "test", **desired: Amounts) -> Rule:
    return Rule(name=name, start="0 0 * * Thu", end="59 23 * * Thu", desired=VgpuSlice(**desired))


THURSDAY = rule(requests=Amounts(tflops=44_000, vram=5 * GIB), limits=Amounts(tflops=99_000, vram=10 * GIB))


def decided(
    *,
    current: VgpuSlice | None = None,
    measured: frozenset[Resource] = frozenset(),
    previous: Rule | None = None,
    samples: int = 100,
    first_sample: float | None = NOW - 3600,
    **given: Any,
) -> Decision:
    config = AutoSetResources.model_validate(given.pop("config", {}))
    published = Published(
        recommendation=current,
        measured=measured,
        rule=previous.name if previous else None,
        desired=previous.desired if previous else VgpuSlice(),
    )
    arguments: dict[str, Any] = {
        "estimates": {},
        "baseline": slice_of(1),
        "published": published,
        "waiting": waiting_for(config, samples=samples, first_sample=first_sample, now=NOW),
        "rule": None,
        "cap": Amounts(),
    } | given
    return decide(config=config, **arguments)


# Strategies: amounts up to the largest there are, and every configuration that the API takes.

AMOUNT = st.integers(0, INT64_MAX) | st.sampled_from([0, 1, 999, 1000, GIB, INT64_MAX])
NUMBER = st.floats(min_value=0, allow_infinity=False, allow_nan=False)


@st.composite
def ordered(draw: st.DrawFn) -> tuple[int, int]:
    low, high = sorted((draw(AMOUNT), draw(AMOUNT)))
    return low, high


@st.composite
def slices(draw: st.DrawFn) -> VgpuSlice:
    slice_ = VgpuSlice()
    for resource in Resource:
        if pair := draw(st.none() | ordered()):
            slice_ = slice_.with_resource(resource, request=pair[0], limit=pair[1])
    return slice_


@st.composite
def configurations(draw: st.DrawFn) -> AutoSetResources:
    ratio = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
    ratios = [sorted((draw(ratio), draw(ratio))) for _ in Resource]
    allowed = [sorted((draw(AMOUNT), draw(AMOUNT))) for _ in Resource]
    return AutoSetResources(
        min_allowed=Amounts(*(least for least, _ in allowed)),
        max_allowed=Amounts(*(draw(st.sampled_from([None, most])) for _, most in allowed)),
        min_compute_resources_ratio=draw(st.sampled_from([None, ratios[0][0]])),
        max_compute_resources_ratio=draw(st.sampled_from([None, ratios[0][1]])),
        min_vram_resources_ratio=draw(st.sampled_from([None, ratios[1][0]])),
        max_vram_resources_ratio=draw(st.sampled_from([None, ratios[1][1]])),
        update_threshold=draw(NUMBER),
        initial_delay_period=draw(NUMBER),
        min_samples=draw(st.integers(1, 40)),
    )
