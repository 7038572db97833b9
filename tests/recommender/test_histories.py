from collections import Counter

import pytest

from recommender.histories import Histories
from recommender.keys import WorkloadKey
from recommender.pods import TrackedPod
from recommender.samples import PodUsage
from recommender.usage import Usage
from tests.support.builders import pod_struct
from vgpu.api import AutoSetResources
from vgpu.naming import Owner
from vgpu.slices import Resource

NOW = 1_800_000_000.0
DAY = 86_400.0
WEB, OTHER = WorkloadKey("default", "web"), WorkloadKey("default", "other")
CONFIG = AutoSetResources()


def histories() -> Histories:
    return Histories(half_life=DAY, peak_window=DAY, now=NOW)


def usage_of(
    key: WorkloadKey, *values: float, resource: Resource = Resource.TFLOPS, pod: str = "a", begin: float = NOW
) -> Usage:
    owner = Owner("apps/v1", "Deployment", key.name, "uid")
    times = tuple(begin + 60 * index for index in range(len(values)))
    taken = (PodUsage(TrackedPod(pod_struct(pod), key, owner, 0), times, values),)
    tflops = resource is Resource.TFLOPS
    return Usage(taken if tflops else (), () if tflops else taken, until=times[-1], outcomes=Counter())


def test_a_constant_use_of_thirty_hours_is_estimated_as_specified() -> None:
    subject = histories()
    subject.feed(usage_of(WEB, *[3.0] * (30 * 60 + 1)))
    [estimates] = subject.estimate([(WEB, CONFIG)])
    estimate = estimates[Resource.TFLOPS]
    assert (estimate.target, estimate.lower_bound, estimate.upper_bound) == (3510, 3504, 6318)
    assert estimate.confidence == pytest.approx(1.25)


def test_a_workload_without_samples_has_no_estimate() -> None:
    assert histories().estimate([(WEB, CONFIG)]) == [{}]


def test_a_resource_without_samples_has_no_estimate() -> None:
    subject = histories()
    subject.feed(usage_of(WEB, 1.0))
    assert subject.estimate([(WEB, CONFIG)])[0].keys() == {Resource.TFLOPS}


def test_estimates_come_in_the_order_of_the_question() -> None:
    subject = histories()
    subject.feed(usage_of(OTHER, 100.0))
    subject.feed(usage_of(WEB, 1.0))
    unknown = WorkloadKey("default", "unknown")
    web, nothing, other = subject.estimate([(WEB, CONFIG), (unknown, CONFIG), (OTHER, CONFIG)])
    assert nothing == {}
    assert web[Resource.TFLOPS].target < 2000
    assert other[Resource.TFLOPS].target > 100_000


def test_vram_counts_by_its_peak() -> None:
    subject = histories()
    subject.feed(usage_of(WEB, *[1e9] * 50, 8e9, *[1e9] * 50, resource=Resource.VRAM))
    assert subject.estimate([(WEB, CONFIG)])[0][Resource.VRAM].target > 8e9


def test_samples_of_all_pods_count() -> None:
    subject = histories()
    subject.feed(usage_of(WEB, 1.0, 1.0, pod="a"))
    subject.feed(usage_of(WEB, 1.0, pod="b", begin=NOW + 300))
    history = subject.of(WEB)
    assert history is not None
    assert (history.samples, history.first, history.last) == (3, NOW, NOW + 300)


def test_a_forgotten_workload_begins_anew() -> None:
    subject = histories()
    subject.feed(usage_of(WEB, 100.0))
    subject.feed(usage_of(WEB, 8e9, resource=Resource.VRAM))
    subject.forget(WEB)
    assert subject.of(WEB) is None
    subject.feed(usage_of(WEB, 1.0))
    assert subject.estimate([(WEB, CONFIG)])[0][Resource.TFLOPS].target < 2000


def test_a_workload_that_rests_for_a_weekend_keeps_its_history_but_not_for_eight_days() -> None:
    subject = histories()
    subject.feed(usage_of(WEB, 1.0))
    subject.forget_idle(NOW + 3 * DAY)
    assert subject.of(WEB) is not None
    subject.forget_idle(NOW + 8 * DAY + 1)
    assert subject.of(WEB) is None
