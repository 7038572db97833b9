from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.checkpoints.snapshot import PendingBackfill
from recommender.histories.estimation import NO_EVIDENCE
from recommender.histories.histories import Fed, Histories
from recommender.keys import WorkloadKey
from tests.support.examples import examples
from tests.support.using import DAY, GIB, NOW, OTHER, WEB, Taken, minutes, tracked, usage
from vgpu.api import AutoSetResources
from vgpu.slices import Resource

CONFIG = AutoSetResources()
TFLOPS, VRAM = Resource.TFLOPS, Resource.VRAM


def histories(*configured: WorkloadKey, half_life: float = DAY) -> Histories:
    subject = Histories(half_life=half_life, peak_window=DAY, now=NOW)
    for key in configured:
        subject.configure(key, CONFIG)
    return subject


def target(subject: Histories, key: WorkloadKey = WEB, resource: Resource = TFLOPS) -> int | None:
    estimate = subject.estimate([key]).of(0).get(resource)
    return estimate.target if estimate is not None else None


# Estimates


def test_a_constant_use_of_thirty_hours_is_estimated_as_specified() -> None:
    subject = histories(WEB)
    subject.feed(usage(tflops=[minutes(tracked(), *[3.0] * (30 * 60 + 1))]))
    estimate = subject.estimate().of(0)[TFLOPS]
    assert (estimate.target, estimate.lower_bound, estimate.upper_bound) == (3510, 3504, 6318)
    assert estimate.confidence == pytest.approx(1.25)


def test_a_workload_without_samples_is_known_by_nothing() -> None:
    estimation = histories(WEB).estimate([WEB])
    assert estimation.evidence(WEB) == NO_EVIDENCE
    assert estimation.of(0) == {}


def test_a_resource_without_samples_has_no_estimate() -> None:
    subject = histories(WEB)
    subject.feed(usage(tflops=[minutes(tracked(), 1.0)]))
    assert subject.estimate().of(0).keys() == {TFLOPS}


def test_estimates_come_in_the_order_of_the_question() -> None:
    subject, unknown = histories(), WorkloadKey("default", "unknown")
    subject.feed(usage(tflops=[minutes(tracked(OTHER), 100.0), minutes(tracked(WEB), 1.0)]))
    found = subject.estimate([WEB, unknown, OTHER])
    assert found.keys == (WEB, unknown, OTHER)
    assert found.empty[TFLOPS].tolist() == [False, True, False]
    assert found.target[TFLOPS][0] < 2000
    assert found.target[TFLOPS][2] > 100_000


def test_only_configured_workloads_are_estimated_unasked() -> None:
    subject = histories(WEB)
    subject.feed(usage(tflops=[minutes(tracked(OTHER), 100.0), minutes(tracked(WEB), 1.0)]))
    assert subject.estimate().keys == (WEB,)
    subject.configure(OTHER, CONFIG)
    assert set(subject.estimate().keys) == {WEB, OTHER}
    subject.neglect(WEB)
    assert subject.estimate().keys == (OTHER,)
    assert WEB in subject


def test_while_no_workload_comes_or_goes_the_keys_are_the_same_object() -> None:
    subject = histories(WEB)
    subject.feed(usage(tflops=[minutes(tracked(), 1.0)]))
    first = subject.estimate()
    subject.feed(usage(tflops=[minutes(tracked(), 1.0, begin=NOW + 60)]))
    assert subject.estimate().keys is first.keys


def test_each_workload_is_estimated_by_its_own_configuration() -> None:
    subject = histories(WEB)
    subject.configure(OTHER, AutoSetResources(target_tflops_percentile=0.1, request_margin_fraction=0))
    for key in (WEB, OTHER):
        subject.feed(usage(tflops=[minutes(tracked(key), *[1.0] * 5, *[100.0] * 5)]))
    assert (target(subject, WEB) or 0) > 100_000
    assert (target(subject, OTHER) or 0) < 2_000


def test_a_new_configuration_counts_at_once() -> None:
    subject = histories(WEB)
    subject.feed(usage(tflops=[minutes(tracked(), 1.0)]))
    before = target(subject)
    subject.configure(WEB, AutoSetResources(request_margin_fraction=1))
    assert (target(subject) or 0) > (before or 0)


