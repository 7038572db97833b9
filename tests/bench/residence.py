"""What a recommender of many workloads takes of memory, and what takes it."""

import asyncio
from importlib import import_module
from itertools import pairwise

from tests.bench.measuring import in_new_process, resident_bytes
from tests.bench.population import Population
from tests.bench.preparing import prepare
from tests.bench.report import BenchLine, at_most
from tests.bench.rig import rig_for
from tests.bench.servers import Addresses, serving
from vgpu.allocator import give_back_large_blocks

_WORKLOADS = 100_000
_GOAL_MB = 600
_MB = 1e6


def lines() -> list[BenchLine]:
    """Measures a recommender of 100,000 workloads: some three minutes."""
    bare, compiled = in_new_process(_imported), in_new_process(_compiled)
    stages = in_new_process(_stages)
    whole = [*stages.values()][-1]
    found = [
        at_most(f"a recommender of {_WORKLOADS:,} workloads in memory", whole / _MB, "MB", _GOAL_MB),
        BenchLine("of that, its code", bare / _MB, "MB"),
        BenchLine("of that, numba, where it is installed", (compiled - bare) / _MB, "MB"),
    ]
    for (_, before), (name, after) in pairwise(stages.items()):
        told = f"{(after - before) / _WORKLOADS:,.0f} B a workload"
        found.append(BenchLine(f"of that, {name}", (after - before) / _MB, "MB", against=told))
    return found


def _imported() -> int:
    import_module("recommender.main")
    return resident_bytes()


def _compiled() -> int:
    import_module("recommender.main")
    import_module("recommender.bank.kernels").best_kernels()
    return resident_bytes()


def _stages() -> dict[str, int]:
    give_back_large_blocks()  # as the command does
    # StatefulSets: what Deployments add are ReplicaSets to look up, which takes time and no memory.
    population = Population(steady=_WORKLOADS, controller="StatefulSet")
    with serving(population) as addresses:
        in_new_process(prepare, addresses, population)
        return asyncio.run(_measured(addresses))


async def _measured(addresses: Addresses) -> dict[str, int]:
    """What lies in memory after each stage of a recommender's life."""
    async with rig_for(addresses) as rig:
        stages = {"the start": resident_bytes()}
        async with rig.following():
            stages["the objects of the cluster"] = resident_bytes()
            await rig.take_over()
            stages["histories and compiled loops"] = resident_bytes()
            await rig.begin()
            stages["pods by workload"] = resident_bytes()
            await rig.reconcile()
            stages["a look at everything"] = resident_bytes()
            for _ in range(3):
                await rig.pass_once()
            stages["three passes"] = resident_bytes()
    return stages
