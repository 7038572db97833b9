from collections.abc import Mapping
from typing import Any

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from recommender.bank.buckets import FloatArray
from recommender.figures.table import WorkloadFigures
from recommender.histories.estimation import Estimation
from recommender.keys import WorkloadKey
from vgpu.slices import Amounts, Resource, VgpuSlice

WEB = WorkloadKey("default", "web")
CHAT = WorkloadKey("team", "chat")
OWN = VgpuSlice(Amounts(10_000, 2**34), Amounts(40_000, 2**34))
RECOMMENDED = VgpuSlice(Amounts(34_811, 2**32), Amounts(139_244, 2**32))

TFLOPS, VRAM = Resource.TFLOPS, Resource.VRAM


AMOUNTS = {TFLOPS: (3510, 3504, 6318), VRAM: (2**31, 2**30, 2**32)}


def estimated(*keys: WorkloadKey, amounts: Mapping[Resource, tuple[int, int, int]] = AMOUNTS) -> Estimation:
    """What usage says, the same of every workload: target, lower and upper bound of each resource."""
    count = len(keys)

    def column(index: int) -> Mapping[Resource, FloatArray]:
        return {each: np.full(count, float(amounts.get(each, (0, 0, 0))[index])) for each in Resource}

    return Estimation(
        keys=keys,
        positions={key: index for index, key in enumerate(keys)},
        target=column(0),
        lower=column(1),
        upper=column(2),
        empty={each: np.full(count, each not in amounts) for each in Resource},
        confidence=np.full(count, 1.25),
        samples=np.full(count, 1800, np.int64),
        first=np.zeros(count),
        shares=np.full((count, 4), np.nan),
        preallocated=np.zeros(count, np.bool_),
        touched=np.zeros(count),
    )


def show(figures: WorkloadFigures, key: WorkloadKey = WEB, **given: Any) -> None:
    figures.show(key, **{"own": OWN, "recommendation": RECOMMENDED, "rule": None, "applied": 2, **given})


def scraped(figures: WorkloadFigures) -> dict[str, dict[tuple[str, ...], float]]:
    """Each series by its metric's name and the values of its labels."""
    text = b"".join(figures.exposition()).decode()
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names)), "a family is told of twice"
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series = found.setdefault(sample.name, {})
            labels = tuple(sample.labels.values())
            assert labels not in series, f"{sample.name}{labels} is there twice"
            series[labels] = sample.value
    return found


def of_web(figures: WorkloadFigures) -> dict[str, float]:
    """What is told of the workload `web`, without the part of the name that all have."""
    return {
        name.removeprefix("vgpu_workload_"): series[WEB]
        for name, series in scraped(figures).items()
        if WEB in series
    }


def test_a_report_shows_request_limit_and_recommendation_in_tflops_and_bytes() -> None:
    figures = WorkloadFigures()
    show(figures)
    assert of_web(figures) == {
        "request_tflops": 10,
        "request_vram_bytes": 2**34,
        "limit_tflops": 40,
        "limit_vram_bytes": 2**34,
        "recommended_request_tflops": 34.811,
        "recommended_request_vram_bytes": 2**32,
        "recommended_limit_tflops": 139.244,
        "recommended_limit_vram_bytes": 2**32,
        "applied_replicas": 2,
    }


def test_estimates_of_a_pass_are_shown_with_what_they_rest_on() -> None:
    figures = WorkloadFigures()
    show(figures, own=VgpuSlice(), recommendation=None)
    figures.estimated(estimated(WEB))
    assert of_web(figures) == {
        "applied_replicas": 2,
        "target_tflops": 3.51,
        "lower_bound_tflops": 3.504,
        "upper_bound_tflops": 6.318,
        "target_vram_bytes": 2**31,
        "lower_bound_vram_bytes": 2**30,
        "upper_bound_vram_bytes": 2**32,
        "confidence_ratio": 1.25,
        "samples_total": 1800,
    }


