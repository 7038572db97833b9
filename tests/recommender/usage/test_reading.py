import threading

import pytest
from structlog.testing import capture_logs

from recommender.cluster.pods import TrackedPod
from recommender.usage.lengths import MAX_POINTS
from recommender.usage.reading import BulkReader, Usage, UsageReader
from recommender.usage.samples import Outcome, Samples
from tests.support.fake_prometheus import FakePrometheus
from tests.support.usage import NOW, Pods, cards, series, tracked
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
from vgpu.slices import Amounts
from vgpu.usage_sources import TENSORFUSION, SampleKind

TFLOPS, VRAM = "tf_worker_usage_compute_tflops", "tf_worker_usage_memory_bytes"
LABELS = {"namespace": "default", "pod": "web-0", "uuid": "GPU-0"}


def reader(
    source: object, *, step: float = 60.0, settle: float = 5.0, sample: SampleKind = "maximum"
) -> UsageReader:
    bulk = BulkReader(
        source=source,  # type: ignore[arg-type]  # a fake
        preset=TENSORFUSION,
        step=step,
        find=Pods(tracked()).find,
        cards=cards(largest=Amounts(tflops=10_000, vram=2**30)),
        tflops_sample=sample,
    )
    return UsageReader(reader=bulk, settle=settle)


def taken(samples: Samples) -> dict[float, float]:
    return dict(zip(samples.times.tolist(), samples.values.tolist(), strict=True))


class Source:
    """Answers nothing, and remembers what was asked."""

    def __init__(self, *errors: Exception) -> None:
        self.asked: list[tuple[float, float]] = []
        self.queries: list[str] = []
        self.answer: list[Series] = []
        self._errors = list(errors)

    async def query_range(self, promql: str, *, start: float, end: float, step: float) -> list[Series]:
        self.asked.append((start, end))
        self.queries.append(promql)
        if self._errors:
            raise self._errors.pop(0)
        return self.answer


async def test_the_first_poll_reads_the_last_whole_step() -> None:
    source = Source()
    usage = await reader(source).read(NOW + 7)
    assert source.asked == [(NOW, NOW)] * 2
    assert usage is not None
    assert usage.until == NOW


async def test_a_step_is_not_read_before_its_samples_have_settled() -> None:
    source = Source()
    usage = await reader(source, settle=5).read(NOW + 4)
    assert usage is not None
    assert usage.until == NOW - 60


async def test_polls_cover_every_step_once() -> None:
    source = Source()
    subject = reader(source, settle=0)
    for now in (NOW, NOW + 60, NOW + 90, NOW + 200, NOW + 240):
        await subject.read(now)
    assert source.asked[::2] == [
        (NOW, NOW),
        (NOW + 60, NOW + 60),
        (NOW + 120, NOW + 180),
        (NOW + 240, NOW + 240),
    ]


async def test_nothing_is_asked_when_nothing_can_be_new() -> None:
    source = Source()
    subject = reader(source, settle=0)
    await subject.read(NOW)
    assert await subject.read(NOW + 59) is None
    assert len(source.asked) == 2


async def test_a_failed_poll_is_asked_again_from_where_the_last_one_ended() -> None:
    source = Source()
    subject = reader(source, settle=0)
    await subject.read(NOW)
    source._errors = [PrometheusError("down")]
    with pytest.raises(PrometheusError):
        await subject.read(NOW + 60)
    await subject.read(NOW + 120)
    assert source.asked[-1] == (NOW + 60, NOW + 120)


async def test_when_only_the_second_query_fails_both_are_asked_again() -> None:
    subject = reader(source := Source(), settle=0)
    await subject.read(NOW)

    async def fail_for_vram(promql: str, *, start: float, end: float, step: float) -> list[Series]:
        if VRAM in promql:
            raise PrometheusError("down")
        return []

    source.query_range = fail_for_vram  # type: ignore[method-assign]  # a fault of the fake
    with pytest.raises(PrometheusError):
        await subject.read(NOW + 60)
    assert subject.cursor == NOW


async def test_a_long_gap_is_read_in_stretches_that_a_server_answers() -> None:
    source = Source()
    source.answer = [series(1.0)]
    subject = reader(source, settle=0)
    await subject.read(NOW)
    later = NOW + 60 * (MAX_POINTS + 10)
    while await subject.read(later) is not None:
        pass
    stretches = source.asked[2::2]
    assert stretches == [(NOW + 60, NOW + 60 * MAX_POINTS), (NOW + 60 * (MAX_POINTS + 1), later)]


class Limited(Source):
    """Answers up to so many points, and fails for more: by default as one that is too slow."""

    def __init__(self, points: int, error: type[PrometheusError] = PrometheusTimeout) -> None:
        super().__init__()
        self.failures = 0
        self._limit, self._error = points, error

    async def query_range(self, promql: str, *, start: float, end: float, step: float) -> list[Series]:
        if (end - start) / step + 1 > self._limit:
            self.failures += 1
            raise self._error("too much")
        return await super().query_range(promql, start=start, end=end, step=step)


