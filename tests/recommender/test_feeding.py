import asyncio
from collections.abc import Mapping, Sequence

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from recommender.cluster.known_pods import KnownPods
from recommender.feeding import Feeder
from recommender.histories.histories import Histories
from recommender.histories.memory import Memory
from recommender.keys import WorkloadKey
from recommender.metrics import RecommenderMetrics
from recommender.usage.backfill import Backfill
from recommender.usage.hearing import Hearing
from recommender.usage.reading import BulkReader, UsageReader
from tests.support.usage import NOW, Pods, cards, tracked
from tests.support.waiting import until
from vgpu.prometheus import PrometheusError, PrometheusUnreachable, Series
from vgpu.usage_sources import TENSORFUSION

HOUR, DAY = 3600.0, 86_400.0
WEB = WorkloadKey("default", "web")


class Source:
    """Has a sample of the pod at each minute, when it answers."""

    def __init__(self) -> None:
        self.error: PrometheusError | None = None
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked = 0

    async def query_range(self, promql: str, *, start: float, end: float, step: float) -> list[Series]:
        self.asked += 1
        await self.answers.wait()
        if self.error is not None:
            raise self.error
        times = [start + step * index for index in range(round((end - start) / step) + 1)]
        return [Series({"namespace": "default", "pod": "web-0", "uuid": "GPU-0"}, times, [1.0] * len(times))]


class Bench:
    """A feeder of one pod's usage, of which an hour of the past is wanted."""

    def __init__(self) -> None:
        self.source, self.registry = Source(), CollectorRegistry()
        self.memory = Memory(Histories(half_life=DAY, peak_window=DAY, now=NOW))
        self.known = KnownPods(Pods(tracked(created=NOW - DAY)).find, step=60)
        reader = BulkReader(
            source=self.source,
            preset=TENSORFUSION,
            step=60,
            find=self.known.find,
            cards=cards(),
        )
        self.feeder = Feeder(
            reader=UsageReader(reader=reader, settle=0),
            backfill=Backfill(reader=reader, pods_of=lambda _: ["web-0"], pause=1),
            memory=self.memory,
            known=self.known,
            pasts=self.pasts,
            metrics=RecommenderMetrics(self.registry),
            hearing=Hearing(300.0),
        )

    def pasts(
        self, keys: Sequence[WorkloadKey]
    ) -> tuple[Mapping[WorkloadKey, float], Mapping[WorkloadKey, float]]:
        return dict.fromkeys(keys, HOUR), dict.fromkeys(keys, NOW - DAY)

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"vgpu_recommender_{name}", labels)

    def problem(self) -> str | None:
        return self.feeder.problem

    async def samples(self) -> list[int]:
        counted: list[int] = (await self.memory.snapshot(NOW)).samples.tolist()
        return counted


async def test_usage_is_read_up_to_now_and_then_the_past() -> None:
    bench = Bench()
    await bench.feeder.feed(NOW)
    assert (await bench.samples(), bench.feeder.pending) == ([1], 1)
    await bench.feeder.feed_the_past()
    assert (await bench.samples(), bench.feeder.pending) == ([61], 0)
    assert bench.metric("backfill_chunks_total", outcome="read") == 1
    assert bench.metric("source_cursor_timestamp_seconds") == NOW
    assert bench.problem() is None


async def test_a_source_that_fails_is_told_and_asked_for_the_same_again() -> None:
    bench = Bench()
    await bench.feeder.feed(NOW)
    bench.source.error = PrometheusUnreachable("away")
    with capture_logs() as logs:
        await bench.feeder.feed(NOW + 300)
    assert bench.problem() == "the metric source fails: away"
    assert [log["cursor"] for log in logs] == [NOW]
    assert bench.metric("source_errors_total", error="PrometheusUnreachable") == 1
    assert bench.metric("source_last_success_timestamp_seconds") == NOW
    bench.source.error = None
    await bench.feeder.feed(NOW + 300)
    assert await bench.samples() == [6]
    assert bench.problem() is None