def test_of_a_resource_without_samples_no_estimate_is_shown() -> None:
    figures = WorkloadFigures()
    show(figures)
    figures.estimated(estimated(WEB))
    figures.estimated(estimated(WEB, amounts={VRAM: (2, 1, 3)}))
    assert "target_tflops" not in of_web(figures)
    assert of_web(figures)["target_vram_bytes"] == 2


def test_an_amount_that_is_not_given_is_not_zero() -> None:
    figures = WorkloadFigures()
    show(figures, own=VgpuSlice(Amounts(tflops=0)), recommendation=None)
    assert of_web(figures) == {"request_tflops": 0, "applied_replicas": 2}


def test_an_active_rule_is_told_by_its_name_whatever_that_is() -> None:
    figures = WorkloadFigures()
    show(figures, rule='on "Thu"\\\n夜')
    assert scraped(figures)["vgpu_workload_active_rule_info"] == {(*WEB, 'on "Thu"\\\n夜'): 1}
    show(figures, rule=None)
    assert "vgpu_workload_active_rule_info" not in scraped(figures)


def test_a_later_report_takes_the_place_of_the_earlier_one() -> None:
    figures = WorkloadFigures()
    show(figures)
    show(figures, recommendation=None, applied=0)
    assert of_web(figures)["applied_replicas"] == 0
    assert "recommended_request_tflops" not in of_web(figures)


def test_estimates_are_not_shown_before_the_workload_is_reported() -> None:
    figures = WorkloadFigures()
    figures.estimated(estimated(WEB, CHAT))
    assert of_web(figures) == {}
    show(figures)
    assert of_web(figures)["target_tflops"] == 3.51
    assert len(figures) == 1


def test_estimates_of_workloads_that_are_never_reported_do_not_pile_up() -> None:
    figures = WorkloadFigures()
    for index in range(300):
        figures.estimated(estimated(WorkloadKey("gone", f"w{index}")))
    show(figures)
    assert len(figures._label_sets) == 2


def test_an_estimation_of_no_workloads_changes_nothing() -> None:
    figures = WorkloadFigures()
    show(figures)
    figures.estimated(estimated())
    assert of_web(figures)["request_tflops"] == 10


def test_estimates_of_some_workloads_leave_the_others_as_they_are() -> None:
    figures = WorkloadFigures()
    for key in (WEB, CHAT):
        show(figures, key)
    figures.estimated(estimated(WEB, CHAT))
    figures.estimated(estimated(CHAT, amounts={TFLOPS: (7000, 1, 9000)}))
    assert scraped(figures)["vgpu_workload_target_tflops"] == {WEB: 3.51, CHAT: 7.0}


def test_estimates_whose_history_is_gone_are_shown_no_longer() -> None:
    figures = WorkloadFigures()
    show(figures)
    figures.estimated(estimated(WEB, CHAT))
    figures.forget_estimates([WEB, CHAT, WorkloadKey("a", "stranger")])
    assert of_web(figures).keys().isdisjoint({"target_tflops", "confidence_ratio", "samples_total"})
    assert of_web(figures)["request_tflops"] == 10


def test_a_workload_that_is_no_more_leaves_nothing_to_the_next_in_its_place() -> None:
    figures = WorkloadFigures()
    show(figures, rule="night", waiting=True)
    figures.estimated(estimated(WEB))
    figures.forget(WEB)
    figures.forget(WEB)
    assert of_web(figures) == {}
    show(figures, CHAT, own=VgpuSlice(), recommendation=None, applied=1)
    told = scraped(figures)
    assert {name for name in told if name.startswith("vgpu_workload_")} == {"vgpu_workload_applied_replicas"}
    assert told["vgpu_workload_applied_replicas"] == {CHAT: 1}
    assert told["vgpu_workloads_waiting"] == {(): 0}


def test_places_are_found_for_more_workloads_than_there_were_at_first() -> None:
    figures = WorkloadFigures()
    keys = [WorkloadKey("many", f"w{index}") for index in range(200)]
    for index, key in enumerate(keys):
        show(figures, key, applied=index)
    for key in keys[::2]:
        figures.forget(key)
    assert scraped(figures)["vgpu_workload_applied_replicas"] == {
        key: index for index, key in enumerate(keys) if index % 2
    }


