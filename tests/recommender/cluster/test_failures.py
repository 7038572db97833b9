import math
import time

import pytest
from prometheus_client import CollectorRegistry

from recommender.cluster.changes import Changes
from recommender.cluster.failures import Failures
from recommender.keys import WorkloadKey
from recommender.metrics import RecommenderMetrics
from vgpu.kube.errors import ApiUnreachable, KubeError

WEB = WorkloadKey("default", "web")


DOWN: KubeError = ApiUnreachable("https://here", "refused")


def fail(subject: Failures, error: Exception | None = DOWN, stage: str = "publish") -> None:
    """Work on a workload, with an error or with none."""
    with subject.of_workload(stage, WEB):
        if error is not None:
            raise error


class Rig:
    def __init__(self, *, jitter: float = 1.0) -> None:
        self.now = 0.0
        self.changes = Changes()
        self.subject = Failures(
            changes=self.changes,
            metrics=RecommenderMetrics(CollectorRegistry()),
            clock=lambda: self.now,
            jitter=lambda: jitter,
        )

    def work(self, error: Exception | None = None, stage: str = "publish") -> None:
        fail(self.subject, error, stage)

    def waits(self, times: int) -> list[float]:
        """How long is waited for the next try after each of so many failures."""
        waits = []
        for _ in range(times):
            self.work(DOWN)
            waits.append(self.subject.wait())
            self.now += self.subject.wait()
            self.subject.retry_due()
            assert self.changes.take().workloads == {WEB}
        return waits


def test_what_fails_is_tried_again_ever_less_often() -> None:
    assert Rig().waits(9) == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_half_of_the_wait_is_left_to_chance() -> None:
    assert Rig(jitter=0).waits(2) == [2.5, 5]


def test_success_of_the_same_stage_begins_anew() -> None:
    rig = Rig()
    rig.waits(3)
    rig.work(stage="observe")
    assert rig.waits(1) == [40]
    rig.work()
    assert rig.waits(1) == [5]


@pytest.mark.parametrize("error", [DOWN, ZeroDivisionError()])
def test_an_error_of_one_workload_is_contained(error: Exception) -> None:
    rig = Rig()
    rig.work(error)
    assert rig.subject.wait() == 5


def test_nothing_is_put_in_before_its_time_or_twice() -> None:
    rig = Rig()
    rig.work(DOWN)
    put_in = []
    for rig.now in (4, 5, 6, 7):
        rig.subject.retry_due()
        put_in.append(rig.changes.take().workloads)
    assert put_in == [set(), {WEB}, set(), set()]


def test_waits_are_measured_by_a_clock_that_nobody_sets() -> None:
    subject = Failures(changes=Changes(), metrics=RecommenderMetrics(CollectorRegistry()))
    fail(subject)
    assert 0 < subject.retry_at - time.monotonic() <= 5


def test_a_workload_that_is_no_more_is_not_tried_again() -> None:
    rig = Rig()
    rig.work(DOWN)
    rig.subject.forget(WEB)
    assert rig.subject.wait() == math.inf
