import pytest

from recommender.keys import WorkloadKey
from recommender.pods import TrackedPod
from recommender.samples import Outcome
from recommender.usage import MAX_POINTS, Usage, UsageReader, bulk_queries
from tests.support.builders import pod_struct
from tests.support.fake_prometheus import FakePrometheus
from vgpu.naming import Owner
from vgpu.prometheus import (
    AnswerTooLarge,
    BadAnswer,
    PrometheusClient,
    PrometheusError,
    PrometheusTimeout,
    PrometheusUnreachable,
    Series,
)
from vgpu.slices import Amounts
from vgpu.usage_sources import TENSORFUSION

TFLOPS, VRAM = "tf_worker_usage_compute_tflops", "tf_worker_usage_memory_bytes"
NOW = 6_000_000.0  # a whole number of minutes
OWNER = Owner("apps/v1", "Deployment", "web", "uid-web")


def tracked(name: str = "web-0", *, created: float = 0.0) -> TrackedPod:
    return TrackedPod(pod_struct(name), WorkloadKey("default", "web"), OWNER, created)


def find(namespace: str, name: str) -> TrackedPod | None:
    return tracked(name) if (namespace, name) == ("default", "web-0") else None


def reader(source: object, **arguments: float) -> UsageReader:
    timing = {"step": 60.0, "settle": 5.0, **arguments}
    return UsageReader(source=source, preset=TENSORFUSION, find=find, largest=Amounts, **timing)  # type: ignore[arg-type]  # a fake


class Source:
    """Answers nothing, and remembers what was asked."""

    def __init__(self, *errors: Exception) -> None:
        self.asked: list[tuple[float, float]] = []
        self._errors = list(errors)

    async def query_range(self, promql: str, *, start: float, end: float, step: float) -> list[Series]:
        self.asked.append((start, end))
        if self._errors:
            raise self._errors.pop(0)
        return []


def series(*values: float, pod: str = "web-0", **labels: str) -> Series:
    times = [NOW + 60 * index for index in range(len(values))]
    return Series({"namespace": "default", "pod": pod, "uuid": "GPU-0", **labels}, times, list(values))


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


@pytest.mark.parametrize("error", [AnswerTooLarge, PrometheusTimeout, BadAnswer])
async def test_a_stretch_that_fails_is_asked_for_in_halves_at_once(error: type[PrometheusError]) -> None:
    source = Source()
    subject = reader(source, settle=0)
    await subject.read(NOW)
    source._errors = [error("too much")]
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


async def test_a_poll_takes_the_maximum_of_each_step_of_the_real_query() -> None:
    async with FakePrometheus() as prometheus, PrometheusClient(prometheus.url) as client:
        labels = {"namespace": "default", "pod": "web-0", "uuid": "GPU-0"}
        for metric in (TFLOPS, VRAM):
            prometheus.add(metric, labels, [(NOW - 60, 9.0), (NOW - 30, 2.0), (NOW - 1, 3.0), (NOW, 1.0)])
        usage = await reader(client, settle=0).read(NOW)
    assert isinstance(usage, Usage)
    assert [(each.times, each.values) for each in usage.tflops] == [((NOW,), (3.0,))]
    assert [(each.times, each.values) for each in usage.vram] == [((NOW,), (3.0,))]


def test_one_query_a_metric_covers_all_pods() -> None:
    tflops, vram = bulk_queries(TENSORFUSION, 60)
    assert tflops == (
        "max by (exported_namespace, namespace, exported_worker, exported_pod, worker, pod, uuid) "
        "(max_over_time(tf_worker_usage_compute_tflops[60000ms]))"
    )
    assert "tf_worker_usage_memory_bytes" in vram


async def test_what_no_card_of_the_cluster_can_do_is_not_taken() -> None:
    source = Source()
    subject = UsageReader(
        source=source,
        preset=TENSORFUSION,
        find=find,
        largest=lambda: Amounts(tflops=10_000, vram=2**30),
        step=60,
        settle=0,
    )

    async def answer(promql: str, *, start: float, end: float, step: float) -> list[Series]:
        return [series(9.0, 99.0)]

    source.query_range = answer  # type: ignore[method-assign]  # a fake
    usage = await subject.read(NOW)
    assert usage is not None
    assert [each.values for each in usage.tflops] == [(9.0,)]
    assert [each.values for each in usage.vram] == [(9.0, 99.0)]
    assert usage.outcomes[Outcome.IMPLAUSIBLE] == 1
