"""Both kernels of the histogram bank, the compiled ones compiled once for all tests of a process."""

from functools import cache

import pytest

from recommender.bank.kernels import Kernels, NumpyKernels

compiled_once = pytest.mark.xdist_group("compiled kernels")
"""For tests of the compiled kernels: one process has them all, and compiles; with `--dist loadgroup`."""

KERNELS = ("numpy", "numba")
EACH = ("numpy", pytest.param("numba", marks=compiled_once))
"""KERNELS to parametrize tests with."""


@cache
def kernels_named(name: str) -> Kernels:
    if name == "numpy":
        return NumpyKernels()
    from recommender.bank.kernels_compiled import CompiledKernels  # noqa: PLC0415 - importing numba takes long

    return CompiledKernels()
