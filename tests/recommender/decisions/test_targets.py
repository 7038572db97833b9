import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.decisions.targets import Proposal, Reduction, capped, describe, pair, propose
from tests.support.deciding import AMOUNT, configurations, ordered, slices
from tests.support.examples import examples
from vgpu.api import AutoSetResources
from vgpu.quantities import INT64_MAX
from vgpu.slices import Amounts, Resource, VgpuSlice

GIB = 1 << 30
BASELINE = VgpuSlice(Amounts(tflops=4000, vram=4 * GIB), Amounts(tflops=40_000, vram=8 * GIB))


def config(**values: object) -> AutoSetResources:
    return AutoSetResources.model_validate(values)


def proposed(target: int, baseline: VgpuSlice = BASELINE, **values: object) -> Proposal:
    return propose(Resource.TFLOPS, target, config(**values), baseline)


def test_the_limit_keeps_the_ratio_of_the_baseline() -> None:
    assert proposed(8000) == Proposal(Resource.TFLOPS, request=8000, limit=80_000)


def test_a_limit_beyond_the_largest_number_is_cut_with_a_warning() -> None:
    baseline = VgpuSlice(Amounts(tflops=1), Amounts(tflops=10**13))
    proposal = proposed(10**13, baseline)
    assert (proposal.request, proposal.limit) == (10**13, INT64_MAX)
    assert proposal.warning == "the TFLOPS limit was cut to the largest possible number"


@pytest.mark.parametrize(("resource", "least"), [(Resource.TFLOPS, 1000), (Resource.VRAM, GIB)])
def test_no_target_goes_below_one_tflops_and_one_gibibyte_by_default(resource: Resource, least: int) -> None:
    assert propose(resource, 1, config(), BASELINE).request == least


def test_min_allowed_lifts_a_target() -> None:
    assert proposed(8000, minAllowed={"tflops": 9}).request == 9000


def test_max_allowed_cuts_a_target_and_says_so() -> None:
    proposal = proposed(8000, maxAllowed={"tflops": 5})
    assert (proposal.request, proposal.limit) == (5000, 50_000)
    assert proposal.reduction == Reduction(target=8000, allowed=5000)


def test_max_allowed_wins_over_the_default_of_min_allowed() -> None:
    assert proposed(8000, maxAllowed={"tflops": "500m"}).request == 500


@pytest.mark.parametrize(("target", "expected"), [(1000, 2000), (3000, 3000), (99_000, 6000)])
def test_ratios_of_the_baseline_bound_request_and_limit(target: int, expected: int) -> None:
    proposal = proposed(target, minComputeResourcesRatio=0.5, maxComputeResourcesRatio="1.5")
    assert (proposal.request, proposal.limit) == (expected, 10 * expected)


def test_the_ratios_of_vram_are_its_own() -> None:
    ratios = config(minComputeResourcesRatio=9, maxComputeResourcesRatio=9, maxVRAMResourcesRatio=0.5)
    assert propose(Resource.VRAM, 3 * GIB, ratios, BASELINE).request == 2 * GIB


def test_ratios_come_after_min_and_max_allowed() -> None:
    proposal = proposed(8000, maxAllowed={"tflops": 5}, minComputeResourcesRatio=3)
    assert (proposal.request, proposal.reduction) == (12_000, None)


def test_a_ratio_never_overflows() -> None:
    assert proposed(8000, minComputeResourcesRatio=1e300).request == INT64_MAX


@pytest.mark.parametrize(
    "baseline",
    [
        VgpuSlice(),
        VgpuSlice(Amounts(tflops=0), Amounts(tflops=1)),
        VgpuSlice(Amounts(tflops=1), Amounts(tflops=0)),
    ],
)
def test_a_baseline_without_a_ratio_is_refused(baseline: VgpuSlice) -> None:
    with pytest.raises(ValueError, match="no ratio of tflops"):
        proposed(8000, baseline)


