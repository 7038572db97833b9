import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from recommender.cluster.known_pods import GonePod
from recommender.cluster.pods import TrackedPod
from recommender.keys import WorkloadKey
from recommender.usage.gathering import Gatherer
from recommender.usage.samples import Outcome, Samples, Stretch, Wanted
from tests.support.usage import NOW, Pods, cards, series, tracked
from vgpu.capacity import Card
from vgpu.prometheus import Series
from vgpu.slices import Amounts, Resource
from vgpu.usage_sources import DCGM, HAMI, TENSORFUSION, CardLookup, Preset

Gathered = tuple[dict[str, dict[float, float]], dict[Outcome, int]]
"""Values by UID and minute, and the outcomes of one series."""

STEPS = 20
L4 = Card("NVIDIA-L4", 121_000, 24 * 2**30)
ON_L4 = cards({"node-1": L4})


def stretch(*, begin: float = NOW - 60, wanted: Wanted | None = None) -> Stretch:
    first = round(begin / 60)
    return Stretch(first, first + STEPS, 60.0, latest=begin + 60 * (STEPS + 2), wanted=wanted)


def gather(
    *found: Series,
    preset: Preset = TENSORFUSION,
    pods: Pods | None = None,
    known: CardLookup = ON_L4,
    resource: Resource = Resource.TFLOPS,
    asked: Stretch | None = None,
) -> tuple[Samples, Counter[Outcome]]:
    outcomes: Counter[Outcome] = Counter()
    gatherer = Gatherer(preset=preset, find=(pods or Pods(tracked())).find, cards=known)
    samples = gatherer.gather(resource, found, asked or stretch(), outcomes)
    return samples, outcomes


def values(samples: Samples, pod: str = "web-0") -> list[float]:
    names = [each.pod.metadata.name for each in samples.pods]
    return samples.values[samples.of == names.index(pod)].tolist() if pod in names else []


def dcgm(*used: float, pod: str = "web-0", uuid: str = "GPU-0", begin: float = NOW, **labels: str) -> Series:
    found = series(*used, pod=pod, begin=begin)
    return Series({**found.labels, "UUID": uuid, **labels}, found.times, found.values)


def test_the_fullest_gpu_of_a_pod_counts_at_each_time() -> None:
    samples, outcomes = gather(series(1.0, 5.0), series(3.0, 2.0, uuid="GPU-1"))
    assert values(samples) == [3.0, 5.0]
    assert samples.times.tolist() == [NOW, NOW + 60]
    assert outcomes == {Outcome.ACCEPTED: 4}


def test_samples_of_a_pod_stand_together_in_the_order_of_time() -> None:
    pods = Pods(tracked("web-0"), tracked("web-1"))
    samples, _ = gather(
        series(1.0, begin=NOW + 120), series(9.0, pod="web-1"), series(2.0, 3.0, uuid="GPU-1"), pods=pods
    )
    assert [samples.pods[index].pod.metadata.name for index in samples.of] == ["web-0"] * 3 + ["web-1"]
    assert values(samples) == [2.0, 3.0, 1.0]
    assert values(samples, "web-1") == [9.0]


def test_nothing_gives_no_samples() -> None:
    samples, outcomes = gather()
    assert (samples.pods, samples.of.size, samples.times.size, samples.values.size) == ((), 0, 0, 0)
    assert not outcomes


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        (math.nan, Outcome.NOT_FINITE),
        (math.inf, Outcome.NOT_FINITE),
        (-math.inf, Outcome.NOT_FINITE),
        (-0.5, Outcome.NEGATIVE),
        (1e30, Outcome.IMPLAUSIBLE),
        (128.0, Outcome.IMPLAUSIBLE),
    ],
)
def test_what_cannot_be_true_is_dropped_and_counted(value: float, outcome: Outcome) -> None:
    samples, outcomes = gather(series(1.0, value))
    assert values(samples) == [1.0]
    assert outcomes == {Outcome.ACCEPTED: 1, outcome: 1}