@pytest.mark.parametrize(
    "error",
    [
        AnswerTooLarge("too much"),
        PrometheusTimeout("too much"),
        BadQuery("too much", query="", reason=""),
        BadAnswer("too much", halving_helps=True),
    ],
)
async def test_a_stretch_that_fails_is_asked_for_in_halves_at_once(error: PrometheusError) -> None:
    source = Source()
    subject = reader(source, settle=0)
    await subject.read(NOW)
    source._errors = [error]
    usage = await subject.read(NOW + 60 * 8)
    assert source.asked[-1] == (NOW + 60, NOW + 60 * 4)
    assert usage is not None
    assert usage.until == NOW + 60 * 4


@pytest.mark.parametrize("points", [1, 4, 100])
async def test_a_long_gap_is_closed_by_a_server_that_manages_little_at_a_time(points: int) -> None:
    source = Limited(points)
    subject = reader(source, settle=0)
    await subject.read(NOW)
    later = NOW + 60 * 600
    while await subject.read(later) is not None:
        pass
    asked = source.asked[2::2]
    assert [start for start, _ in asked] == [NOW + 60, *(end + 60 for _, end in asked[:-1])]
    assert asked[-1][1] == later
    assert source.failures < 12 + len(asked) / 4


async def test_after_a_server_has_recovered_stretches_grow_again() -> None:
    source = Limited(1)
    subject = reader(source, settle=0)
    await subject.read(NOW)
    await subject.read(NOW + 60 * 600)
    source._limit = MAX_POINTS
    before = len(source.asked)
    while await subject.read(NOW + 60 * 600) is not None:
        pass
    assert len(source.asked) - before < 80


@pytest.mark.parametrize(
    ("status", "headers"), [(429, {}), (401, {}), (404, {}), (302, {}), (503, {"Retry-After": "60"})]
)
async def test_a_server_that_wants_to_be_left_alone_gets_one_query_however_long_the_gap(
    status: int, headers: dict[str, str]
) -> None:
    async with FakePrometheus() as prometheus, PrometheusClient(prometheus.url, timeout=5) as client:
        subject = reader(client, settle=0)
        subject.resume(NOW - 3 * 86_400)
        prometheus.answer_next(status, b"not now", headers=headers)
        with pytest.raises(BadAnswer):
            await subject.read(NOW)
        assert len(prometheus.requests) == 1


async def test_a_server_that_cannot_be_reached_is_asked_once_a_poll_and_for_less_the_next_time() -> None:
    source = Limited(4, PrometheusUnreachable)
    subject = reader(source, settle=0)
    await subject.read(NOW)
    for failures in (1, 2):
        with pytest.raises(PrometheusUnreachable):
            await subject.read(NOW + 60 * 16)
        assert source.failures == failures
    usage = await subject.read(NOW + 60 * 16)
    assert usage is not None
    assert usage.until == NOW + 60 * 4


async def test_a_single_step_that_fails_ends_the_poll() -> None:
    subject = reader(source := Source(), settle=0)
    await subject.read(NOW)
    source._errors = [PrometheusTimeout("hangs") for _ in range(9)]
    with pytest.raises(PrometheusTimeout):
        await subject.read(NOW + 60 * 8)
    assert len(source.asked) == 2 + 4  # 8, 4, 2 and 1 steps


async def test_a_clock_that_was_ahead_and_is_put_right_costs_no_usage() -> None:
    subject = reader(source := Source(), settle=0)
    await subject.read(NOW + 7200)
    assert subject.put_right(NOW) == 7200
    await subject.read(NOW + 60)
    assert source.asked[-1] == (NOW + 60, NOW + 60)


async def test_a_clock_that_jitters_by_a_step_reads_nothing_twice() -> None:
    subject = reader(source := Source(), settle=0)
    await subject.read(NOW)
    assert subject.put_right(NOW - 60) == 0
    assert await subject.read(NOW - 60) is None
    assert len(source.asked) == 2


@pytest.mark.parametrize(("sample", "expected"), [("maximum", 3.0), ("mean", 2.0)])
async def test_a_sample_stands_for_the_step_before_it(sample: SampleKind, expected: float) -> None:
    async with FakePrometheus() as prometheus, PrometheusClient(prometheus.url) as client:
        for metric in (TFLOPS, VRAM):
            prometheus.add(metric, LABELS, [(NOW - 60, 9.0), (NOW - 30, 2.0), (NOW - 1, 3.0), (NOW, 1.0)])
        usage = await reader(client, settle=0, sample=sample).read(NOW)
    assert isinstance(usage, Usage)
    assert (usage.begin, usage.until) == (NOW - 60, NOW)
    assert taken(usage.tflops) == {NOW: expected}
    assert taken(usage.vram) == {NOW: 3.0}