# Samples


def test_vram_counts_by_its_peak() -> None:
    subject = histories(WEB)
    subject.feed(usage(vram=[minutes(tracked(), *[1e9] * 50, 8e9, *[1e9] * 50)]))
    assert (target(subject, resource=VRAM) or 0) > 8e9


def test_tflops_samples_of_all_pods_count_and_those_of_vram_do_not() -> None:
    subject = histories(WEB)
    a, b = tracked(pod="a"), tracked(pod="b")
    subject.feed(
        usage(
            tflops=[minutes(a, 1.0, 1.0), minutes(b, 1.0, begin=NOW + 300)],
            vram=[minutes(b, 1e9, begin=NOW - 900), minutes(a, 1e9, begin=NOW + 900)],
        )
    )
    found = subject.estimate()
    assert (found.samples.tolist(), found.first.tolist()) == ([3], [NOW])
    assert subject.snapshot(written=NOW, cursor=None).last.tolist() == [NOW + 300]


def test_counts_never_decay() -> None:
    subject = histories(WEB)
    for day in range(5):
        subject.feed(usage(tflops=[minutes(tracked(), 1.0, begin=NOW + day * DAY)], until=NOW + day * DAY))
    assert subject.estimate().samples.tolist() == [5]


def test_workloads_are_new_once() -> None:
    subject = histories()
    first = usage(tflops=[minutes(tracked(WEB), 1.0)], vram=[minutes(tracked(OTHER), 1e9)])
    assert subject.feed(first) == Fed(new=(WEB, OTHER))
    assert subject.feed(usage(vram=[minutes(tracked(WEB), 1e9)])) == Fed()


def test_vram_samples_from_before_all_windows_are_counted() -> None:
    subject = histories()
    subject.feed(usage(vram=[minutes(tracked(), 1e9)]))
    assert subject.feed(usage(vram=[minutes(tracked(), 1e9, begin=NOW - 20 * DAY)])).too_old == 1


def test_the_past_counts_for_those_it_was_read_for_only() -> None:
    subject = histories(WEB, OTHER)
    subject.feed(usage(tflops=[minutes(tracked(WEB), 1.0), minutes(tracked(OTHER), 1.0)]))
    past = [minutes(tracked(key), 1.0, 1.0, begin=NOW - 600) for key in (WEB, OTHER)]
    assert subject.feed_earlier(usage(tflops=past), {WEB}) == Fed(gone=2)
    found = subject.estimate([WEB, OTHER])
    assert found.samples.tolist() == [3, 1]
    assert found.first.tolist() == [NOW - 600, NOW]


@settings(max_examples=examples(30))
@given(st.permutations(range(6)), st.integers(1, 5))
def test_the_order_in_which_samples_come_does_not_matter(order: list[int], polls: int) -> None:
    """Up to the rounding of float32: no percentile of these moves by it."""
    taken: list[Taken] = [
        minutes(tracked(key, pod), 1.0 + index, 30.0, begin=NOW + 3600 * index)
        for index, (key, pod) in enumerate([(WEB, "a"), (WEB, "b"), (OTHER, "a")] * 2)
    ]
    straight, shuffled = histories(), histories()
    straight.feed(usage(tflops=taken, vram=taken))
    for part in np.array_split(np.array(order), polls):
        some = [taken[index] for index in part.tolist()]
        shuffled.feed(usage(tflops=some, vram=some))
    one, other = straight.estimate([WEB, OTHER]), shuffled.estimate([WEB, OTHER])
    assert one.of(0) == other.of(0)
    assert one.of(1) == other.of(1)


# Forgetting


def test_a_forgotten_workload_begins_anew() -> None:
    subject = histories(WEB)
    subject.feed(usage(tflops=[minutes(tracked(), 100.0)], vram=[minutes(tracked(), 8e9)]))
    subject.forget(WEB)
    assert len(subject) == 0
    subject.configure(WEB, CONFIG)
    subject.feed(usage(tflops=[minutes(tracked(), 1.0)]))
    assert (target(subject) or 0) < 2000
    assert subject.estimate().samples.tolist() == [1]