def test_five_percent_over_the_card_of_the_pods_node_is_believed() -> None:
    samples, outcomes = gather(series(121.0 * 1.049, 121.0 * 1.051))
    assert len(values(samples)) == 1
    assert outcomes[Outcome.IMPLAUSIBLE] == 1


def test_more_memory_than_the_largest_card_has_is_not_believed_where_the_nodes_card_is_unknown() -> None:
    largest = cards(largest=Amounts(vram=24 * 2**30))
    samples, outcomes = gather(series(24e9, 27e9, 80e9), known=largest, resource=Resource.VRAM)
    assert values(samples) == [24e9, 27e9]
    assert outcomes[Outcome.IMPLAUSIBLE] == 1


def test_a_sample_from_the_future_is_not_believed() -> None:
    _, outcomes = gather(series(1.0, begin=NOW + 60 * (STEPS + 5)))
    assert outcomes == {Outcome.IN_FUTURE: 1}


@pytest.mark.parametrize("steps", [-1, -1000, STEPS])
def test_a_sample_that_was_not_asked_for_is_stale(steps: int) -> None:
    _, outcomes = gather(series(1.0, begin=NOW + 60 * steps))
    assert outcomes == {Outcome.STALE: 1}


def test_a_sample_within_a_step_is_off_the_grid() -> None:
    _, outcomes = gather(series(1.0, begin=NOW + 30))
    assert outcomes == {Outcome.OFF_GRID: 1}


def test_times_are_put_exactly_on_the_grid() -> None:
    samples, _ = gather(series(1.0, begin=NOW + 0.001))
    assert samples.times.tolist() == [NOW]


def test_zero_is_a_sample() -> None:
    assert values(gather(series(0.0))[0]) == [0.0]


def test_pods_that_nobody_knows_are_left_out() -> None:
    samples, outcomes = gather(series(1.0, 1.0, pod="stranger"))
    assert not samples.pods
    assert outcomes == {Outcome.UNKNOWN_POD: 2}


def test_a_series_without_a_pod_is_left_out() -> None:
    assert gather(Series({"job": "x"}, [NOW], [1.0]))[1] == {Outcome.NO_POD: 1}


def test_samples_from_before_the_pod_belong_to_another_of_its_name() -> None:
    samples, outcomes = gather(series(1.0, 2.0), pods=Pods(tracked(created=NOW + 1)))
    assert values(samples) == [2.0]
    assert outcomes == {Outcome.ACCEPTED: 1, Outcome.BEFORE_CREATION: 1}


