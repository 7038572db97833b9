"""Both kernels of the histogram bank, the compiled ones compiled once for all tests of a process."""

from functools import cache

from recommender.bank.kernels import Kernels, NumpyKernels

KERNELS = ("numpy", "numba")


@cache
def kernels_named(name: str) -> Kernels:
    if name == "numpy":
        return NumpyKernels()
    from recommender.bank.kernels_compiled import CompiledKernels  # noqa: PLC0415 - importing numba takes long

    return CompiledKernels()