def test_the_row_of_a_forgotten_workload_goes_to_another_as_new() -> None:
    subject = histories(WEB)
    subject.configure(WEB, AutoSetResources(request_margin_fraction=3))
    subject.feed(usage(tflops=[minutes(tracked(WEB), 100.0)], vram=[minutes(tracked(WEB), 8e9)]))
    subject.forget(WEB)
    subject.feed(usage(tflops=[minutes(tracked(OTHER), 1.0)]))
    assert subject.estimate([OTHER]).of(0).keys() == {TFLOPS}
    assert (target(subject, OTHER) or 0) < 2000


def go_on(subject: Histories, now: float, key: WorkloadKey = OTHER) -> None:
    """A sample of a workload at a time."""
    subject.feed(usage(tflops=[minutes(tracked(key), 1.0, begin=now)], until=now))


def test_a_workload_that_rests_for_a_weekend_keeps_its_history_but_not_for_eight_days() -> None:
    subject = histories(WEB)
    go_on(subject, NOW, WEB)
    go_on(subject, NOW + 3 * DAY)
    assert subject.forget_idle(NOW + 3 * DAY) == ()
    go_on(subject, NOW + 8 * DAY + 1)
    assert subject.forget_idle(NOW + 8 * DAY + 1) == (WEB,)
    assert WEB not in subject
    assert OTHER in subject


def test_nobody_is_idle_because_the_clock_is_ahead_or_the_source_has_no_samples() -> None:
    subject = histories(WEB)
    go_on(subject, NOW, WEB)
    go_on(subject, NOW + DAY)
    subject.feed(usage(until=NOW + 9 * DAY))
    assert subject.forget_idle(NOW + 9 * DAY) == ()


def test_nobody_is_idle_because_one_exporter_is_ahead() -> None:
    subject = histories(WEB)
    go_on(subject, NOW, WEB)
    go_on(subject, NOW + 9 * DAY)
    assert subject.forget_idle(NOW + DAY) == ()


def test_without_histories_none_is_idle() -> None:
    assert histories(WEB).forget_idle(NOW) == ()


def test_a_workload_that_has_lost_its_history_is_still_configured() -> None:
    subject = histories()
    subject.configure(WEB, AutoSetResources(request_margin_fraction=9))
    go_on(subject, NOW, WEB)
    go_on(subject, NOW + 9 * DAY)
    assert subject.forget_idle(NOW + 9 * DAY) == (WEB,)
    go_on(subject, NOW + 9 * DAY, WEB)
    assert (target(subject) or 0) > 10_000


def test_a_pod_that_was_forgotten_while_its_usage_was_on_its_way_does_not_come_back() -> None:
    subject, gone = histories(WEB), tracked(pod="gone")
    taken = [minutes(gone, 1e9), minutes(tracked(), 1e9)]
    subject.feed(usage(tflops=taken, vram=taken))
    subject.forget_pod(gone.uid)
    before = subject.snapshot(written=NOW, cursor=None)
    late = [minutes(gone, 9e9, begin=NOW + 60)]
    fed = subject.feed(usage(tflops=late, vram=late, until=NOW + 60), known=lambda pod: pod.uid != gone.uid)
    after = subject.snapshot(written=NOW, cursor=None)
    assert fed == Fed(gone=2)
    assert after.peaks.uids == (tracked().uid,)
    assert after.samples.tolist() == before.samples.tolist()
    assert (after.vram.weights == before.vram.weights).all()


def test_a_workload_that_was_forgotten_while_its_usage_was_on_its_way_does_not_come_back() -> None:
    subject = histories(WEB)
    taken = usage(tflops=[minutes(tracked(), 1.0), minutes(tracked(OTHER), 1.0)])
    assert subject.feed(taken, known=lambda pod: pod.workload == OTHER).new == (OTHER,)
    assert WEB not in subject


