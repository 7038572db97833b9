import builtins
import math
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.bank.buckets import TFLOPS, VRAM, ExponentialBuckets
from recommender.bank.kernels import Decay, NumpyKernels, Samples, best_kernels
from tests.support.examples import examples
from tests.support.kernels import KERNELS, kernels_named

EPSILON = 1e-4
WIDTH = 32
ENDS = np.arange(1, WIDTH + 1, dtype=np.float64)

# Multiples of a power of two, so that sums are exact and no tie can fall to either side.
_WEIGHTS = st.one_of(st.just(0.0), st.sampled_from([2.0**-14, 2.0**-13, 2.0**-20]), st.integers(1, 1000))
_ROWS = st.lists(st.lists(_WEIGHTS, min_size=WIDTH, max_size=WIDTH), min_size=1, max_size=5)


@settings(max_examples=examples(60))
@given(_ROWS, st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=4))
def test_both_kernels_answer_the_same_percentiles(weights: list[list[float]], fractions: list[float]) -> None:
    """Rows of which much, little or nothing reaches epsilon; 2^-14 is below it and 2^-13 above."""
    table = np.array(weights, dtype=np.float32)
    rows = np.arange(len(table))[::-1]
    asked = np.broadcast_to(np.array(fractions), (len(rows), len(fractions)))
    first, second = (kernels_named(name).percentiles(table, rows, asked, ENDS, EPSILON) for name in KERNELS)
    assert first.tolist() == second.tolist()


@given(
    st.sampled_from([TFLOPS, VRAM, ExponentialBuckets(40, 1.5, 500)]),
    st.lists(
        st.one_of(
            st.floats(allow_nan=False),
            st.floats(0, 1e5),
            st.tuples(st.floats(0, 1), st.integers(-3, 3)),
        ),
        min_size=1,
    ),
)
def test_both_kernels_place_a_value_in_the_same_bucket(
    buckets: ExponentialBuckets, drawn: list[float | tuple[float, int]]
) -> None:
    """Any float, and those at the bounds of buckets and a few floats beside them."""
    values = np.array([_beside_a_bound(buckets, *one) if isinstance(one, tuple) else one for one in drawn])
    count = len(values)
    samples = Samples(np.arange(count), values, np.ones(count), np.zeros(count))
    for name in KERNELS:
        cells, _ = kernels_named(name).place(samples, Decay(0.0, 1.0), buckets, WIDTH * 6)
        assert (cells - np.arange(count) * WIDTH * 6).tolist() == buckets.find(values).tolist()


def _beside_a_bound(buckets: ExponentialBuckets, place: float, steps: int) -> float:
    bound = float(buckets.bounds[1 + int(place * (buckets.count - 2))])
    for _ in range(abs(steps)):
        bound = math.nextafter(bound, math.copysign(math.inf, steps))
    return bound


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(-40 * 86400, 40 * 86400)), min_size=1))
def test_both_kernels_let_a_sample_weigh_the_same(drawn: list[tuple[float, float]]) -> None:
    """Down to the last bit of a float32."""
    weights, times = (np.array(column) for column in zip(*drawn, strict=True))
    samples = Samples(np.zeros(len(weights), dtype=np.intp), np.ones(len(weights)), weights, times)
    first, second = (
        kernels_named(name).place(samples, Decay(100.0, 86400.0), TFLOPS, WIDTH)[1] for name in KERNELS
    )
    assert first == pytest.approx(second, rel=2e-7, abs=1e-44)


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(-1e3, 1e3, width=32)), max_size=30))
def test_both_kernels_add_the_same(samples: list[tuple[int, float]]) -> None:
    """To the last bit: samples are added one after the other, as float32."""
    cells = np.array([cell for cell, _ in samples], dtype=np.intp)
    amounts = np.array([amount for _, amount in samples], dtype=np.float32)
    tables = []
    for name in KERNELS:
        table = np.ones(10, dtype=np.float32)
        kernels_named(name).add(table, cells, amounts)
        tables.append(table.tolist())
    assert tables[0] == tables[1]


@pytest.mark.parametrize("name", KERNELS)
def test_one_amount_may_be_given_for_all_cells(name: str) -> None:
    table = np.zeros(4, dtype=np.float32)
    amounts = np.broadcast_to(np.float32(0.5), (3,))
    kernels_named(name).add(table, np.array([1, 1, 3]), amounts)
    assert table.tolist() == [0, 1, 0, 0.5]


def test_compiled_kernels_are_the_best_and_tell_the_version_of_their_compiler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled = kernels_named("numba")
    monkeypatch.setattr("recommender.bank.kernels_compiled.CompiledKernels", lambda: compiled)
    assert best_kernels() is compiled
    assert compiled.name.startswith("numba ")


def test_without_numba_numpy_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "recommender.bank.kernels_compiled", raising=False)
    importing = builtins.__import__

    def without_numba(
        name: str,
        globals_: Mapping[str, object] | None = None,
        locals_: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if name.partition(".")[0] == "numba":
            raise ImportError(name)
        return importing(name, globals_, locals_, fromlist, level)

    monkeypatch.setattr(builtins, "__import__", without_numba)
    assert isinstance(best_kernels(), NumpyKernels)
