"""How often status is written when nothing much happens, over hours of a clock that runs fast."""

import asyncio
from collections import Counter

from tests.bench.measuring import in_new_process
from tests.bench.population import Population
from tests.bench.preparing import prepare
from tests.bench.report import BenchLine, at_most
from tests.bench.rig import rig_for
from tests.bench.servers import Addresses, serving

_EACH = 100
_HOURS = 6


def lines() -> list[BenchLine]:
    """Measures six hours of 300 workloads: under a minute."""
    writes = in_new_process(_writes)
    return [
        at_most(
            "status writes of workloads of which nothing is heard any more",
            writes["silent"] / _EACH,
            "each in all",
            1,
            f"{_EACH} workloads, {_HOURS} hours: MetricsAvailable says so once",
        ),
        _line("that use the same all the time", writes["steady"], 1),
        _line("that use a tenth more each hour", writes["drifting"], 1),
    ]


def _line(which: str, writes: int, goal: float) -> BenchLine:
    return at_most(
        f"status writes of workloads {which}",
        writes / _EACH / _HOURS,
        "an hour each",
        goal,
        f"{_EACH} workloads, {_HOURS} hours after the first day",
    )


def _writes() -> Counter[str]:
    population = Population(steady=_EACH, drifting=_EACH, silent=_EACH)
    with serving(population) as addresses:
        in_new_process(prepare, addresses, population)
        return asyncio.run(_measured(addresses))


async def _measured(addresses: Addresses) -> Counter[str]:
    """Writes of status by group of workloads."""
    async with rig_for(addresses) as rig, rig.following():
        await rig.take_over()
        await rig.begin()
        await rig.reconcile()
        async with rig.measured() as cost:
            for _ in range(_HOURS * 60):
                await rig.pass_once()
        return Counter(
            {what.split()[-1]: count for what, count in cost().requests.items() if "/status" in what}
        )
