"""What passes over many workloads cost: the first of all, the first after a restart, and all others."""

import asyncio

from tests.bench.measuring import in_new_process
from tests.bench.population import Population
from tests.bench.preparing import prepare
from tests.bench.report import BenchLine, at_most
from tests.bench.rig import Cost, rig_for
from tests.bench.servers import Addresses, serving

_WORKLOADS = 10_000
_YOUNG = _WORKLOADS // 100
_CPU_GOAL = 2.0
_QUIET_PASSES = 3


def lines() -> list[BenchLine]:
    """Measures passes over 10,000 workloads: some two minutes."""
    first = in_new_process(_first)
    again, quiet, moved = in_new_process(_later)
    workloads = f"{_WORKLOADS:,} workloads"
    return [
        at_most(f"a pass over {workloads}, nothing changed", quiet.cpu, "s CPU", _CPU_GOAL, _told(quiet)),
        at_most("what it writes", quiet.writes, "requests", 0),
        at_most(f"a pass in which {_YOUNG} of them move", moved.cpu, "s CPU", _CPU_GOAL, _told(moved)),
        at_most("what it writes for each that moves", moved.writes / _YOUNG, "requests", 1),
        at_most(f"the first pass after a restart, {workloads}", again.cpu, "s CPU", _CPU_GOAL, _told(again)),
        BenchLine(f"the very first pass, {workloads} to be made", first.cpu, "s CPU", against=_told(first)),
    ]


def _told(cost: Cost) -> str:
    requests = ", ".join(f"{count:,} {what}" for what, count in sorted(cost.requests.items()))
    return f"{cost.seconds:.1f} s on the clock; requests: {requests or 'none'}"


def _first() -> Cost:
    with serving(Population(steady=_WORKLOADS)) as addresses:
        return asyncio.run(_measure_first(addresses))


def _later() -> tuple[Cost, Cost, Cost]:
    population = Population(steady=_WORKLOADS - _YOUNG, young=_YOUNG)
    with serving(population) as addresses:
        in_new_process(prepare, addresses, population)
        return asyncio.run(_measure_later(addresses))


async def _measure_first(addresses: Addresses) -> Cost:
    async with rig_for(addresses) as rig, rig.following():
        await rig.take_over()
        async with rig.measured() as cost:
            await rig.begin()
            await rig.reconcile()
            await rig.pass_once()
        return cost()


async def _measure_later(addresses: Addresses) -> tuple[Cost, Cost, Cost]:
    async with rig_for(addresses) as rig, rig.following():
        await rig.take_over()
        async with rig.measured() as again:
            await rig.begin()
            await rig.reconcile()
        for _ in range(2):
            await rig.pass_once()
        quiet = []
        for _ in range(_QUIET_PASSES):
            async with rig.measured() as cost:
                await rig.pass_once()
            quiet.append(cost())
        async with rig.measured() as moved:  # the thirtieth sample of the young ones
            await rig.pass_once()
        return again(), min(quiet, key=lambda each: each.cpu), moved()