def test_the_past_of_a_pod_that_was_forgotten_meanwhile_does_not_come_back() -> None:
    subject = histories(WEB)
    past = usage(vram=[minutes(tracked(pod=pod), 1e9) for pod in ("a", "gone")])
    fed = subject.feed_earlier(past, {WEB}, known=lambda pod: pod.uid != tracked(pod="gone").uid)
    assert fed == Fed(new=(WEB,), gone=1)
    assert subject.snapshot(written=NOW, cursor=None).peaks.uids == (tracked().uid,)


@pytest.mark.parametrize("restart", [False, True])
def test_usage_that_is_read_again_after_a_clock_was_put_right_counts_once(*, restart: bool) -> None:
    """The clock was set back by mistake: the next hour's usage is there already, and comes anew."""
    subject = histories(WEB)
    pod = tracked()
    subject.feed(usage(tflops=[minutes(pod, *[3.0] * 61)], until=NOW + 3600))
    if restart:
        saved = subject.snapshot(written=NOW + 1800, cursor=NOW + 1800)
        subject = histories(WEB)
        subject.restore(replace(saved, until=np.minimum(saved.until, NOW + 1800)))
    else:
        subject.put_right()
    again = [minutes(pod, *[3.0] * 31, begin=NOW + 1860)]
    assert subject.feed(usage(tflops=again, until=NOW + 3660)).late == 30
    assert subject.estimate([WEB]).samples.tolist() == [62]


def test_usage_that_is_new_after_a_clock_was_put_right_counts() -> None:
    """The clock was ahead when histories were saved: nothing of the time in between can be in them."""
    subject = histories(WEB)
    subject.restore(filled().snapshot(written=NOW + DAY, cursor=NOW + DAY))
    subject.put_right()
    begin = NOW + 180
    assert subject.feed(usage(tflops=[minutes(tracked(WEB), 1.0, 1.0, begin=begin)], until=begin)).late == 0
    assert subject.estimate([WEB]).samples.tolist() == [5]


def test_a_pod_that_is_gone_opens_a_new_window_when_its_uid_comes_again() -> None:
    subject = histories(WEB)
    subject.feed(usage(vram=[minutes(tracked(), 8e9)]))
    subject.forget_pod(tracked().uid)
    assert subject.snapshot(written=NOW, cursor=None).peaks.uids == ()


def test_pods_that_went_unseen_in_a_restart_are_forgotten() -> None:
    after = histories(WEB)
    after.restore(filled().snapshot(written=NOW, cursor=NOW))
    after.forget_other_pods({tracked(WEB).uid})
    assert after.snapshot(written=NOW, cursor=NOW).peaks.uids == (tracked(WEB).uid,)


# Checkpoints


def filled() -> Histories:
    subject = histories(WEB, OTHER)
    taken = [minutes(tracked(WEB), 1.0, 30.0, 2.0), minutes(tracked(OTHER), 5.0)]
    memory = [minutes(tracked(WEB), 3e9, 5e9), minutes(tracked(OTHER), 2e9, 1e9)]
    subject.feed(usage(tflops=taken, vram=memory, until=NOW + 180))
    return subject


def test_restored_histories_say_the_same_as_those_saved() -> None:
    before, after = filled(), histories(WEB, OTHER)
    after.restore(before.snapshot(written=NOW, cursor=NOW + 180))
    one, other = before.estimate([WEB, OTHER]), after.estimate([WEB, OTHER])
    for key in (WEB, OTHER):
        assert one.evidence(key) == other.evidence(key)


def test_restored_histories_go_on_as_those_saved_do() -> None:
    before, after = filled(), histories(WEB, OTHER)
    after.restore(before.snapshot(written=NOW, cursor=NOW + 180))
    for subject in (before, after):
        more = [minutes(tracked(WEB), 9e9, begin=NOW + 240)]
        subject.feed(usage(tflops=[minutes(tracked(WEB), 90.0, begin=NOW + 240)], vram=more, until=NOW + 240))
    assert before.estimate([WEB]).of(0) == after.estimate([WEB]).of(0)


def test_a_snapshot_does_not_change_with_what_is_fed_after_it() -> None:
    subject = filled()
    snapshot = subject.snapshot(written=NOW, cursor=NOW)
    total, samples = snapshot.tflops.weights.sum(), snapshot.samples.tolist()
    subject.feed(usage(tflops=[minutes(tracked(WEB), *[7.0] * 50)]))
    assert (snapshot.tflops.weights.sum(), snapshot.samples.tolist()) == (total, samples)


