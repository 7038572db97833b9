from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.checkpoints.snapshot import PendingBackfill
from recommender.cluster.pods import TrackedPod
from recommender.keys import WorkloadKey
from recommender.usage.backfill import Backfill
from recommender.usage.reading import MOST_PODS, BulkReader, Usage
from tests.support.examples import examples
from tests.support.fake_prometheus import FakePrometheus
from tests.support.usage import NOW, Pods, cards, tracked
from vgpu.prometheus import (
    AnswerTooLarge,
    BadAnswer,
    BadQuery,
    PrometheusClient,
    PrometheusError,
    PrometheusTimeout,
    PrometheusUnreachable,
    Series,
)
from vgpu.usage_sources import DCGM, TENSORFUSION, Preset, choose

HOUR = 3600.0
WEB, OTHER = WorkloadKey("default", "web"), WorkloadKey("default", "other")
VRAM = "tf_worker_usage_memory_bytes"


class Source:
    """Has a sample of every pod at each minute; fails as it is told."""

    def __init__(self, pods: tuple[TrackedPod, ...]) -> None:
        self.pods = pods
        self.asked: list[tuple[float, float]] = []
        self.queries: list[str] = []
        self.errors: list[PrometheusError | None] = []
        self.most_points = 10**9

    async def query_range(self, promql: str, *, start: float, end: float, step: float) -> list[Series]:
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error
        if (end - start) / step + 1 > self.most_points:
            raise AnswerTooLarge("too much")
        self.asked.append((start, end))
        self.queries.append(promql)
        times = [start + step * index for index in range(round((end - start) / step) + 1)]
        return [
            Series(
                {"namespace": "default", "pod": pod.pod.metadata.name, "uuid": "GPU-0"},
                times,
                [1.0] * len(times),
            )
            for pod in self.pods
        ]

    def stretches(self) -> list[tuple[float, float]]:
        """What was asked for, once for both resources: in hours before NOW."""
        return [((NOW - start) / HOUR, (NOW - end) / HOUR) for start, end in self.asked[::2]]


class Setup:
    """A back-fill between a source and pods `web-0` of web and `other-0` of other, and what it brought."""

    def __init__(self, *, preset: Preset = TENSORFUSION, pods: tuple[TrackedPod, ...] | None = None) -> None:
        self.pods = pods or (tracked("web-0"), tracked("other-0", workload="other"))
        self.source = Source(self.pods)
        self.taken: list[tuple[WorkloadKey, float]] = []
        self.backfill = self.new(preset)

    def new(self, preset: Preset = TENSORFUSION) -> Backfill:
        reader = BulkReader(
            source=self.source, preset=preset, step=60.0, find=Pods(*self.pods).find, cards=cards()
        )
        return Backfill(reader=reader, pods_of=self.names, pause=1.0)

    def names(self, key: WorkloadKey) -> list[str]:
        return [pod.pod.metadata.name for pod in self.pods if pod.workload == key]

    def begin(self, *, until: float = NOW, created: float = 0.0, **hours: float) -> None:
        lengths = {WorkloadKey("default", name): HOUR * length for name, length in hours.items()}
        self.backfill.begin(lengths, until=until, created=dict.fromkeys(lengths, created))

    async def step(self) -> Usage | None:
        chunk = await self.backfill.step()
        if chunk is None:
            return None
        usage, keys = chunk
        samples = usage.tflops
        for of, time in zip(samples.of.tolist(), samples.times.tolist(), strict=True):
            assert samples.pods[of].workload in keys
            self.taken.append((samples.pods[of].workload, time))
        self.backfill.fed()
        return usage

    async def finish(self) -> None:
        """Step until nothing is left, over failures too."""
        for _ in range(5000):
            try:
                await self.step()
            except PrometheusError:
                continue
            if not len(self.backfill):
                return
        raise AssertionError("it never ends")

    def times(self, key: WorkloadKey = WEB) -> list[float]:
        return sorted(time for taken, time in self.taken if taken == key)


