"""What it costs to show the figures of many workloads to Prometheus."""

import numpy as np

from recommender.figures.table import WorkloadFigures
from recommender.histories.estimation import Estimation
from tests.bench.measuring import best_seconds
from tests.bench.population import Population, tflops_of, vram_of
from tests.bench.report import BenchLine, at_most
from vgpu.slices import Amounts, Resource, VgpuSlice

_WORKLOADS = 100_000
_CPU_GOAL = 2.0
_ROUNDS = 3
_OWN = VgpuSlice(Amounts(10_000, 8 << 30), Amounts(20_000, 16 << 30))


def lines() -> list[BenchLine]:
    """Measures /metrics with 100,000 workloads: some ten seconds."""
    return [_line("series of each", each=True), _line("sums only", each=False)]


def _line(which: str, *, each: bool) -> BenchLine:
    figures = _figures(each=each)
    size = sum(map(len, figures.exposition()))
    cpu = best_seconds([lambda: b"".join(figures.exposition())] * _ROUNDS)
    name = f"/metrics of {_WORKLOADS:,} workloads, {which}"
    return at_most(name, cpu, "s CPU", _CPU_GOAL, f"{size / 1e6:.3g} MB of text")


def _figures(*, each: bool) -> WorkloadFigures:
    figures = WorkloadFigures(each=each)
    estimation = _estimation()
    for index, key in enumerate(estimation.keys):
        requests = Amounts(*(int(estimation.target[resource][index]) for resource in Resource))
        recommended = VgpuSlice(requests, _OWN.limits)
        figures.show(key, own=_OWN, recommendation=recommended, rule=None, applied=1)
    figures.estimated(estimation)
    return figures


def _estimation() -> Estimation:
    members = list(Population(steady=_WORKLOADS).members())
    keys = tuple(member.key for member in members)
    use = tflops_of(members)
    target = {Resource.TFLOPS: np.trunc(use * 1000), Resource.VRAM: np.trunc(vram_of(use))}
    return Estimation(
        keys=keys,
        positions={key: index for index, key in enumerate(keys)},
        target=target,
        lower={resource: np.trunc(amounts * 0.6) for resource, amounts in target.items()},
        upper={resource: np.trunc(amounts * 1.7) for resource, amounts in target.items()},
        empty={resource: np.zeros(len(keys), np.bool_) for resource in Resource},
        confidence=use / use.max(),
        samples=np.full(len(keys), 1500),
        first=np.zeros(len(keys)),
        shares=np.full((len(keys), 4), np.nan),
        preallocated=np.zeros(len(keys), np.bool_),
        touched=np.zeros(len(keys)),
    )