def reborn(
    *pods: TrackedPod, asked: Stretch | None = None, preset: Preset = TENSORFUSION, **of: Any
) -> Gathered:
    """What becomes of two series of a name that pods had one after the other, the latest last."""
    gatherer = Gatherer(
        preset=preset,
        find=lambda *_: pods[-1],
        cards=of.get("known", ON_L4),
        former=lambda pod: tuple(reversed(pods[:-1])) if pod is pods[-1] else (),
    )
    outcomes: Counter[Outcome] = Counter()
    found = [series(*of["used"], uuid=uuid) for uuid in ("GPU-0", "GPU-1")]
    samples = gatherer.gather(Resource.TFLOPS, found, asked or stretch(), outcomes)
    taken: dict[str, dict[float, float]] = {}
    for index, time, value in zip(samples.of, samples.times.tolist(), samples.values.tolist(), strict=True):
        taken.setdefault(samples.pods[index].uid, {})[(time - NOW) / 60] = value
    return taken, {outcome: count // 2 for outcome, count in outcomes.items()}


def called(uid: str, *, created: float = 0.0, ended: float = math.inf, **pod: Any) -> TrackedPod:
    """A pod named web-0, by when it was made and when it ended, in minutes after the first sample."""
    found = tracked(created=NOW + 60 * created, **pod)
    metadata = msgspec.structs.replace(found.pod.metadata, uid=uid)
    made = replace(found, pod=msgspec.structs.replace(found.pod, metadata=metadata))
    return GonePod(made.pod, made.workload, made.root, made.created, made.reused, end=NOW + 60 * ended)


def test_a_sample_is_of_the_pod_that_had_the_name_then() -> None:
    taken, outcomes = reborn(
        called("a", created=-60, ended=1.5), called("b", created=3), used=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    )
    assert taken == {"a": {0: 1.0, 1: 2.0, 2: 3.0}, "b": {4: 5.0, 5: 6.0}}
    assert outcomes == {Outcome.ACCEPTED: 5, Outcome.FINISHED_POD: 1}


def test_a_step_in_which_a_name_was_handed_on_is_nobodys() -> None:
    taken, outcomes = reborn(
        called("a", created=-60, ended=1.6), called("b", created=1.7), used=[1.0, 2.0, 3.0, 4.0]
    )
    assert taken == {"a": {0: 1.0, 1: 2.0}, "b": {3: 4.0}}
    assert outcomes == {Outcome.ACCEPTED: 3, Outcome.BEFORE_CREATION: 1}


def test_a_pod_that_was_seen_to_go_too_late_has_nothing_of_its_successor() -> None:
    taken, _ = reborn(called("a", created=-60, ended=9), called("b", created=1), used=[1.0, 2.0, 3.0])
    assert taken == {"a": {0: 1.0, 1: 2.0}, "b": {2: 3.0}}


def test_a_name_that_many_had_is_told_apart_by_time() -> None:
    pods = [called(uid, created=at, ended=at + 2) for uid, at in (("a", -1), ("b", 1), ("c", 3), ("d", 5))]
    taken, outcomes = reborn(*pods, used=[float(minute) for minute in range(1, 9)])
    assert taken == {
        "a": {0: 1.0, 1: 2.0},
        "b": {2: 3.0, 3: 4.0},
        "c": {4: 5.0, 5: 6.0},
        "d": {6: 7.0, 7: 8.0},
    }
    assert outcomes == {Outcome.ACCEPTED: 8}


def test_what_a_former_pod_can_have_used_is_reckoned_by_its_own_node() -> None:
    pods = [called("a", created=-60, ended=1, node="node-2"), called("b", created=1)]
    known = cards({"node-1": L4, "node-2": Card("NVIDIA-L4", 50_000, 24 * 2**30)})
    used = [0.5, 0.5, 0.5]
    taken, _ = reborn(*pods, used=used, preset=HAMI, known=cards({"node-1": L4}))
    assert taken == {"b": {2: 60.5}}
    taken, outcomes = reborn(*pods, used=[60.0, 60.0, 60.0], known=known)
    assert (taken, outcomes) == ({"b": {2: 60.0}}, {Outcome.ACCEPTED: 1, Outcome.IMPLAUSIBLE: 2})


def test_of_a_former_pod_of_another_workload_nothing_counts_where_only_one_workload_is_wanted() -> None:
    pods = [called("a", created=-60, ended=1, workload="other"), called("b", created=1)]
    wanted = {WorkloadKey("default", "web"): (NOW - 60, NOW + 120)}
    taken, outcomes = reborn(*pods, used=[1.0, 2.0, 3.0], asked=stretch(wanted=wanted))
    assert (taken, outcomes) == ({"b": {2: 3.0}}, {Outcome.ACCEPTED: 1})


def test_samples_after_a_pods_end_are_left_out_but_for_the_step_that_it_lies_in() -> None:
    ended = tracked(phase="Succeeded", finished_at="1970-03-11T10:41:30Z")  # NOW + 90
    samples, outcomes = gather(series(1.0, 2.0, 3.0, 4.0), pods=Pods(ended))
    assert values(samples) == [1.0, 2.0, 3.0]
    assert outcomes == {Outcome.ACCEPTED: 3, Outcome.FINISHED_POD: 1}


def test_samples_of_a_finished_pod_are_left_out_where_nobody_knows_its_end() -> None:
    assert gather(series(1.0), pods=Pods(tracked(phase="Failed")))[1] == {Outcome.FINISHED_POD: 1}


def test_a_gpu_that_two_series_tell_of_counts_once_with_the_larger() -> None:
    samples, outcomes = gather(series(1.0, 4.0), series(2.0, 3.0, exported_pod="web-0"))
    assert values(samples) == [2.0, 4.0]
    assert outcomes == {Outcome.ACCEPTED: 2, Outcome.DUPLICATE: 2}


def test_only_what_is_wanted_of_a_workload_counts() -> None:
    pods = Pods(tracked("web-0"), tracked("other-0", workload="other"))
    wanted = {WorkloadKey("default", "web"): (NOW, NOW + 120)}
    samples, outcomes = gather(
        series(1.0, 2.0, 3.0, 4.0), series(9.0, pod="other-0"), pods=pods, asked=stretch(wanted=wanted)
    )
    assert values(samples) == [2.0, 3.0]
    assert outcomes == {Outcome.ACCEPTED: 2}


def test_parts_of_a_card_count_by_the_peak_of_the_series_own_model() -> None:
    samples, _ = gather(dcgm(0.5, modelName="NVIDIA A100-SXM4-80GB"), preset=DCGM, known=cards())
    assert values(samples) == [156.0]


def test_parts_of_a_card_count_by_the_nodes_card_where_no_label_names_the_model() -> None:
    samples, _ = gather(series(0.5), preset=HAMI)
    assert values(samples) == [60.5]


@pytest.mark.parametrize("known", [cards(), cards({"node-1": Card("Unheard-Of", None, 2**34)})])
def test_parts_of_a_card_that_nobody_knows_are_dropped_and_counted(known: CardLookup) -> None:
    assert gather(series(0.5, 0.5), preset=HAMI, known=known)[1] == {Outcome.UNKNOWN_CARD: 2}


def test_a_model_that_nobody_knows_is_not_taken_for_the_nodes_card() -> None:
    assert gather(dcgm(0.5, modelName="NVIDIA X1"), preset=DCGM)[1] == {Outcome.UNKNOWN_CARD: 1}


@pytest.mark.parametrize(
    ("model", "profile", "expected"),
    [
        ("NVIDIA A100-SXM4-80GB", "1g.10gb", 312 / 7),
        ("NVIDIA A100-SXM4-80GB", "3g.40gb", 3 * 312 / 7),
        ("NVIDIA A30", "2g.12gb", 165 / 2),
    ],
)
def test_a_mig_instance_counts_by_its_share_of_the_card(model: str, profile: str, expected: float) -> None:
    found = dcgm(1.0, modelName=model, GPU_I_PROFILE=profile, GPU_I_ID="7")
    samples, _ = gather(found, preset=DCGM, known=cards())
    assert values(samples) == [pytest.approx(expected)]


def test_an_instance_cannot_do_more_than_its_share() -> None:
    found = dcgm(1.04, 1.06, modelName="NVIDIA A100-SXM4-80GB", GPU_I_PROFILE="1g.10gb", GPU_I_ID="7")
    assert gather(found, preset=DCGM, known=cards())[1] == {Outcome.ACCEPTED: 1, Outcome.IMPLAUSIBLE: 1}


def test_a_profile_that_nobody_can_read_is_an_unknown_card() -> None:
    found = dcgm(0.5, modelName="NVIDIA A100-SXM4-80GB", GPU_I_PROFILE="half", GPU_I_ID="7")
    assert gather(found, preset=DCGM)[1] == {Outcome.UNKNOWN_CARD: 1}


def test_a_percent_that_was_taken_for_a_ratio_is_implausible() -> None:
    assert gather(series(2.0, 80.0), preset=HAMI)[1] == {Outcome.IMPLAUSIBLE: 2}


def test_memory_is_in_bytes_whatever_compute_is() -> None:
    samples, _ = gather(series(2e9), preset=HAMI, known=cards(), resource=Resource.VRAM)
    assert values(samples) == [2e9]


def test_a_card_that_several_pods_have_at_one_time_says_nothing_of_either() -> None:
    pods = Pods(tracked("web-0"), tracked("web-1"))
    both = [dcgm(0.5, 0.6, pod=name, modelName="NVIDIA L4") for name in ("web-0", "web-1")]
    alone = dcgm(0.1, pod="web-0", uuid="GPU-1", modelName="NVIDIA L4")
    samples, outcomes = gather(*both, alone, preset=DCGM, pods=pods)
    assert outcomes == {Outcome.SHARED: 4, Outcome.ACCEPTED: 1}
    assert values(samples) == [pytest.approx(12.1)]


def test_a_card_shared_with_a_pod_that_is_not_ours_is_shared() -> None:
    found = [dcgm(0.5, pod=name, modelName="NVIDIA L4") for name in ("web-0", "stranger")]
    assert gather(*found, preset=DCGM)[1] == {Outcome.SHARED: 1, Outcome.UNKNOWN_POD: 1}


def test_a_card_that_changes_hands_is_shared_only_in_the_step_of_the_change() -> None:
    pods = Pods(tracked("web-0"), tracked("web-1"))
    before = dcgm(0.5, 0.5, modelName="NVIDIA L4")
    after = dcgm(0.5, 0.5, begin=NOW + 60, pod="web-1", modelName="NVIDIA L4")
    samples, outcomes = gather(before, after, preset=DCGM, pods=pods)
    assert outcomes == {Outcome.ACCEPTED: 2, Outcome.SHARED: 2}
    assert samples.times.tolist() == [NOW, NOW + 120]


def test_two_instances_of_one_card_are_not_shared() -> None:
    pods = Pods(tracked("web-0"), tracked("web-1"))
    a100 = "NVIDIA A100-SXM4-80GB"
    found = [
        dcgm(0.5, pod=f"web-{index}", GPU_I_ID=str(index), GPU_I_PROFILE="1g.10gb", modelName=a100)
        for index in range(2)
    ]
    assert gather(*found, preset=DCGM, pods=pods, known=cards())[1] == {Outcome.ACCEPTED: 2}


@pytest.mark.parametrize("resource", list(Resource))
def test_on_a_node_that_shares_its_cards_even_a_lone_pods_series_is_not_believed(resource: Resource) -> None:
    shared = cards({"node-1": L4}, shared=frozenset({"node-1"}))
    found = dcgm(0.5, modelName="NVIDIA L4")
    assert gather(found, preset=DCGM, known=shared, resource=resource)[1] == {Outcome.SHARED: 1}


def test_an_exporter_that_tells_pods_apart_is_believed_on_a_node_that_shares_its_cards() -> None:
    shared = cards({"node-1": L4}, shared=frozenset({"node-1"}))
    assert gather(series(0.5), preset=HAMI, known=shared)[1] == {Outcome.ACCEPTED: 1}


USES = (("main", 0.25), ("side", 0.5))


def test_two_containers_of_a_pod_have_slices_of_their_own() -> None:
    found = [
        Series(
            {"namespace": "default", "pod": "web-0", "device_uuid": "GPU-0", "container": name}, [NOW], [use]
        )
        for name, use in (("main", 0.25), ("side", 0.5))
    ]
    samples, outcomes = gather(*found, preset=HAMI)
    assert values(samples) == [60.5]
    assert outcomes == {Outcome.ACCEPTED: 2}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["web-0", "web-1", "gone"]),
            st.sampled_from(["GPU-0", "GPU-1", "GPU-2"]),
            st.lists(st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 120), max_size=STEPS),
        ),
        max_size=8,
    )
)
def test_every_sample_has_one_outcome_and_those_taken_are_the_largest_of_each_pod_and_time(
    drawn: Sequence[tuple[str, str, list[float]]],
) -> None:
    found = [series(*used, pod=pod, uuid=uuid) for pod, uuid, used in drawn]
    samples, outcomes = gather(*found, pods=Pods(tracked("web-0"), tracked("web-1")))
    expected: dict[tuple[str, float], float] = {}
    for one in found:
        for time, value in zip(one.times, one.values, strict=True):
            if one.labels["pod"] != "gone" and 0 <= value <= 121 * 1.05:
                place = one.labels["pod"], time
                expected[place] = max(value, expected.get(place, value))
    taken = zip(samples.of.tolist(), samples.times.tolist(), samples.values.tolist(), strict=True)
    names = [pod.pod.metadata.name for pod in samples.pods]
    assert {(names[of], time): value for of, time, value in taken} == expected
    assert len(samples.values) == len(expected)
    assert outcomes.total() == sum(len(one.values) for one in found)
    assert np.all(np.isfinite(samples.values))


