"""Two thousand workloads whose rule turns for all of them in the same second, time and again."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from devcluster.services import RECOMMENDER
from recommender.publishing.outbox import BURST
from recommender.rhythm import WRITERS
from recommender.settings import RecommenderSettings
from tests.e2e.crowd import NEW, OFF, ON, Crowd, at_rest, passed, rule
from tests.e2e.trial import Scene
from tests.support.kube_proxy import KubeProxy, KubeRequest

LARGE, SMALL = "soak-large", [f"soak-{number}" for number in range(1, 50)]
SIZES = {LARGE: 1020, **dict.fromkeys(SMALL, 20)}

PROMISED = 60.0
"""Seconds from the turn of a rule within which every status says so."""
MINUTE = 60
RATE: float = RecommenderSettings.model_fields["status_writes_per_second"].default
MOST_IN_A_SECOND = RATE + BURST + WRITERS
"""Writes whose turn comes in a second, and those that had theirs before and were on their way."""
MOST_GROWTH = 12 * 2**20
"""Bytes of memory from the first turn to the last: a twentieth, and less than 3 kB for each write."""

WRITES = "vgpu_recommender_writes_total"
# Usage is not what this is about.
SETTINGS = {"interval": "15s"}

Record = Callable[[str, object], None]


class Turn:
    """What was written when the rule turned once."""

    def __init__(self, writes: Sequence[KubeRequest]) -> None:
        self.namespaces = [namespace_of(each) for each in writes]
        self.names = [(namespace_of(each), each.path.split("/")[-2]) for each in writes]
        self._times = [each.at for each in writes]

    def most_in_a_second(self) -> int:
        """The most writes in any one second."""
        most = first = 0
        for last, at in enumerate(self._times):
            while self._times[first] <= at - 1:
                first += 1
            most = max(most, last - first + 1)
        return most

    def of_the_large_before(self) -> int:
        """How many of the large namespace were written before the last one of a small namespace."""
        last = max(index for index, namespace in enumerate(self.namespaces) if namespace != LARGE)
        return self.namespaces[:last].count(LARGE)


def namespace_of(request: KubeRequest) -> str:
    """Of an object in a namespace."""
    return request.path.split("/namespaces/")[1].split("/")[0]


def status_writes(proxy: KubeProxy, since: float) -> list[KubeRequest]:
    """What was written of statuses since a time of the monotonic clock."""
    return [each for each in proxy.writes_since(since) if each.path.endswith("/status")]


def memory_of(scene: Scene) -> int:
    """What the recommender takes of memory, in bytes."""
    return int(psutil.Process(scene.trial.services.pid(RECOMMENDER)).memory_info().rss)


async def test_two_thousand_workloads_turn_with_their_rule_in_time_at_the_pace_that_is_set_and_in_turns(
    scene: Scene, tmp_path: Path, record_testsuite_property: Record
) -> None:
    trial, crowd = scene.trial, Crowd(scene.trial.client, SIZES)
    async with KubeProxy(trial.cluster.kubeconfig) as proxy, crowd.watched():
        kubeconfig = str(proxy.write_kubeconfig(tmp_path / "kubeconfig"))
        await scene.start(settings={**SETTINGS, "kubeconfig": kubeconfig})
        # At even minutes it begins, at odd ones it ends.
        await crowd.create(rule("*/2 * * * *", "1-59/2 * * * *"))
        await crowd.all_have_a_status(timeout=240)
        await at_rest(scene, timeout=300)

        turns, memory = [], [memory_of(scene)]
        first = math.ceil(time.time() / MINUTE) * MINUTE
        for number in range(3):
            at = first + number * MINUTE
            await passed(at)
            begin = time.monotonic()
            wanted = OFF if at // MINUTE % 2 else ON
            took = await crowd.all_tell(wanted, by=at + PROMISED) - at
            turns.append(Turn(status_writes(proxy, begin)))
            await at_rest(scene, timeout=30)
            memory.append(memory_of(scene))
            ahead = turns[-1].of_the_large_before()
            told = (
                f"{took:.1f} s, {turns[-1].most_in_a_second()} writes in a second, {ahead} ahead of the small"
            )
            record_testsuite_property(f"2,000 workloads, turn {number}", told)
        shown = await scene.metrics()

    record_testsuite_property("memory of the recommender, MiB", [round(each / 2**20) for each in memory])
    assert [each for each in crowd.turns if each[1] not in (NEW, ON, OFF)] == []
    for turn in turns:
        assert sorted(turn.names) == sorted(set(turn.names)), "each is written once"
        assert turn.most_in_a_second() <= MOST_IN_A_SECOND
        # Turns of 50 namespaces: when the small ones are done, as many of the large one are, and a few more.
        assert turn.of_the_large_before() <= 5 * SIZES[SMALL[0]]
    assert memory[-1] - memory[1] <= MOST_GROWTH
    for outcome in ("failed", "invalid", "conflict"):
        assert shown.total(WRITES, outcome=outcome) == 0
    assert shown.total("vgpu_recommender_workload_errors_total") == 0
