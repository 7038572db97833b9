from typing import Any

import pytest

from recommender.configurations import Configurations
from recommender.estimators import Estimate
from recommender.histories import Histories
from recommender.standing import Published
from recommender.verdicts import Judge, Verdict, read_published
from tests.support import builders
from vgpu.slices import Amounts, Resource, VgpuSlice

NOW = 1_767_225_600.0
SLICE = VgpuSlice(Amounts(tflops=13_000), Amounts(tflops=26_000))
RULE = builders.cron_rule("night", start="0 22 * * *", end="0 6 * * *")


def judged(estimates: dict[Resource, Estimate], *, status: dict[str, Any] | None = None) -> Verdict:
    histories = Histories(half_life=86_400, peak_window=86_400, now=NOW)
    judge = Judge(histories=histories, configurations=Configurations(), cap=lambda *_: Amounts())
    live = builders.workload_struct(status=status or {})
    return judge.decide(live, judge.configure(live, NOW), estimates, NOW)


def test_an_empty_status_says_that_nothing_was_decided() -> None:
    assert read_published({}) == Published()


def test_a_status_tells_what_was_decided_and_what_it_rests_on() -> None:
    status = {
        "recommendation": SLICE.to_json(),
        "activeCronScalingRule": RULE,
        "estimation": {"vram": {"target": "1Gi"}},
    }
    assert read_published(status) == Published(
        recommendation=SLICE,
        measured=frozenset({Resource.VRAM}),
        rule="night",
        desired=VgpuSlice.from_json(RULE["desiredResources"]),
    )


def test_a_recommendation_that_cannot_be_read_is_none() -> None:
    assert read_published({"recommendation": {"requests": {"tflops": "many"}}}).recommendation is None
    assert read_published({"recommendation": {}}).recommendation is None


def test_of_a_rule_that_cannot_be_read_all_that_is_recommended_is_its_word() -> None:
    published = read_published({"recommendation": SLICE.to_json(), "activeCronScalingRule": "night"})
    assert (published.rule, published.desired) == ("night", SLICE)
    assert published.is_of_rule(Resource.TFLOPS)


@pytest.mark.parametrize("before", [None, SLICE])
def test_an_estimate_of_too_few_samples_is_not_told(before: VgpuSlice | None) -> None:
    status = {"recommendation": before.to_json(), "estimation": {"tflops": {}}} if before else {}
    verdict = judged({Resource.TFLOPS: Estimate(1, 1, 1, 0.1)}, status=status)
    assert verdict.estimates == {}
    assert verdict.decision is not None
    assert verdict.decision.reason == "InsufficientSamples"
