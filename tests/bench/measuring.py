"""Taking time and memory, in ways that wander little."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_PATIENCE = 300.0


def best_seconds(runs: Iterable[Callable[[], object]]) -> float:
    """The least processor time that any of the runs took: others on the machine only ever add to it."""
    return min(_seconds(run) for run in runs)


def resident_bytes() -> int:
    """What of this process lies in memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "VmRSS":
            return int(value.split()[0]) * 1024
    raise RuntimeError("/proc/self/status has no VmRSS: memory is measured on Linux only")


def in_new_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls a function of a module in a process where nothing has been allocated or imported before."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result(timeout=_PATIENCE)


def _seconds(run: Callable[[], object]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began
