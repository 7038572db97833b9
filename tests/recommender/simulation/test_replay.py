from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from recommender.cluster.pods import TrackedPod
from recommender.decisions.recommendation import decide, waiting_for
from recommender.decisions.standing import Published
from recommender.histories.estimation import Evidence
from recommender.histories.histories import Histories
from recommender.keys import WorkloadKey
from recommender.simulation.errors import TooLong
from recommender.simulation.replay import Pace, Replay, Step
from recommender.simulation.trial import CardGiven
from recommender.usage.reading import Usage
from recommender.usage.samples import Samples
from tests.support.builders import pod_struct
from tests.support.simulating import (
    BEGIN,
    DAY,
    GIB,
    MINUTE,
    PACE,
    Row,
    config_of,
    constant,
    measured,
    own_slice,
    replayed,
    trial_of,
)
from vgpu.api import AutoSetResources
from vgpu.naming import Owner
from vgpu.slices import Amounts, Resource, VgpuSlice

TFLOPS, VRAM = Resource.TFLOPS, Resource.VRAM

RULE: dict[str, Any] = {
    "enable": True,
    "name": "late",
    "start": "10 9 * * *",
    "end": "20 9 * * *",
    "desiredResources": {"requests": {"tflops": "44"}, "limits": {"tflops": "99"}},
}


def ruled(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"autoScalingConfig": {"cronScalingRules": list(rules)}}


def requests(steps: Sequence[Step]) -> list[int | None]:
    """The recommended TFLOPS requests, in milli-TFLOPS."""
    return [step.recommendation.requests.tflops if step.recommendation else None for step in steps]


def test_a_constant_use_of_thirty_hours_is_estimated_as_specified() -> None:
    *_, last = replayed(constant(3.0, 4e9, minutes=30 * 60), pace=Pace(600, DAY, DAY))
    estimate = last.estimates[TFLOPS]
    assert (estimate.target, estimate.lower_bound, estimate.upper_bound) == (3510, 3504, 6318)
    assert estimate.confidence == pytest.approx(1.25)
    assert last.samples == {TFLOPS: 1801, VRAM: 1801}
    assert last.recommendation is not None
    assert (last.recommendation.requests.tflops, last.recommendation.limits.tflops) == (3510, 7020)


def test_steps_are_whole_multiples_of_the_interval() -> None:
    rows: list[Row] = [(BEGIN + 10, "a", 1, 1), (BEGIN + 200, "a", 1, 1)]
    assert [step.time - BEGIN for step in replayed(rows)] == [60, 120, 180, 240]


def test_a_step_has_the_samples_up_to_its_time_and_that_time_too() -> None:
    rows: list[Row] = [(BEGIN + second, "a", 1, "") for second in (0, 1, 60, 61)]
    assert [step.samples[TFLOPS] for step in replayed(rows)] == [1, 3, 4]


def test_samples_of_all_pods_of_the_workload_count() -> None:
    rows = [*constant(1, 1e9, minutes=5, pod="a"), *constant(9, 9e9, minutes=5, pod="b")]
    *_, last = replayed(rows)
    assert last.samples == {TFLOPS: 12, VRAM: 12}
    assert last.estimates[TFLOPS].target > 9000


def test_vram_counts_by_the_peak_of_a_pod() -> None:
    rows = [*constant(1, 1e9, minutes=50), (BEGIN + 51 * MINUTE, "web-0", 1, 8e9)]
    *_, last = replayed(rows)
    assert last.estimates[VRAM].target > 8e9


def test_a_resource_without_samples_has_no_estimate() -> None:
    *_, last = replayed(constant(3, "", minutes=40))
    assert last.estimates.keys() == {TFLOPS}
    assert last.samples == {TFLOPS: 41, VRAM: 0}


def test_nothing_is_recommended_from_too_few_samples() -> None:
    steps = replayed(constant(3, 4e9, minutes=35), trial_of(config_of(minSamples=30)))
    too_early = [step.recommendation is None for step in steps]
    assert too_early == [True] * 29 + [False] * 7


def test_only_a_step_that_changes_something_has_a_message() -> None:
    steps = replayed(constant(30, "", minutes=40))
    told = [(index, step.messages) for index, step in enumerate(steps) if step.messages]
    [(index, messages)] = told
    assert index == 29
    assert messages[0].startswith("TFLOPS scaled up due to (10) below lower bound (")