def minutes(begin: float, end: float) -> list[float]:
    """Each whole minute after `begin` and up to `end`."""
    return [begin + 60 * index for index in range(1, round((end - begin) / 60) + 1)]


async def test_the_time_before_a_workload_was_seen_is_read_up_to_the_cursor() -> None:
    made = Setup()
    made.begin(web=24)
    await made.finish()
    assert made.times() == minutes(NOW - 24 * HOUR, NOW)
    assert await made.backfill.step() is None


async def test_nothing_is_read_from_before_the_oldest_pod() -> None:
    made = Setup()
    made.begin(web=24, created=NOW - HOUR)
    await made.finish()
    assert made.times() == minutes(NOW - HOUR, NOW)


@pytest.mark.parametrize("created", [NOW, NOW + 30])
async def test_a_workload_that_is_younger_than_the_cursor_has_no_past(created: float) -> None:
    made = Setup()
    made.begin(web=24, created=created)
    assert len(made.backfill) == 0
    assert await made.backfill.step() is None


async def test_a_length_of_zero_switches_it_off() -> None:
    made = Setup()
    made.begin(web=0)
    assert len(made.backfill) == 0


async def test_all_new_workloads_are_read_together_each_as_far_as_it_wants() -> None:
    made = Setup()
    made.begin(web=2, other=1)
    await made.finish()
    assert made.source.stretches() == [(2 - 1 / 60, 0)]
    assert made.times(WEB) == minutes(NOW - 2 * HOUR, NOW)
    assert made.times(OTHER) == minutes(NOW - HOUR, NOW)


async def test_those_that_come_while_others_are_read_wait_for_their_turn() -> None:
    made = Setup()
    made.source.most_points = 60
    made.begin(web=24)
    with pytest.raises(AnswerTooLarge):
        await made.step()
    made.begin(other=1, until=NOW + 60)
    await made.finish()
    assert made.times(WEB) == minutes(NOW - 24 * HOUR, NOW)
    assert made.times(OTHER) == minutes(NOW + 60 - HOUR, NOW + 60)
    assert made.taken[-1][0] == OTHER


async def test_the_newest_stretch_is_read_first() -> None:
    made = Setup()
    made.source.most_points = 100
    made.begin(web=6)
    await made.finish()
    ends = [end for _, end in made.source.stretches()]
    assert ends == sorted(ends)
    assert ends[0] == 0


async def test_an_answer_that_is_too_large_is_asked_for_in_parts_and_nothing_twice() -> None:
    made = Setup()
    made.source.most_points = 7
    made.begin(web=24, other=3)
    await made.finish()
    assert made.times(WEB) == minutes(NOW - 24 * HOUR, NOW)
    assert made.times(OTHER) == minutes(NOW - 3 * HOUR, NOW)
    assert made.backfill.given_up == 0


async def test_parts_grow_again_when_the_source_manages_more() -> None:
    made = Setup()
    made.source.most_points = 3
    made.begin(web=24)
    for _ in range(12):
        try:
            await made.step()
        except AnswerTooLarge:
            continue
    made.source.most_points = 10**9
    before = len(made.source.asked)
    await made.finish()
    assert len(made.source.asked) - before < 100


async def test_answers_of_many_workloads_stay_of_a_size_that_fits_in_memory() -> None:
    made = Setup()
    lengths = {WorkloadKey("default", f"w{index}"): 24 * HOUR for index in range(5000)}
    made.backfill.begin(lengths, until=NOW, created=dict.fromkeys(lengths, 0.0))
    await made.step()
    [(start, end)] = made.source.stretches()
    assert (start - end) * 60 + 1 == 100


async def test_a_newcomer_among_many_is_asked_for_alone() -> None:
    made = Setup()
    made.begin(web=1)
    await made.finish()
    assert 'pod=~"web-0"' in made.source.queries[0]
    assert "other-0" not in made.source.queries[0]


