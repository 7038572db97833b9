from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from recommender.cluster.pods import TrackedPod
from recommender.decisions.configurations import Configurations
from recommender.decisions.standing import Published
from recommender.decisions.verdicts import Judge, Verdict, read_published
from recommender.histories.estimation import Evidence
from recommender.histories.estimators import Estimate
from recommender.histories.preallocation import Shares
from recommender.keys import WorkloadKey
from tests.support import builders
from tests.support.using import GIB
from vgpu.annotations import VRAM_PREALLOCATED
from vgpu.naming import Owner
from vgpu.slices import Amounts, Resource, VgpuSlice

NOW = 1_767_225_600.0
SLICE = VgpuSlice(Amounts(tflops=13_000), Amounts(tflops=26_000))
SHARES = Shares(8.0 * GIB, 7.2 * GIB, 16.0 * GIB, 14.4 * GIB)
RULE = builders.cron_rule("night", start="0 22 * * *", end="0 6 * * *")


WEB = WorkloadKey("default", "web")


def judge(*, newest_pod: Callable[[WorkloadKey], TrackedPod | None] = lambda _: None) -> Judge:
    return Judge(configurations=Configurations(), cap=lambda *_: Amounts(), newest_pod=newest_pod)


def judged(
    evidence: Evidence, *, status: dict[str, Any] | None = None, pod: TrackedPod | None = None
) -> Verdict:
    subject = judge(newest_pod=lambda _: pod)
    live = builders.workload_struct(status=status or {})
    return subject.decide(live, subject.configure(live, NOW), evidence, NOW)


def vram(target: int, *, shares: Shares | None = None) -> Evidence:
    """Samples enough of a use that asks for so many GiB, for certain."""
    estimate = Estimate(target * GIB, target * GIB, target * GIB, 1.0)
    return Evidence({Resource.VRAM: estimate}, samples=100, first=NOW - 3600, shares=shares)


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
    evidence = Evidence({Resource.TFLOPS: Estimate(1, 1, 1, 0.1)}, samples=29, first=NOW - 3600)
    verdict = judged(evidence, status=status)
    assert verdict.estimates == {}
    assert verdict.waiting == "Fewer than 30 samples so far"
    assert verdict.decision is not None
    assert verdict.decision.reason == "InsufficientSamples"


def test_a_workload_is_judged_by_its_samples_and_its_configuration() -> None:
    subject = judge()
    live = builders.workload_struct(auto_scaling_config={"autoSetResources": {"minSamples": 3}})
    estimates = {Resource.TFLOPS: Estimate(50_000, 40_000, 60_000, 0.1)}
    for samples, expected in ((2, None), (3, Amounts(tflops=50_000, vram=8 * GIB))):
        evidence = Evidence(estimates, samples=samples, first=NOW - 180)
        recommendation = subject.decide(live, subject.configure(live, NOW), evidence, NOW).recommendation
        assert (recommendation.requests if recommendation else None) == expected


# VRAM that is taken in advance


def test_a_use_of_vram_is_followed() -> None:
    verdict = judged(vram(20))
    assert verdict.preallocation is None
    assert verdict.recommendation is not None
    assert verdict.recommendation.requests.vram == 20 * GIB


def test_vram_that_is_taken_in_advance_stays_as_the_template_has_it() -> None:
    evidence = replace(
        vram(20, shares=SHARES),
        estimates={**vram(20).estimates, Resource.TFLOPS: Estimate(50_000, 50_000, 50_000, 1)},
    )
    before = {"recommendation": builders.slice_json(vram_request="12Gi", vram_limit="24Gi")}
    verdict = judged(evidence, status={**before, "estimation": {"vram": {"target": "12Gi"}}})
    assert verdict.preallocation is not None
    assert verdict.preallocation.reason == "FixedShare"
    assert verdict.recommendation is not None
    assert (verdict.recommendation.requests, verdict.recommendation.limits) == (
        Amounts(tflops=50_000, vram=8 * GIB),
        Amounts(tflops=100_000, vram=16 * GIB),
    )
    assert verdict.estimates.keys() == {Resource.TFLOPS}


def test_the_newest_pod_s_annotation_counts_before_the_shares() -> None:
    pod = TrackedPod(
        builders.pod_struct(annotations={VRAM_PREALLOCATED: "false"}), WEB, Owner("v1", "Pod", "a", "u"), NOW
    )
    verdict = judged(vram(20, shares=SHARES), pod=pod)
    assert verdict.preallocation is not None
    assert verdict.preallocation.reason == "SwitchedOff"
    assert verdict.recommendation is not None
    assert verdict.recommendation.requests.vram == 20 * GIB


def test_a_cron_rule_still_sets_vram_that_is_taken_in_advance() -> None:
    rule = builders.cron_rule(
        start="0 0 * * *",
        end="0 23 * * *",
        desired=builders.slice_json(vram_request="12Gi", vram_limit="12Gi"),
    )
    live = builders.workload_struct(auto_scaling_config={"cronScalingRules": [rule]})
    subject = judge()
    verdict = subject.decide(live, subject.configure(live, NOW), vram(14, shares=SHARES), NOW)
    assert verdict.recommendation is not None
    assert verdict.recommendation.requests.vram == 12 * GIB


def test_the_condition_in_the_status_speaks_for_pods_that_are_gone() -> None:
    condition = {"type": "VramPreallocated", "status": "True", "reason": "Annotated", "message": ""}
    verdict = judged(vram(20), status={"conditions": [condition]})
    assert verdict.preallocation is not None
    assert verdict.preallocation.holds