def test_a_pod_of_which_a_newer_version_comes_in_between_is_still_one_pod() -> None:
    versions = iter((tracked(), tracked(annotations={"new": "yes"})))
    gatherer = Gatherer(preset=TENSORFUSION, find=lambda *_: next(versions), cards=ON_L4)
    found = [series(1.0), series(2.0, uuid="GPU-1")]
    samples = gatherer.gather(Resource.TFLOPS, found, stretch(), Counter())
    assert len(samples.pods) == 1
    assert values(samples) == [2.0]


def test_zeros_of_a_pod_that_never_showed_more_are_not_believed_of_an_exporter_that_may_not_measure() -> None:
    assert gather(series(0.0, 0.0), preset=HAMI)[1] == {Outcome.UNMEASURED: 2}
    memory, outcomes = gather(series(0.0), preset=HAMI, resource=Resource.VRAM)
    assert values(memory) == [0.0]
    assert outcomes == {Outcome.ACCEPTED: 1}


def test_zeros_of_a_pod_that_has_shown_more_are_samples_from_then_on_and_those_of_others_are_not() -> None:
    pods = Pods(tracked("web-0"), tracked("web-1"))
    gatherer = Gatherer(preset=HAMI, find=pods.find, cards=ON_L4)
    first: Counter[Outcome] = Counter()
    later: Counter[Outcome] = Counter()
    both = [series(0.0, 0.5), series(0.0, pod="web-1")]
    assert values(gatherer.gather(Resource.TFLOPS, both, stretch(), first)) == [0.0, 60.5]
    idle = [series(0.0), series(0.0, pod="web-1")]
    assert values(gatherer.gather(Resource.TFLOPS, idle, stretch(), later)) == [0.0]
    assert first == {Outcome.ACCEPTED: 2, Outcome.UNMEASURED: 1}
    assert later == {Outcome.ACCEPTED: 1, Outcome.UNMEASURED: 1}