@pytest.mark.parametrize("preset", [DCGM, choose("custom", tflops_query="sum by (pod) (a)", vram_query="b")])
async def test_all_pods_are_asked_for_where_the_query_cannot_be_about_some(preset: Preset) -> None:
    made = Setup(preset=preset)
    made.begin(web=1)
    await made.step()
    assert made.source.queries
    assert "web-0" not in made.source.queries[0]


async def test_pods_that_are_too_many_to_name_are_not_named() -> None:
    made = Setup(pods=tuple(tracked(f"web-{index}") for index in range(MOST_PODS + 1)))
    made.begin(web=1)
    await made.finish()
    assert "web-0" not in made.source.queries[0]


async def test_pods_with_names_too_long_for_a_query_are_not_named() -> None:
    made = Setup(pods=tuple(tracked(f"{'w' * 200}-{index}") for index in range(20)))
    made.begin(web=1)
    await made.finish()
    assert "www" not in made.source.queries[0]


@pytest.mark.parametrize("error", [PrometheusUnreachable, BadAnswer, PrometheusTimeout])
async def test_a_source_that_fails_for_a_while_costs_nothing(error: type[PrometheusError]) -> None:
    made = Setup()
    made.begin(web=1)
    made.source.errors = [error("down") for _ in range(25)]
    pauses = []
    for _ in range(25):
        with pytest.raises(error):
            await made.step()
        pauses.append(made.backfill.pause)
    assert pauses[:4] == [2, 4, 8, 16]
    assert pauses[-1] == 60
    await made.finish()
    assert made.backfill.pause == 1
    assert made.times() == minutes(NOW - HOUR, NOW)


async def test_a_source_that_says_at_once_that_it_is_too_much_is_asked_for_less_without_a_long_rest() -> None:
    made = Setup()
    made.begin(web=24)
    made.source.most_points = 100
    with pytest.raises(AnswerTooLarge):
        await made.step()
    assert made.backfill.pause == 1


@pytest.mark.parametrize("error", [AnswerTooLarge, BadQuery])
async def test_a_step_that_can_never_be_answered_is_given_up_and_the_others_are_read(
    error: type[PrometheusError],
) -> None:
    made = Setup()
    made.begin(web=1)

    def failure() -> PrometheusError:
        return BadQuery("no", query="", reason="no") if error is BadQuery else error("too much")

    made.source.errors = [failure() for _ in range(8)]  # 60, 30, 15, 7, 3 and 1 steps, the last three times
    await made.finish()
    assert made.backfill.given_up == 1
    assert made.times() == minutes(NOW - HOUR, NOW - 60)


async def test_a_past_of_which_nothing_can_be_read_is_given_up_as_a_whole() -> None:
    made = Setup()
    made.source.most_points = 0
    made.begin(web=24)
    await made.finish()
    assert made.backfill.given_up == 24 * 60
    assert made.source.asked == []


async def test_what_was_read_is_pending_until_it_was_fed() -> None:
    made = Setup()
    made.begin(web=1)
    assert await made.backfill.step() is not None
    assert made.backfill.pending() == (PendingBackfill((WEB,), NOW - HOUR, NOW),)
    made.backfill.fed()
    assert made.backfill.pending() == ()


async def test_another_run_takes_up_what_this_one_has_left() -> None:
    made = Setup()
    made.source.most_points = 100
    made.begin(web=6, other=2)
    for _ in range(4):
        try:
            await made.step()
        except AnswerTooLarge:
            continue
    left = made.backfill.pending()
    assert left
    made.backfill = made.new()
    made.backfill.resume(left)
    await made.finish()
    assert made.times(WEB) == minutes(NOW - 6 * HOUR, NOW)
    assert made.times(OTHER) == minutes(NOW - 2 * HOUR, NOW)


async def test_a_workload_that_is_gone_is_not_read_any_more() -> None:
    made = Setup()
    made.begin(web=1, other=1)
    made.backfill.forget(WEB)
    await made.finish()
    assert made.times(WEB) == []
    assert len(made.times(OTHER)) == 60