def test_a_replica_that_leads_no_longer_shows_no_workload() -> None:
    figures = WorkloadFigures()
    show(figures, rule="night")
    figures.clear()
    assert len(figures) == 0
    assert not [name for name in scraped(figures) if name.startswith("vgpu_workload_")]


def test_a_scrape_shows_one_moment_whatever_changes_while_it_is_sent() -> None:
    figures = WorkloadFigures()
    show(figures, rule="night")
    figures.estimated(estimated(WEB))
    chunks = figures.exposition()
    before = [next(chunks)]
    show(figures, own=VgpuSlice(), recommendation=None, rule=None)
    show(figures, CHAT)
    figures.forget(WEB)
    names = {family.name for family in text_string_to_metric_families(b"".join([*before, *chunks]).decode())}
    assert {"vgpu_workload_request_tflops", "vgpu_workload_active_rule_info"} <= names


def test_numbers_over_all_workloads_can_be_had_alone() -> None:
    figures = WorkloadFigures(each=False)
    show(figures, rule="night")
    figures.estimated(estimated(WEB))
    told = scraped(figures)
    assert not [name for name in told if name.startswith("vgpu_workload_")]
    assert told["vgpu_workloads_known"] == {(): 1}


def test_workloads_are_counted_by_what_is_up_with_them() -> None:
    figures = WorkloadFigures()
    show(figures, rule="night")
    show(figures, CHAT, recommendation=None, waiting=True)
    show(figures, WorkloadKey("team", "idle"), recommendation=VgpuSlice(Amounts(vram=1), Amounts(vram=1)))
    told = scraped(figures)
    assert told["vgpu_workloads_known"] == {(): 3}
    assert told["vgpu_workloads_recommended"] == {(): 2}
    assert told["vgpu_workloads_waiting"] == {(): 1}
    assert told["vgpu_workloads_active_rule"] == {(): 1}


def test_sums_take_the_recommendation_where_there_is_one_and_else_the_own_request() -> None:
    figures = WorkloadFigures()
    show(figures)
    show(figures, CHAT, recommendation=None)
    told = scraped(figures)
    assert told["vgpu_workloads_request_tflops"] == {(): 20}
    assert told["vgpu_workloads_recommended_request_tflops"] == {(): 44.811}
    assert told["vgpu_workloads_recommended_request_vram_bytes"] == {(): 2**32 + 2**34}


def test_sums_of_the_largest_amounts_do_not_overflow() -> None:
    figures = WorkloadFigures()
    huge = VgpuSlice(Amounts(2**63 - 1, 2**64), Amounts(2**63 - 1, 2**64))
    for key in (WEB, CHAT):
        show(figures, key, own=huge, recommendation=None)
    assert scraped(figures)["vgpu_workloads_request_vram_bytes"] == {(): 2.0**64}


def test_workloads_outside_of_their_bounds_are_counted_by_side() -> None:
    figures = WorkloadFigures()
    show(figures, recommendation=None)
    show(figures, CHAT, recommendation=RECOMMENDED.with_resource(TFLOPS, request=3504, limit=4000))
    show(figures, WorkloadKey("team", "new"))
    figures.estimated(estimated(WEB, CHAT, amounts={TFLOPS: (3510, 3504, 6318), VRAM: (2**34, 2**33, 2**35)}))
    assert scraped(figures)["vgpu_workloads_outside_bounds"] == {
        ("tflops", "below"): 0,
        ("tflops", "above"): 1,
        ("vram", "below"): 1,
        ("vram", "above"): 0,
    }


def test_every_family_that_is_shown_is_among_those_that_there_can_be() -> None:
    figures = WorkloadFigures()
    show(figures, rule="night")
    figures.estimated(estimated(WEB))
    told = scraped(figures)
    assert set(told) == {family.name for family in WorkloadFigures.families()}
    labels = {family.name: len(family.labels) for family in WorkloadFigures.families()}
    assert {name: {len(each) for each in series} for name, series in told.items()} == {
        name: {count} for name, count in labels.items()
    }
