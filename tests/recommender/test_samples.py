import math
from collections import Counter
from functools import partial

import pytest

from recommender.keys import WorkloadKey
from recommender.pods import TrackedPod
from recommender.samples import Bounds, Outcome, by_pod, judge_sample
from tests.support.builders import pod_struct
from vgpu.naming import Owner
from vgpu.prometheus import Series
from vgpu.slices import Amounts, Resource
from vgpu.usage_sources import TENSORFUSION

NOW = 6_000_000.0
OWNER = Owner("apps/v1", "Deployment", "web", "uid-web")
L4 = Bounds(latest=NOW + 600, largest=Amounts(tflops=121_000, vram=24 * 2**30))
judge = partial(judge_sample, resource=Resource.TFLOPS, bounds=L4)


def tracked(name: str = "web-0", *, created: float = 0.0) -> TrackedPod:
    return TrackedPod(pod_struct(name), WorkloadKey("default", "web"), OWNER, created)


def find(namespace: str, name: str) -> TrackedPod | None:
    return tracked(name) if (namespace, name) == ("default", "web-0") else None


def samples(*series: Series) -> tuple[dict[float, float], Counter[Outcome]]:
    """What is taken of one pod's TFLOPS, and what became of every sample."""
    outcomes: Counter[Outcome] = Counter()
    usages = by_pod(series, TENSORFUSION, find, judge, outcomes)
    taken = {time: value for usage in usages for time, value in zip(usage.times, usage.values, strict=True)}
    return taken, outcomes


def series(*values: float, pod: str = "web-0", **labels: str) -> Series:
    times = [NOW + 60 * index for index in range(len(values))]
    return Series({"namespace": "default", "pod": pod, "uuid": "GPU-0", **labels}, times, list(values))


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
        (1e6, Outcome.IMPLAUSIBLE),
    ],
)
def test_what_cannot_be_true_is_dropped_and_counted(value: float, outcome: Outcome) -> None:
    taken, outcomes = samples(series(1.0, value))
    assert list(taken.values()) == [1.0]
    assert outcomes == {Outcome.ACCEPTED: 1, outcome: 1}


def test_more_memory_than_the_largest_card_has_is_not_believed() -> None:
    believed = [
        judge_sample(tracked(), NOW, value, resource=Resource.VRAM, bounds=L4) is Outcome.ACCEPTED
        for value in (24e9, 27e9, 80e9)
    ]
    assert believed == [True, True, False]


def test_a_sample_from_the_future_is_not_believed() -> None:
    found = Series({"namespace": "default", "pod": "web-0", "uuid": "GPU-0"}, [NOW, NOW + 601], [1.0, 2.0])
    taken, outcomes = samples(found)
    assert taken == {NOW: 1.0}
    assert outcomes == {Outcome.ACCEPTED: 1, Outcome.IN_FUTURE: 1}


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
    [usage] = by_pod([series(1.0, 2.0)], TENSORFUSION, lambda *_: tracked(created=NOW + 1), judge, outcomes)
    assert usage.values == (2.0,)
    assert outcomes == {Outcome.ACCEPTED: 1, Outcome.BEFORE_CREATION: 1}


def test_a_pod_that_a_scrape_has_renamed_is_found_by_its_exported_labels() -> None:
    taken, _ = samples(
        series(
            4.0, pod="exporter-x", namespace="monitoring", exported_pod="web-0", exported_namespace="default"
        )
    )
    assert list(taken.values()) == [4.0]
