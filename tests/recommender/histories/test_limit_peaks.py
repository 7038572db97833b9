"""Peaks under the limits of pods, gathered over the life of a workload."""

import numpy as np
import pytest

from recommender.cluster.pods import TrackedPod
from recommender.histories.limit_peaks import LimitPeaks
from recommender.histories.preallocation import all_hold
from recommender.keys import WorkloadKey
from tests.support.using import GIB, NOW, OTHER, WEB, minutes, samples, tracked

HOUR = 3600.0
NONE = float("nan")


class Story:
    """A workload whose pods come one after the other, and at each time run for as long as is said."""

    def __init__(self) -> None:
        self.subject = LimitPeaks()
        self.made = 0

    def pod(self, limit: float, *, key: WorkloadKey = WEB) -> TrackedPod:
        self.made += 1
        name = f"pod-{self.made}"
        return tracked(key, name, created=self.made, limit=str(round(limit * GIB)))

    def runs(self, pod: TrackedPod, share: float, *, seconds: float = 600, begin: float = NOW) -> None:
        """Let a pod use a share of its limit for a time, from the first minute on."""
        limit = float((pod.pod.metadata.annotations or {})["tensor-fusion.ai/vram-limit"])
        count = int(seconds // 60) + 1
        taken = samples(minutes(pod, *[share * limit] * count, begin=begin))
        row = 0 if pod.workload == WEB else 1
        self.subject.observe(taken.pods, np.array([row]), taken.of, taken.times, taken.values)

    def life(self, limit: float, share: float, *, seconds: float = 600) -> None:
        self.runs(self.pod(limit), share, seconds=seconds)

    def held(self) -> bool:
        return bool(all_hold(self.subject.table(np.array([0])))[0])


def test_the_same_share_of_two_limits_holds() -> None:
    story = Story()
    story.life(8, 0.9)
    assert not story.held()
    story.life(16, 0.9)
    assert story.held()
    assert story.subject.table(np.array([0]))[0].tolist() == pytest.approx(
        [8 * GIB, NONE, 7.2 * GIB, 16 * GIB, NONE, 14.4 * GIB], nan_ok=True
    )


def test_a_use_that_stays_under_another_limit_does_not_hold() -> None:
    story = Story()
    story.life(8, 0.9)
    story.life(16, 0.45)
    assert not story.held()


def test_limits_that_are_close_prove_nothing() -> None:
    story = Story()
    story.life(10, 0.9)
    story.life(10.9, 0.9)
    assert not story.held()


def test_limits_that_drift_apart_in_small_steps_count_as_two() -> None:
    story = Story()
    for limit in (10, 10.9, 11.8, 12.7):
        story.life(limit, 0.9)
    assert story.held()


def test_a_pod_that_was_watched_for_a_short_time_proves_nothing() -> None:
    story = Story()
    story.life(8, 0.9, seconds=540)
    story.life(16, 0.9, seconds=540)
    assert not story.held()


def test_a_pod_proves_once_it_was_watched_for_long_enough_over_many_polls() -> None:
    story = Story()
    story.life(8, 0.9)
    pod = story.pod(16)
    for minute in range(10):
        story.runs(pod, 0.9, seconds=0, begin=NOW + 60 * minute)
        assert not story.held()
    story.runs(pod, 0.9, seconds=0, begin=NOW + 600)
    assert story.held()


def test_a_pod_that_takes_nothing_proves_nothing() -> None:
    story = Story()
    story.life(8, 0)
    story.life(16, 0)
    assert not story.held()


def test_a_later_peak_above_the_share_lifts_it() -> None:
    story = Story()
    story.life(8, 0.7)
    pod = story.pod(16)
    story.runs(pod, 0.7)
    assert story.held()
    story.runs(pod, 0.75, begin=NOW + 1200)
    assert not story.held()


def test_a_later_pod_that_takes_less_lifts_it_after_an_hour() -> None:
    """Not before: a large model may take that long to load."""
    story = Story()
    story.life(8, 0.9)
    story.life(16, 0.9)
    pod = story.pod(16)
    story.runs(pod, 0.4, seconds=HOUR - 60)
    assert story.held()
    story.runs(pod, 0.4, begin=NOW + HOUR, seconds=0)
    assert not story.held()


def test_a_model_that_loads_slowly_does_not_lift_it() -> None:
    story = Story()
    story.life(8, 0.9)
    story.life(16, 0.9)
    pod = story.pod(24)
    story.runs(pod, 0.3, seconds=1200)
    story.runs(pod, 0.9, begin=NOW + 1260, seconds=HOUR)
    assert story.held()


def test_pods_that_differ_lift_it_and_no_chance_brings_it_back() -> None:
    """The smallest peak of those that have lasted stays known, whatever comes after it."""
    story = Story()
    story.life(8, 0.6)
    story.life(16, 0.6)
    assert story.held()
    story.life(16, 0.3, seconds=HOUR)
    assert not story.held()
    story.life(16, 0.6, seconds=2 * HOUR)
    assert not story.held()


def test_a_use_that_rises_after_an_hour_is_not_fixed() -> None:
    story = Story()
    pod = story.pod(8)
    story.runs(pod, 0.5, seconds=HOUR)
    story.runs(pod, 0.9, begin=NOW + 2 * HOUR)
    story.life(16, 0.9)
    assert not story.held()


def test_a_short_lived_pod_that_takes_less_does_not_lift_it() -> None:
    story = Story()
    story.life(8, 0.9)
    story.life(16, 0.9)
    story.life(16, 0.2, seconds=HOUR - 60)
    assert story.held()


def test_a_constant_part_does_not_make_close_limits_differ() -> None:
    """A limit that drifts by less than a tenth counts as the first, where a pod would take a little less."""
    story = Story()
    for limit in (8, 8.7, 7.4, 16, 17, 15):
        story.life(limit, 0.5 + 1.5 / limit, seconds=HOUR)
    assert story.held()


def test_a_large_model_with_a_constant_part_that_loads_slowly_does_not_lift_it() -> None:
    story = Story()
    for limit in (8, 16):
        story.life(limit, 0.5 + 1.5 / limit, seconds=HOUR)
    pod = story.pod(24)
    story.runs(pod, 0.5, seconds=1200)
    assert story.held()
    story.runs(pod, 0.5 + 1.5 / 24, begin=NOW + 1260, seconds=HOUR)
    assert story.held()


def test_shares_are_told_where_all_peaks_hold_alone() -> None:
    story = Story()
    story.life(8, 0.9)
    assert np.isnan(story.subject.shares(np.array([0]))).all()
    story.life(16, 0.9)
    told = [8 * GIB, 7.2 * GIB, 16 * GIB, 14.4 * GIB]
    assert story.subject.shares(np.array([0]))[0].tolist() == pytest.approx(told)


def test_a_third_limit_takes_the_place_of_the_oldest() -> None:
    story = Story()
    for limit in (8, 16, 32):
        story.life(limit, 0.9)
    assert story.held()
    assert story.subject.table(np.array([0]))[0, [0, 3]].tolist() == [16 * GIB, 32 * GIB]


def test_pods_of_one_poll_count_in_the_order_in_which_they_were_made() -> None:
    story = Story()
    pods = [story.pod(limit) for limit in (8, 16, 32)]
    taken = samples(*(minutes(pod, *[0.9 * GIB] * 11) for pod in reversed(pods)))
    story.subject.observe(taken.pods, np.zeros(3, dtype=np.intp), taken.of, taken.times, taken.values)
    assert story.subject.table(np.array([0]))[0, [0, 3]].tolist() == [16 * GIB, 32 * GIB]


def test_a_limit_is_read_once_for_each_pod() -> None:
    read: list[str] = []

    def limit_of(pod: TrackedPod) -> float:
        read.append(pod.uid)
        return 8.0 * GIB

    subject = LimitPeaks(limit_of=limit_of)
    for _ in range(3):
        taken = samples(minutes(tracked(), 1e9))
        subject.observe(taken.pods, np.array([0]), taken.of, taken.times, taken.values)
    assert read == [tracked().uid]


def test_what_a_pod_has_proved_stays_when_it_is_gone() -> None:
    story = Story()
    pods = [story.pod(8), story.pod(16)]
    for pod in pods:
        story.runs(pod, 0.9)
        story.subject.forget_pod(pod.uid)
    assert story.held()
    assert len(story.subject) == 0


def test_a_workload_that_is_gone_leaves_nothing_to_the_next_one_of_its_row() -> None:
    story = Story()
    story.life(8, 0.9)
    story.life(16, 0.9)
    story.subject.forget_rows(np.array([0]))
    assert not story.held()
    assert len(story.subject) == 0
    story.life(16, 0.9)
    assert not story.held()


def test_workloads_do_not_prove_for_each_other() -> None:
    story = Story()
    story.runs(story.pod(8, key=OTHER), 0.9)
    story.life(16, 0.9)
    assert not story.held()


def test_what_was_known_before_a_restart_counts_after_it() -> None:
    story, later = Story(), Story()
    story.life(8, 0.9)
    later.subject.load(np.array([0]), story.subject.table(np.array([0])))
    later.life(16, 0.9)
    assert later.held()


def test_a_slot_goes_to_another_pod_as_new() -> None:
    story = Story()
    pod = story.pod(8)
    story.runs(pod, 0.9, seconds=540)
    story.subject.forget_pod(pod.uid)
    story.life(8, 0.9, seconds=60)
    assert np.isnan(story.subject.table(np.array([0]))).all()