async def test_a_workload_that_goes_while_its_past_is_read_does_not_come_back() -> None:
    made = Setup()
    made.begin(web=1, other=1)
    original = made.source.query_range

    async def forgetting(promql: str, *, start: float, end: float, step: float) -> list[Series]:
        made.backfill.forget(WEB)
        return await original(promql, start=start, end=end, step=step)

    made.source.query_range = forgetting  # type: ignore[method-assign]  # a fake
    chunk = await made.backfill.step()
    assert chunk is not None
    assert chunk[1] == {OTHER}


@settings(max_examples=examples(50))
@given(
    hours=st.dictionaries(st.sampled_from(["web", "other"]), st.floats(0, 2), min_size=1),
    created=st.floats(NOW - 3 * HOUR, NOW + HOUR),
    most=st.integers(1, 200),
    restart=st.integers(0, 6),
)
async def test_every_whole_step_that_is_wanted_is_read_exactly_once(
    hours: Mapping[str, float], created: float, most: int, restart: int
) -> None:
    made = Setup(
        pods=(tracked("web-0", created=created), tracked("other-0", workload="other", created=created))
    )
    made.source.most_points = most
    made.begin(created=created, **hours)
    for _ in range(restart):
        try:
            await made.step()
        except AnswerTooLarge:
            continue
    left, made.backfill = made.backfill.pending(), made.new()
    made.backfill.resume(left)
    if left:
        await made.finish()
    for name, length in hours.items():
        every = minutes(NOW - 3 * HOUR, NOW)
        expected = [time for time in every if time - 60 >= NOW - length * HOUR - 1e-4 and time > created]
        assert made.times(WorkloadKey("default", name)) == expected


async def test_the_past_that_a_real_query_gives_is_that_of_the_pods_alone() -> None:
    pod = tracked("web-0")
    async with FakePrometheus() as prometheus, PrometheusClient(prometheus.url) as client:
        for name in ("web-0", "stranger"):
            labels = {"namespace": "default", "pod": name, "uuid": "GPU-0"}
            prometheus.add(VRAM, labels, [(NOW - 3600 + 15 * index, 1e9 + index) for index in range(240)])
        reader = BulkReader(source=client, preset=TENSORFUSION, step=60.0, find=Pods(pod).find, cards=cards())
        backfill = Backfill(reader=reader, pods_of=lambda _: ["web-0"], pause=1.0)
        backfill.begin({WEB: HOUR}, until=NOW, created={WEB: 0.0})
        chunk = await backfill.step()
    assert chunk is not None
    usage, keys = chunk
    assert keys == {WEB}
    assert usage.vram.pods == (pod,)
    assert len(usage.vram.times) == 60
    assert usage.outcomes == {"accepted": 60}


async def test_workloads_that_begin_together_are_one_piece_of_work_however_many() -> None:
    made = Setup()
    made.source.most_points = 500
    lengths = {WorkloadKey("default", f"w{index}"): HOUR for index in range(1000)} | {WEB: 24 * HOUR}
    made.backfill.begin(lengths, until=NOW, created=dict.fromkeys(lengths, 0.0))
    assert [len(group.keys) for group in made.backfill.pending()] == [1, 1000]
    await made.step()
    assert [len(group.keys) for group in made.backfill.pending()] == [1]
    assert len(made.backfill) == 1
    await made.finish()
    assert made.times(WEB) == minutes(NOW - 24 * HOUR, NOW)


async def test_a_workload_that_comes_anew_while_it_is_read_waits_for_its_turn() -> None:
    made = Setup()
    made.begin(web=1, other=1)
    made.begin(web=2, until=NOW + 60)
    assert len(made.backfill) == 2
    await made.finish()
    assert made.times(WEB) == minutes(NOW + 60 - 2 * HOUR, NOW + 60)
    assert made.times(OTHER) == minutes(NOW - HOUR, NOW)
