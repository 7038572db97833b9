"""The histogram bank: samples in, percentiles out, and the memory it takes, against an object a workload."""

import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from recommender.bank.buckets import TFLOPS, FloatArray, IndexArray
from recommender.bank.histograms import HistogramBank
from recommender.bank.kernels import Kernels, NumpyKernels, best_kernels
from tests.bench.measuring import best_seconds, in_new_process, resident_bytes
from tests.bench.per_object import NoReferenceError, ObjectHistogram, PerObject, VpaProgram
from tests.bench.report import BenchLine, at_least, at_most

MANY, FEW = 100_000, 1000
_FILL = 50
_ROUNDS = 30
_PYTHON_OBJECTS = 300
_PYTHON_OBJECTS_IN_MEMORY = 5000
_FRACTIONS = (0.5, 0.9, 0.95)
_WEIGHT = 0.1
_HALF_LIFE = 86_400.0
_START = 1_700_000_000.0
_NANO = 1e9


@dataclass(frozen=True, slots=True)
class References:
    """What is measured against: objects of Python and of Go, or why there are none of Go."""

    python: PerObject
    many: PerObject | None
    few: PerObject | None
    missing: str = ""

    def against(self, name: str, vpa: PerObject | None) -> str:
        """The references' figure of that name."""
        python = f"Python {getattr(self.python, name):,.0f}"
        return f"VPA's Go {getattr(vpa, name):,.0f}, {python}" if vpa else f"{python}; {self.missing}"


def lines() -> list[BenchLine]:
    """Measures everything: under a minute, and as long as Go takes to compile the first time."""
    references = _references()
    best = best_kernels()
    many, few = _bank_costs(best, MANY), _bank_costs(best, FEW)
    found = [
        *_against_goal("ingest", f"ingest, {MANY // 1000}k", many.ingest, 40, 7, references),
        BenchLine(
            f"ingest, {FEW // 1000}k",
            few.ingest,
            "ns",
            against=references.against("ingest", references.few),
        ),
        *_against_goal(
            "percentiles", f"3 percentiles, {MANY // 1000}k", many.percentiles, 290, 2, references
        ),
        at_most("memory of a histogram", many.size, "B", 750, references.against("size", references.many)),
    ]
    if best.name != NumpyKernels().name:
        found += _choice_lines(best)
    return found


def _against_goal(
    name: str, title: str, measured: float, limit: float, times: float, references: References
) -> list[BenchLine]:
    found = [at_most(title, measured, "ns", limit, references.against(name, references.many))]
    if references.many:
        ratio = getattr(references.many, name) / measured
        found.append(at_least(f"{title}, x VPA's Go", ratio, "x", times))
    return found


def _choice_lines(best: Kernels) -> list[BenchLine]:
    """What compiled loops bring, and what they take."""
    plain = _bank_costs(NumpyKernels(), MANY)
    taken = in_new_process(_compiler_bytes) / 2**20
    return [
        BenchLine(f"ingest, {MANY // 1000}k, numpy only", plain.ingest, "ns"),
        BenchLine(f"3 percentiles, {MANY // 1000}k, numpy only", plain.percentiles, "ns"),
        BenchLine("compiler in memory", taken, "MB", against=best.name),
    ]


def _bank_costs(kernels: Kernels, count: int) -> PerObject:
    random = np.random.default_rng(1)
    bank, rows = _filled(kernels, count)
    samples = [_samples(random, count) for _ in range(_ROUNDS)]
    ingest = best_seconds(partial(bank.add, rows, values, _WEIGHT, times) for values, times in samples)
    percentiles = best_seconds([partial(bank.percentiles, rows, _FRACTIONS)] * _ROUNDS)
    size = in_new_process(_bank_bytes, count)
    return PerObject(ingest * _NANO / count, percentiles * _NANO / count, size / count)


def _filled(kernels: Kernels, count: int) -> tuple[HistogramBank, IndexArray]:
    random = np.random.default_rng(0)
    bank = HistogramBank(TFLOPS, half_life=_HALF_LIFE, reference=_START, kernels=kernels)
    rows = np.fromiter((bank.add_row() for _ in range(count)), dtype=np.intp, count=count)
    for _ in range(_FILL):
        values, times = _samples(random, count)
        bank.add(rows, values, _WEIGHT, times)
    return bank, rows


def _samples(random: np.random.Generator, count: int) -> tuple[FloatArray, FloatArray]:
    return random.lognormal(2, 1, count), _START + random.uniform(0, 3600, count)


def _bank_bytes(count: int) -> int:
    # What numpy sets up at first use, and what samples take, is not the bank's.
    _filled(NumpyKernels(), 1)
    _samples(np.random.default_rng(2), count)
    before = resident_bytes()
    bank, _ = _filled(NumpyKernels(), count)
    return (resident_bytes() - before) * (len(bank) > 0)


def _compiler_bytes() -> int:
    before = resident_bytes()
    best_kernels()
    return resident_bytes() - before


def _python_objects() -> PerObject:
    random = np.random.default_rng(0)
    histograms = _python_filled(random, _PYTHON_OBJECTS)

    def percentiles() -> list[float]:
        return [histogram.percentile(p) for histogram in histograms for p in _FRACTIONS]

    nanoseconds = _NANO / len(histograms)
    return PerObject(
        best_seconds([partial(_python_ingest, random, histograms)] * _ROUNDS) * nanoseconds,
        best_seconds([percentiles] * _ROUNDS) * nanoseconds,
        in_new_process(_python_bytes, _PYTHON_OBJECTS_IN_MEMORY) / _PYTHON_OBJECTS_IN_MEMORY,
    )


def _python_filled(random: np.random.Generator, count: int) -> list[ObjectHistogram]:
    histograms = [ObjectHistogram(TFLOPS, _HALF_LIFE, _START) for _ in range(count)]
    for _ in range(_FILL):
        _python_ingest(random, histograms)
    return histograms


def _python_ingest(random: np.random.Generator, histograms: list[ObjectHistogram]) -> None:
    values, times = (column.tolist() for column in _samples(random, len(histograms)))
    for histogram, value, time in zip(histograms, values, times, strict=True):
        histogram.add(value, _WEIGHT, time)


def _python_bytes(count: int) -> int:
    random = np.random.default_rng(0)
    _python_filled(random, 1)
    before = resident_bytes()
    histograms = _python_filled(random, count)
    return (resident_bytes() - before) * (len(histograms) > 0)


def _references() -> References:
    python = _python_objects()
    try:
        with tempfile.TemporaryDirectory() as folder:
            program = VpaProgram(Path(folder))
            many, few = (program.measure(objects=count, fill=_FILL) for count in (MANY, FEW))
    except NoReferenceError as error:
        return References(python, None, None, missing=f"VPA's Go not measured: {error}")
    return References(python, many, few)