def test_a_value_that_cannot_be_true_does_not_make_zeros_true() -> None:
    _, outcomes = gather(series(0.0, 7.0, math.nan), preset=HAMI)
    assert outcomes == {Outcome.UNMEASURED: 1, Outcome.IMPLAUSIBLE: 1, Outcome.NOT_FINITE: 1}


def test_a_model_that_nobody_knows_is_told_once_however_many_answers_have_it() -> None:
    gatherer = Gatherer(preset=DCGM, find=Pods(tracked()).find, cards=ON_L4)
    with capture_logs() as logs:
        for _ in range(3):
            found = [dcgm(0.5, modelName="NVIDIA X1")]
            gatherer.gather(Resource.TFLOPS, found, stretch(), Counter())
    assert [entry["product"] for entry in logs] == ["NVIDIA X1"]


@pytest.mark.parametrize(("reused", "expected"), [(True, [2.0]), (False, [1.0, 2.0])])
def test_the_step_in_which_a_pod_took_anothers_name_over_is_left_out(
    expected: list[float], *, reused: bool
) -> None:
    pod = replace(tracked(created=NOW - 1), reused=reused)
    assert values(gather(series(1.0, 2.0), pods=Pods(pod))[0]) == expected


def test_a_pod_that_takes_a_name_over_at_the_end_of_a_step_keeps_its_first() -> None:
    pod = replace(tracked(created=NOW), reused=True)
    assert values(gather(series(1.0, 2.0), pods=Pods(pod))[0]) == [2.0]
