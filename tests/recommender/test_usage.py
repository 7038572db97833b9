import math
from collections import Counter

import pytest

from recommender.keys import WorkloadKey
from recommender.pods import TrackedPod
from recommender.usage import MAX_POINTS, Outcome, Usage, UsageReader, bulk_queries, by_pod
from tests.support.builders import pod_struct
from tests.support.fake_prometheus import FakePrometheus
from vgpu.naming import Owner
from vgpu.prometheus import AnswerTooLarge, PrometheusClient, PrometheusError, Series
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
    return UsageReader(source=source, preset=TENSORFUSION, find=find, **timing)  # type: ignore[arg-type]  # a fake


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


def samples(*series: Series) -> tuple[dict[float, float], Counter[Outcome]]:
    """What is taken of one pod, and what became of every sample."""
    outcomes: Counter[Outcome] = Counter()
    usages = by_pod(series, TENSORFUSION, find, outcomes)
    taken = {time: value for usage in usages for time, value in zip(usage.times, usage.values, strict=True)}
    return taken, outcomes


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


async def test_an_answer_that_is_too_large_is_asked_for_in_halves() -> None:
    source = Source()
    subject = reader(source, settle=0)
    await subject.read(NOW)
    source._errors = [AnswerTooLarge("too much")]
    with pytest.raises(AnswerTooLarge):
        await subject.read(NOW + 60 * 8)
    await subject.read(NOW + 60 * 8)
    assert source.asked[-1] == (NOW + 60, NOW + 60 * 4)


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
        "max by (exported_namespace, namespace, exported_pod, pod, worker, uuid) "
        "(max_over_time(tf_worker_usage_compute_tflops[60000ms]))"
    )
    assert "tf_worker_usage_memory_bytes" in vram


def test_the_fullest_gpu_of_a_pod_counts() -> None:
    taken, outcomes = samples(series(1.0, 5.0), series(3.0, 2.0, uuid="GPU-1"))
    assert list(taken.values()) == [3.0, 5.0]
    assert outcomes == {Outcome.ACCEPTED: 4}


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        (math.nan, Outcome.NOT_FINITE),
        (math.inf, Outcome.NOT_FINITE),
        (-math.inf, Outcome.NOT_FINITE),
        (-0.5, Outcome.NEGATIVE),
    ],
)
def test_what_cannot_be_true_is_dropped_and_counted(value: float, outcome: Outcome) -> None:
    taken, outcomes = samples(series(1.0, value))
    assert list(taken.values()) == [1.0]
    assert outcomes == {Outcome.ACCEPTED: 1, outcome: 1}


def test_zero_is_a_sample() -> None:
    taken, _ = samples(series(0.0))
    assert list(taken.values()) == [0.0]


def test_pods_that_nobody_knows_are_left_out() -> None:
    taken, outcomes = samples(series(1.0, 1.0, pod="stranger"))
    assert not taken
    assert outcomes == {Outcome.UNKNOWN_POD: 2}


def test_a_series_without_a_pod_is_left_out() -> None:
    _, outcomes = samples(Series({"job": "x"}, [NOW], [1.0]))
    assert outcomes == {Outcome.NO_POD: 1}


def test_samples_from_before_the_pod_belong_to_another_of_its_name() -> None:
    outcomes: Counter[Outcome] = Counter()
    [usage] = by_pod([series(1.0, 2.0)], TENSORFUSION, lambda *_: tracked(created=NOW + 1), outcomes)
    assert usage.values == (2.0,)
    assert outcomes == {Outcome.ACCEPTED: 1, Outcome.BEFORE_CREATION: 1}


def test_a_pod_that_a_scrape_has_renamed_is_found_by_its_exported_labels() -> None:
    taken, _ = samples(
        series(
            4.0, pod="exporter-x", namespace="monitoring", exported_pod="web-0", exported_namespace="default"
        )
    )
    assert list(taken.values()) == [4.0]
