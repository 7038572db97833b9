"""What it takes to go on with the histories of many workloads in a new process, and to save them."""

import asyncio
from dataclasses import dataclass

from recommender.bank.kernels import best_kernels
from tests.bench.measuring import in_new_process
from tests.bench.population import Population
from tests.bench.preparing import prepare_checkpoint
from tests.bench.report import BenchLine, at_most
from tests.bench.rig import Cost, rig_for
from tests.bench.servers import Addresses, serving

_WORKLOADS = 100_000
_WORKLOADS_A_CALL = 5_000
_SECONDS_GOAL = 5.0


@dataclass(frozen=True, slots=True)
class _Found:
    load: Cost
    save: Cost
    size: float


def lines() -> list[BenchLine]:
    """Measures a restart with 100,000 workloads: about a minute."""
    found = in_new_process(_found)
    load, save, calls = found.load, found.save, _WORKLOADS / _WORKLOADS_A_CALL
    checkpoint = f"a checkpoint of {_WORKLOADS:,} workloads"
    return [
        at_most(
            f"histories of {_WORKLOADS:,} workloads restored", load.seconds, "s", _SECONDS_GOAL, _cpu(load)
        ),
        at_most(f"loading {checkpoint}", load.requests.total(), "requests", calls, _told(load)),
        at_most(f"saving {checkpoint}", save.requests.total(), "requests", calls, _told(save)),
        BenchLine("the time of saving it", save.seconds, "s", against=_cpu(save)),
        BenchLine("its size", found.size / _WORKLOADS, "B a workload", against=f"{found.size:,.0f} B in all"),
    ]


def _cpu(cost: Cost) -> str:
    return f"{cost.cpu:.1f} s CPU"


def _told(cost: Cost) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(cost.requests.items()))


def _found() -> _Found:
    population = Population(steady=_WORKLOADS, controller="StatefulSet")
    with serving(Population()) as addresses:
        in_new_process(prepare_checkpoint, addresses, population)
        return asyncio.run(_measured(addresses))


async def _measured(addresses: Addresses) -> _Found:
    best_kernels()  # set up at start, before a term begins, and timed by nobody: a cost of each process
    async with rig_for(addresses) as rig:
        async with rig.measured() as load:
            await rig.take_over()
        async with rig.measured() as save:
            await rig.engine.checkpoint()
        size = rig.recommender.registry.get_sample_value("vgpu_recommender_checkpoint_size_bytes")
        return _Found(load(), save(), size or 0.0)