def test_the_card_caps_request_and_limit_and_the_ratio_gives_way() -> None:
    wanted = VgpuSlice(Amounts(tflops=8000, vram=2 * GIB), Amounts(tflops=80_000, vram=9 * GIB))
    slice_, reductions = capped(wanted, Amounts(tflops=5000, vram=8 * GIB))
    assert slice_ == VgpuSlice(Amounts(tflops=5000, vram=2 * GIB), Amounts(tflops=5000, vram=8 * GIB))
    assert reductions == {Resource.TFLOPS: Reduction(8000, 5000)}


@pytest.mark.parametrize("cap", [Amounts(), Amounts(tflops=0, vram=0)])
def test_a_card_that_is_not_known_caps_nothing(cap: Amounts) -> None:
    assert capped(BASELINE, cap) == (BASELINE, {})


def test_a_cap_adds_nothing_to_a_slice_that_has_nothing() -> None:
    assert capped(VgpuSlice(), Amounts(tflops=5, vram=5)) == (VgpuSlice(), {})


def test_a_target_that_max_allowed_and_the_card_cut_is_told_once() -> None:
    proposal = proposed(8000, maxAllowed={"tflops": 5})
    wanted = VgpuSlice(Amounts(tflops=proposal.request), Amounts(tflops=proposal.limit))
    assert capped(wanted, Amounts(tflops=4500), [proposal])[1] == {Resource.TFLOPS: Reduction(8000, 4500)}


def test_a_reduction_is_described_as_documented() -> None:
    assert describe(Resource.TFLOPS, Reduction(13_500, 5000)) == (
        "TFLOPS reduced due to target (13500m) exceed max allowed (5)"
    )
    assert describe(Resource.VRAM, Reduction(2 * GIB, GIB)) == (
        "VRAM reduced due to target (2Gi) exceed max allowed (1Gi)"
    )


def test_the_ratio_of_a_share_is_rounded_not_truncated() -> None:
    # 0.1 * 30000 is a little more than 3000 in floats.
    baseline = VgpuSlice(Amounts(tflops=30_000), Amounts(tflops=30_000))
    assert math.trunc(0.1 * 30_000) == proposed(1, baseline, minComputeResourcesRatio=0.1).request


# Guarantees


@settings(max_examples=examples(150))
@given(st.sampled_from(Resource), st.integers(-1, 10**18), configurations(), ordered(), ordered())
def test_the_limits_that_a_user_set_apply_in_the_documented_order(
    resource: Resource, target: int, config: AutoSetResources, tflops: tuple[int, int], vram: tuple[int, int]
) -> None:
    """minAllowed, then maxAllowed, then the least and the most of the baseline's request; as plain steps."""
    own_request, own_limit = (max(amount, 1) for amount in (tflops if resource is Resource.TFLOPS else vram))
    baseline = VgpuSlice().with_resource(resource, request=own_request, limit=own_limit)
    name = "compute" if resource is Resource.TFLOPS else "vram"
    least, most = (getattr(config, f"{which}_{name}_resources_ratio") for which in ("min", "max"))
    expected = max(target, 0, config.min_allowed.get(resource) or 0)
    if (allowed := config.max_allowed.get(resource)) is not None:
        expected = min(expected, allowed)
    if least is not None:
        expected = max(expected, whole(own_request * Fraction(least)))
    if most is not None:
        expected = min(expected, whole(own_request * Fraction(most)))
    proposal = propose(resource, target, config, baseline)
    # A ratio is multiplied in floats.
    assert proposal.request == pytest.approx(expected, rel=1e-12, abs=1)
    assert proposal.limit == min(
        max(proposal.request, proposal.request * own_limit // own_request), INT64_MAX
    )


def whole(amount: Fraction) -> int:
    return min(round(amount), INT64_MAX)


@given(slices(), st.builds(Amounts, st.none() | AMOUNT, st.none() | AMOUNT))
def test_nothing_that_is_capped_is_more_than_the_card(wanted: VgpuSlice, card: Amounts) -> None:
    slice_, reductions = capped(wanted, card)
    for resource in Resource:
        most = card.get(resource) or INT64_MAX
        request, limit = pair(slice_, resource)
        assert (request or 0) <= most
        assert (limit or 0) <= most
        assert request is None or limit is None or request <= limit
        assert (resource in reductions) == (request != wanted.requests.get(resource))