async def test_of_means_still_the_fullest_gpu_counts() -> None:
    async with FakePrometheus() as prometheus, PrometheusClient(prometheus.url) as client:
        prometheus.add(TFLOPS, LABELS, [(NOW - 30, 1.0), (NOW - 1, 9.0)])
        prometheus.add(TFLOPS, {**LABELS, "uuid": "GPU-1"}, [(NOW - 30, 6.0), (NOW - 1, 6.0)])
        usage = await reader(client, settle=0, sample="mean").read(NOW)
    assert usage is not None
    assert taken(usage.tflops) == {NOW: 6.0}


@pytest.mark.parametrize(("points", "elsewhere"), [(6000, True), (10, False)])
async def test_a_long_answer_is_judged_without_holding_up_others(points: int, *, elsewhere: bool) -> None:
    source = Source()
    source.answer = [series(*([1.0] * points))]
    threads: set[int] = set()
    pods = Pods(tracked())

    def find(namespace: str, name: str) -> TrackedPod | None:
        threads.add(threading.get_ident())
        return pods.find(namespace, name)

    bulk = BulkReader(source=source, preset=TENSORFUSION, step=60.0, find=find, cards=cards())
    subject = UsageReader(reader=bulk, settle=0, series=1)
    subject.resume(NOW - 60)
    usage = await subject.read(NOW + 60 * points)
    assert usage is not None
    assert len(usage.tflops.times) == points
    assert usage.outcomes == {Outcome.ACCEPTED: 2 * points}
    assert len(threads) >= 1
    assert (threading.get_ident() not in threads) is elsewhere


async def test_a_reader_goes_on_from_another_ones_cursor() -> None:
    source = Source()
    subject = reader(source, settle=0)
    subject.resume(NOW - 600)
    assert subject.cursor == NOW - 600
    await subject.read(NOW)
    assert source.asked == [(NOW - 540, NOW)] * 2


async def test_a_step_that_another_reader_has_read_in_part_is_left_out() -> None:
    source = Source()
    subject = reader(source, settle=0)
    subject.resume(NOW - 630)
    await subject.read(NOW)
    assert source.asked[0] == (NOW - 540, NOW)


async def test_a_cursor_from_the_future_is_put_right() -> None:
    subject = reader(Source(), settle=0)
    subject.resume(NOW + 7200)
    assert subject.put_right(NOW) == 7200


async def test_after_a_gap_of_many_series_the_answers_stay_of_a_size_that_fits_in_memory() -> None:
    source = Source()
    source.answer = [series(1.0, pod=f"pod-{index}") for index in range(1000)]
    subject = reader(source, settle=0)
    await subject.read(NOW)
    await subject.read(NOW + 60 * 10_000)
    start, end = source.asked[-1]
    assert (end - start) / 60 + 1 == 500


async def test_after_a_restart_the_first_answer_is_short_and_sets_the_length_of_the_next() -> None:
    source = Source()
    source.answer = [series(1.0, pod=f"pod-{index}") for index in range(1000)]
    subject = reader(source, settle=0)
    subject.resume(NOW - 60 * 10_000)
    for _ in range(2):
        await subject.read(NOW)
    lengths = [(end - start) / 60 + 1 for start, end in source.asked[::2]]
    assert lengths == [10, 500]


async def test_one_answer_is_judged_before_the_next_is_asked_for() -> None:
    """An answer takes many times the memory of the samples that come of it."""
    found: list[int] = []
    pods = Pods(tracked())

    def find(namespace: str, name: str) -> TrackedPod | None:
        found.append(len(source.asked))
        return pods.find(namespace, name)

    source = Source()
    source.answer = [series(1.0)]
    bulk = BulkReader(source=source, preset=TENSORFUSION, step=60.0, find=find, cards=cards())
    await UsageReader(reader=bulk, settle=0).read(NOW)
    assert found == [1, 2]


async def test_a_source_without_any_usage_is_warned_about_once_while_pods_run() -> None:
    source = Source()
    bulk = BulkReader(source=source, preset=TENSORFUSION, step=60.0, find=Pods().find, cards=cards())
    subject = UsageReader(reader=bulk, settle=0, running=lambda: True)
    with capture_logs() as logs:
        for minute in range(30):
            await subject.read(NOW + 60 * minute)
        source.answer = [series(1.0)]
        await subject.read(NOW + 60 * 30)
    events = [entry["event"] for entry in logs]
    assert events == ["metric source answers, but has no usage of any pod", "metric source has usage again"]


async def test_what_no_card_of_the_cluster_can_do_is_not_taken() -> None:
    source = Source()
    source.answer = [series(9.0, begin=NOW), series(99.0, begin=NOW, uuid="GPU-1")]
    usage = await reader(source, settle=0).read(NOW)
    assert usage is not None
    assert taken(usage.tflops) == {NOW: 9.0}
    assert taken(usage.vram) == {NOW: 99.0}
    assert usage.outcomes[Outcome.IMPLAUSIBLE] == 1
