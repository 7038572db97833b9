"""Shorthand for the many sides of a decision: requests in TFLOPS and GiB, and what is not said is quiet."""

from typing import Any

from recommender.estimators import Estimate
from recommender.recommendation import Decision, decide, waiting_for
from recommender.standing import Published
from vgpu.api import AutoSetResources
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