def test_a_slice_that_fits_stays_and_is_what_is_recommended() -> None:
    steps = replayed(constant(8, "", minutes=40))
    assert steps[-1].recommendation == own_slice()
    assert all(step.messages == () for step in steps)


def test_what_was_recommended_is_what_the_next_step_starts_from() -> None:
    """Usage falls back: the bounds still hold the request that usage had raised, and so it stays."""
    rows = [*constant(30, "", minutes=60), *constant(29, "", minutes=60, begin=BEGIN + 61 * MINUTE)]
    found = requests(replayed(rows))
    assert len(set(found[30:])) == 1
    assert (found[-1] or 0) > 30_000


def test_targets_that_are_empty_are_recommended_all_the_same() -> None:
    *_, last = replayed(constant(30, "", minutes=40), trial_of(config_of(enable=False, targetResource="")))
    assert last.recommendation is not None
    assert (last.recommendation.requests.tflops or 0) > 30_000


def test_the_card_caps_what_is_recommended() -> None:
    rows = constant(60, "", minutes=40)
    *_, last = replayed(rows, trial_of(card=CardGiven(model="T4")))
    assert last.recommendation is not None
    assert last.recommendation.requests.tflops == last.recommendation.limits.tflops == 65_000


def test_a_rule_is_active_from_its_start_until_its_end() -> None:
    steps = replayed(constant(8, "", minutes=40), trial_of(ruled(RULE)))
    active = [(step.time - BEGIN) / MINUTE for step in steps if step.rule == "late"]
    assert active == list(range(10, 20))
    assert {request for step, request in zip(steps, requests(steps), strict=True) if step.rule} == {44_000}
    assert [step.messages for step in steps if step.messages] == [
        ('Cron scaling rule "late" is active',),
        ('Cron scaling rule "late" is inactive',),
    ]


def test_a_rule_begins_and_ends_between_two_steps_in_steps_of_its_own() -> None:
    steps = replayed(constant(8, "", minutes=180), trial_of(ruled(RULE)), pace=Pace(3600, DAY, DAY))
    assert [(step.time - BEGIN) / MINUTE for step in steps] == [0, 10, 20, 60, 120, 180]
    assert [step.rule for step in steps] == [None, "late", None, None, None, None]


def test_after_a_rule_nothing_dips_below_the_target() -> None:
    trial = trial_of(ruled({**RULE, "start": "40 9 * * *", "end": "50 9 * * *"}))
    steps = replayed(constant(30, "", minutes=60), trial)
    after = next(step for step in steps if step.messages == ('Cron scaling rule "late" is inactive',))
    assert after.recommendation is not None
    assert after.recommendation.requests.tflops == after.estimates[TFLOPS].target


def test_rules_that_are_active_at_once_are_told_and_stop_nothing() -> None:
    other = {**RULE, "name": "other", "end": "30 9 * * *"}
    replay = Replay(
        trial=trial_of(ruled(RULE, other)), measurements=measured(constant(8, "", minutes=40)), pace=PACE
    )
    steps = list(replay)
    assert len(steps) == 41
    [problem] = replay.course.problems
    assert 'cron scaling rules "late" and "other" are active at once' in problem
    assert steps[-1].rule is None


def test_an_idle_workload_keeps_its_estimates_for_eight_days_and_then_begins_anew() -> None:
    rest = 9 * DAY
    rows = [*constant(30, 4e9, minutes=40), *constant(1, 4e9, minutes=1, begin=BEGIN + rest)]
    steps = replayed(rows, pace=Pace(3600, DAY, DAY))
    idle = [step for step in steps if 3600 < step.time - BEGIN <= 8 * DAY]
    assert {step.estimates[TFLOPS].target for step in idle} == {steps[1].estimates[TFLOPS].target}
    assert steps[-1].samples == {TFLOPS: 2, VRAM: 2}
    assert steps[-1].estimates[TFLOPS].target < 2000