def test_what_a_restored_row_holds_already_is_left_out_and_counted() -> None:
    after = histories(WEB)
    after.restore(filled().snapshot(written=NOW, cursor=NOW + 180))
    again = minutes(tracked(WEB), 99.0, 99.0, begin=NOW + 180)
    assert after.feed(usage(tflops=[again], vram=[again])).late == 2
    assert after.estimate([WEB]).samples.tolist() == [4]


def test_the_past_of_a_restored_row_still_counts_when_it_was_asked_for() -> None:
    after = histories(WEB)
    after.restore(filled().snapshot(written=NOW, cursor=NOW + 180))
    after.feed_earlier(usage(tflops=[minutes(tracked(WEB), 1.0, begin=NOW - 600)]), {WEB})
    assert after.estimate([WEB]).samples.tolist() == [4]


def test_what_a_row_holds_beyond_the_cursor_of_another_shard_is_saved_with_it() -> None:
    after = histories(WEB)
    after.restore(filled().snapshot(written=NOW, cursor=NOW + 180))
    assert after.snapshot(written=NOW, cursor=NOW).until.tolist() == [NOW + 180] * 2
    assert after.snapshot(written=NOW, cursor=NOW + 600).until.tolist() == [NOW + 600] * 2


def test_restored_workloads_are_not_new() -> None:
    after = histories(WEB)
    after.restore(filled().snapshot(written=NOW, cursor=NOW))
    assert after.feed(usage(tflops=[minutes(tracked(WEB), 1.0, begin=NOW + 60)])).new == ()


def test_a_saved_history_is_not_added_to_another_of_the_same_workload() -> None:
    with pytest.raises(ValueError, match="default/web has a history already"):
        filled().restore(filled().snapshot(written=NOW, cursor=NOW))


def test_histories_of_another_half_life_are_refused() -> None:
    with pytest.raises(ValueError, match="half-life of 86400 s"):
        histories(half_life=3600).restore(filled().snapshot(written=NOW, cursor=NOW))


def test_histories_that_cannot_be_taken_up_leave_nothing() -> None:
    """A pod with windows in two places, as after it went over to another workload."""
    after = histories(WEB)
    after.feed(usage(vram=[minutes(tracked(WEB), 1e9)]))
    snapshot = filled().snapshot(written=NOW, cursor=NOW).select(lambda key: key == OTHER)
    uids = replace(snapshot.peaks, uids=(tracked(WEB).uid,))
    with pytest.raises(ValueError, match="windows"):
        after.restore(replace(snapshot, peaks=uids))
    assert OTHER not in after


def test_windows_of_another_length_are_not_gone_on_with() -> None:
    after = Histories(half_life=DAY, peak_window=3600, now=NOW)
    after.restore(filled().snapshot(written=NOW, cursor=NOW))
    assert after.snapshot(written=NOW, cursor=NOW).peaks.uids == ()
    assert target(after, resource=VRAM) is not None


def test_shares_of_vram_survive_a_restart() -> None:
    before, after = histories(WEB), histories(WEB)
    for limit in (8, 16):
        pod = tracked(pod=str(limit), limit=f"{limit}Gi")
        before.feed(usage(vram=[minutes(pod, *[0.9 * limit * GIB] * 12)]))
    after.restore(before.snapshot(written=NOW, cursor=NOW))
    assert before.estimate([WEB]).preallocated.tolist() == [True]
    assert after.estimate([WEB]).preallocated.tolist() == [True]


def test_the_past_that_is_still_to_be_read_is_saved() -> None:
    pending = (PendingBackfill((WEB,), NOW - DAY, NOW),)
    assert filled().snapshot(written=NOW, cursor=NOW, backfill=pending).backfill == pending


def test_nothing_is_saved_and_restored_as_nothing() -> None:
    after = histories()
    after.restore(histories().snapshot(written=NOW, cursor=None))
    assert len(after) == 0
    assert after.estimate().keys == ()