async def test_a_piece_of_the_past_that_fails_is_read_later() -> None:
    bench = Bench()
    await bench.feeder.feed(NOW)
    bench.source.error = PrometheusUnreachable("away")
    while bench.metric("backfill_chunks_total", outcome="failed") != 3:
        await bench.feeder.feed_the_past()
    assert (await bench.samples(), bench.feeder.pending) == ([1], 1)
    bench.source.error = None
    while bench.feeder.pending:
        await bench.feeder.feed_the_past()
    assert await bench.samples() == [61]


@pytest.mark.parametrize("comes_back", [False, True])
async def test_a_piece_that_is_read_for_a_workload_that_went_is_left_out(*, comes_back: bool) -> None:
    bench = Bench()
    await bench.feeder.feed(NOW)
    bench.source.answers.clear()
    piece = asyncio.create_task(bench.feeder.feed_the_past())
    await until(lambda: bench.source.asked == 3)
    bench.feeder.forget(WEB)
    await bench.memory.forget(workloads=[WEB])
    bench.source.answers.set()
    await piece
    assert await bench.samples() == []
    if comes_back:
        await bench.feeder.feed(NOW + 60)
        await bench.feeder.feed_the_past()
        assert await bench.samples() == [61]


async def test_what_is_pending_of_the_past_is_saved_until_it_has_been_taken_in() -> None:
    bench = Bench()
    await bench.feeder.feed(NOW)
    [pending] = (await bench.memory.snapshot(NOW)).backfill
    assert (pending.keys, pending.end - pending.begin) == ((WEB,), HOUR)
    await bench.feeder.feed_the_past()
    assert (await bench.memory.snapshot(NOW)).backfill == ()


async def test_a_past_that_cannot_be_read_is_no_problem_of_the_present() -> None:
    bench = Bench()
    await bench.feeder.feed(NOW)
    bench.source.error = PrometheusUnreachable("away")
    with capture_logs() as logs:
        await bench.feeder.feed_the_past()
    assert bench.problem() is None
    assert [log["pending"] for log in logs if log["log_level"] == "warning"] == [1]
    assert bench.metric("source_errors_total", error="PrometheusUnreachable") == 1


async def test_nothing_counts_twice_after_a_clock_fell_back_and_is_right_again() -> None:
    bench = Bench()
    await bench.feeder.feed(NOW)
    await bench.feeder.feed(NOW + HOUR)
    await bench.feeder.feed(NOW + HOUR / 2)
    assert (await bench.memory.snapshot(NOW)).cursor == NOW + HOUR / 2
    await bench.feeder.feed(NOW + 2 * HOUR)
    assert await bench.samples() == [121]
    assert bench.metric("unfed_samples_total", reason="late") == 60


async def test_a_clock_that_was_set_back_is_told() -> None:
    bench = Bench()
    await bench.feeder.feed(NOW + HOUR)
    with capture_logs() as logs:
        await bench.feeder.feed(NOW)
    assert [log["seconds"] for log in logs] == [HOUR]
    assert bench.metric("clock_put_right_total") == 1


async def test_the_source_is_heard_once_all_of_its_usage_has_been_taken_in() -> None:
    bench = Bench()
    assert not bench.feeder.heard.ever
    await bench.feeder.feed(NOW)
    assert bench.feeder.heard.fresh_from == NOW - 300
    bench.source.error = PrometheusUnreachable("gone")
    await bench.feeder.feed(NOW + 60)
    assert (bench.feeder.heard.fresh_from, bench.feeder.heard.failing_since) == (NOW - 300, NOW)
    assert bench.feeder.heard.is_away(NOW + 301)
    bench.source.error = None
    await bench.feeder.feed(NOW + 600)
    assert bench.feeder.heard.failing_since is None