def test_pods_that_come_and_go_are_remembered_while_they_last() -> None:
    """Each pod is there for two minutes; VRAM counts by one peak for each of them."""
    rows = [(BEGIN + MINUTE * minute, f"job-{minute // 2}", 1, 1e9) for minute in range(400)]
    trial = trial_of()
    replay = Replay(trial=trial, measurements=measured(rows), pace=PACE)
    *_, last = replay
    assert last.samples == {TFLOPS: 400, VRAM: 400}
    assert len(replay._witness._pods._made) == 0


def test_a_pod_whose_name_comes_again_goes_on_in_its_window() -> None:
    """Its two peaks in a day count as one, the higher: it has half of the say then, and not a third."""
    rows = [
        *constant(1, 1e9, minutes=200, pod="b"),
        (BEGIN, "a", 1, 1e9),
        (BEGIN + 300 * MINUTE, "a", 1, 9e9),
    ]
    *_, last = replayed(rows, trial_of(config_of(targetVramPercentile=0.55)))
    assert last.estimates[VRAM].target > 9e9


def test_a_span_of_too_many_steps_is_refused() -> None:
    rows: list[Row] = [(1.0, "a", 1, 1), (BEGIN, "a", 1, 1)]
    with pytest.raises(TooLong, match=r"from 1970-01-01T00:00:01Z to 2025-10-09T09:00:00Z there are 29,333,"):
        replayed(rows)


def test_a_short_interval_loses_no_sample_to_rounding() -> None:
    times = np.round(np.arange(50) * 0.1 + BEGIN, 1)
    *_, last = replayed([(time, "a", 1, "") for time in times.tolist()], pace=Pace(0.1, DAY, DAY))
    assert last.samples[TFLOPS] == 50


KEY = WorkloadKey("default", "simulation")


def as_live(
    rows: Sequence[Row], config: AutoSetResources, own: VgpuSlice
) -> tuple[Evidence, VgpuSlice | None]:
    """The same pass for pass through the engine's parts, from samples put together by hand."""
    histories = Histories(half_life=DAY, peak_window=DAY, now=BEGIN)
    histories.configure(KEY, config)
    published, evidence = Published(), Evidence({})
    for time in sorted({float(str(row[0])) for row in rows}):
        now = [row for row in rows if row[0] == time]
        pods = tuple(tracked(str(row[1])) for row in now)

        def samples(column: int, now: list[Row] = now, pods: tuple[TrackedPod, ...] = pods) -> Samples:
            values = np.array([float(str(row[column])) for row in now])
            return Samples(pods, np.arange(len(now)), np.full(len(now), now[0][0], dtype=float), values)

        histories.feed(Usage(samples(2), samples(3), begin=time - 60, until=time, outcomes=None))  # type: ignore[arg-type] # nobody counts here
        evidence = histories.estimate([KEY]).evidence(KEY)
        decision = decide(
            estimates=evidence.estimates,
            config=config,
            baseline=own,
            published=published,
            waiting=waiting_for(config, samples=evidence.samples, first_sample=evidence.first, now=time),
            rule=None,
            cap=Amounts(),
        )
        if decision.changed:
            published = Published(decision.recommendation, decision.measured)
    return evidence, published.recommendation


def tracked(name: str) -> TrackedPod:
    return TrackedPod(pod_struct(name), KEY, Owner("apps/v1", "Deployment", "simulation", "uid"), 0)


@pytest.mark.parametrize("seed", range(2))
def test_the_last_step_is_what_the_engine_says_of_the_same_samples(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows: list[Row] = [
        (BEGIN + 60 * minute, pod, round(float(random.gamma(2, 4)), 3), int(random.uniform(1e9, 2e10)))
        for minute in range(90)
        for pod in ("a", "b")
        if random.random() < 0.9
    ]
    config = AutoSetResources.model_validate({"targetTflopsPercentile": 0.8, "minAllowed": {"vram": "2Gi"}})
    evidence, recommended = as_live(rows, config, own_slice())
    spec = config_of(targetTflopsPercentile=0.8, minAllowed={"vram": "2Gi"})
    *_, last = replayed(rows, trial_of(spec))
    assert last.estimates == evidence.estimates
    assert last.samples[TFLOPS] == evidence.samples
    assert last.recommendation == recommended


def test_a_gigabyte_is_not_lost_between_units() -> None:
    *_, last = replayed(constant(1, 20 * GIB, minutes=40))
    assert last.estimates[VRAM].target > 20 * GIB
