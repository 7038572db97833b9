"""Both kernels of the histogram bank, the compiled ones compiled once for all tests of a process."""

from functools import cache

from recommender.bank.kernels import Kernels, NumpyKernels
from recommender.bank.kernels_compiled import CompiledKernels

KERNELS = ("numpy", "numba")


@cache
def kernels_named(name: str) -> Kernels:
    return NumpyKernels() if name == "numpy" else CompiledKernels()
