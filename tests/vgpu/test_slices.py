"""Slices: their JSON, the ratio of limit to request, and the merge of a rule with the histogram."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgpu.quantities import INT64_MAX, QuantityError
from vgpu.slices import (
    Amounts,
    Resource,
    VgpuSlice,
    applied_digest,
    limit_for,
    merge_rule,
    parse_amount,
    still_written,
)

GIB = 1 << 30

amounts = st.integers(min_value=0, max_value=INT64_MAX)
optional = st.none() | st.integers(min_value=0, max_value=10**6)


@st.composite
def slices(draw: st.DrawFn, *, complete: bool = False) -> VgpuSlice:
    """Slices whose requests do not exceed their limits; without `complete` any field may be missing."""
    values = optional if not complete else st.integers(min_value=0, max_value=10**6)
    slice_ = VgpuSlice()
    for resource in Resource:
        request, limit = draw(values), draw(values)
        if request is not None and limit is not None:
            request, limit = min(request, limit), max(request, limit)
        slice_ = slice_.with_resource(resource, request=request, limit=limit)
    return slice_


def of_tflops(request: int | None, limit: int | None) -> VgpuSlice:
    return VgpuSlice(requests=Amounts(tflops=request), limits=Amounts(tflops=limit))


def test_a_slice_is_written_with_canonical_quantities() -> None:
    slice_ = VgpuSlice(requests=Amounts(tflops=13000, vram=GIB), limits=Amounts(tflops=13500, vram=3 * GIB))
    assert slice_.to_json() == {
        "requests": {"tflops": "13", "vram": "1Gi"},
        "limits": {"tflops": "13500m", "vram": "3Gi"},
    }


def test_what_is_not_given_is_not_written() -> None:
    assert VgpuSlice(requests=Amounts(vram=0)).to_json() == {"requests": {"vram": "0"}}
    assert VgpuSlice().to_json() == {}


def test_a_slice_is_read_whatever_the_case_of_its_keys() -> None:
    read = VgpuSlice.from_json({"Requests": {"TFLOPS": "44", "Vram": "5Gi"}, "LIMITS": {"tFlops": 99}})
    assert read == VgpuSlice(requests=Amounts(tflops=44000, vram=5 * GIB), limits=Amounts(tflops=99000))


def test_a_field_that_is_null_is_not_given() -> None:
    assert VgpuSlice.from_json({"requests": None, "limits": {"tflops": None}}) == VgpuSlice()


def test_a_malformed_field_is_named() -> None:
    with pytest.raises(QuantityError, match=r"^limits\.vram: 'much' is not a quantity"):
        VgpuSlice.from_json({"limits": {"vram": "much"}})


@pytest.mark.parametrize("value", ["1Gi", 5, ["tflops"]])
def test_requests_that_are_no_mapping_are_named(value: object) -> None:
    with pytest.raises(QuantityError, match=r"^requests: .* is not a mapping"):
        VgpuSlice.from_json({"requests": value})


def test_a_quantity_that_is_neither_text_nor_number_is_named() -> None:
    with pytest.raises(QuantityError, match=r"^requests\.tflops: \{\} is not a quantity"):
        VgpuSlice.from_json({"requests": {"tflops": {}}})


@given(slices())
def test_a_slice_survives_a_round_trip(slice_: VgpuSlice) -> None:
    assert VgpuSlice.from_json(slice_.to_json()) == slice_


def test_one_resource_can_be_replaced() -> None:
    before = VgpuSlice(requests=Amounts(tflops=1, vram=2), limits=Amounts(tflops=3, vram=4))
    after = before.with_resource(Resource.VRAM, request=None, limit=9)
    assert after == VgpuSlice(requests=Amounts(tflops=1), limits=Amounts(tflops=3, vram=9))


def test_the_limit_keeps_the_ratio_of_the_baseline() -> None:
    assert limit_for(8, baseline_request=4, baseline_limit=40) == (80, False)


def test_a_limit_beyond_int64_is_cut_and_says_so() -> None:
    limit = limit_for(10 * 10**9 * 1000, baseline_request=1, baseline_limit=10 * 10**9 * 1000)
    assert limit == (INT64_MAX, True)


def test_without_a_request_in_the_baseline_there_is_no_ratio() -> None:
    with pytest.raises(ValueError, match="no ratio to keep"):
        limit_for(8, baseline_request=0, baseline_limit=40)


@given(amounts, amounts.filter(bool), amounts)
def test_a_limit_is_exact_to_the_unit_and_never_below_its_request(
    request_: int, base: int, extra: int
) -> None:
    baseline_limit = min(base + extra, INT64_MAX)
    limit, cut = limit_for(request_, baseline_request=base, baseline_limit=baseline_limit)
    assert request_ <= limit <= INT64_MAX
    if not cut:
        assert limit * base <= request_ * baseline_limit < (limit + 1) * base


@given(amounts, amounts.filter(bool), amounts)
def test_a_baseline_with_its_request_above_its_limit_does_not_spread(
    request_: int, base: int, limit: int
) -> None:
    assert limit_for(request_, baseline_request=base, baseline_limit=limit)[0] >= request_


def test_the_larger_request_wins_and_its_limit_goes_with_it() -> None:
    rule, histogram = of_tflops(44, 45), of_tflops(40, 400)
    assert merge_rule(rule, histogram, of_tflops(1, 1)) == rule
    assert merge_rule(of_tflops(39, 900), histogram, of_tflops(1, 1)) == histogram


def test_each_resource_is_merged_for_itself() -> None:
    rule = VgpuSlice(requests=Amounts(tflops=44, vram=1), limits=Amounts(tflops=99, vram=2))
    histogram = VgpuSlice(requests=Amounts(tflops=5, vram=7), limits=Amounts(tflops=6, vram=8))
    assert merge_rule(rule, histogram, VgpuSlice()) == VgpuSlice(
        requests=Amounts(tflops=44, vram=7), limits=Amounts(tflops=99, vram=8)
    )


def test_the_rule_alone_decides_where_the_histogram_has_no_say() -> None:
    assert merge_rule(of_tflops(2, 3), None, of_tflops(50, 90)) == of_tflops(2, 3)
    assert merge_rule(of_tflops(2, 3), VgpuSlice(), of_tflops(50, 90)) == of_tflops(2, 3)


def test_a_field_that_the_rule_does_not_name_keeps_its_current_value() -> None:
    current = VgpuSlice(requests=Amounts(tflops=5, vram=7), limits=Amounts(tflops=6, vram=8))
    assert merge_rule(of_tflops(50, 90), None, current) == VgpuSlice(
        requests=Amounts(tflops=50, vram=7), limits=Amounts(tflops=90, vram=8)
    )


def test_a_rule_that_names_only_a_request_lifts_a_limit_that_is_too_low() -> None:
    assert merge_rule(of_tflops(50, None), None, of_tflops(5, 6)) == of_tflops(50, 50)


def test_a_rule_that_names_only_a_limit_presses_the_request_down_to_it() -> None:
    assert merge_rule(of_tflops(None, 3), None, of_tflops(5, 6)) == of_tflops(3, 3)


def test_a_rule_whose_request_is_above_its_limit_gets_a_limit_to_fit() -> None:
    assert merge_rule(of_tflops(50, 3), None, of_tflops(5, 6)) == of_tflops(50, 50)


@given(slices(), st.none() | slices(), slices())
def test_a_merged_request_never_exceeds_its_limit(
    rule: VgpuSlice, histogram: VgpuSlice | None, current: VgpuSlice
) -> None:
    merged = merge_rule(rule, histogram, current)
    for resource in Resource:
        request, limit = merged.requests.get(resource), merged.limits.get(resource)
        assert request is None or limit is None or request <= limit


@given(slices(complete=True), slices(complete=True), slices())
def test_of_two_complete_slices_the_merge_is_the_larger_one(
    rule: VgpuSlice, histogram: VgpuSlice, current: VgpuSlice
) -> None:
    merged = merge_rule(rule, histogram, current)
    for resource in Resource:
        winner = max(rule, histogram, key=lambda slice_: slice_.requests.get(resource) or 0)
        assert merged.requests.get(resource) == winner.requests.get(resource)
        assert merged.limits.get(resource) == winner.limits.get(resource)


def test_a_digest_is_short_and_stable_between_processes() -> None:
    assert applied_digest(of_tflops(13000, 13000)) == "8ecf3b49-6d9695b0"


@given(slices(), slices())
def test_a_digest_tells_which_resources_are_as_they_were(one: VgpuSlice, other: VgpuSlice) -> None:
    equal = {
        resource
        for resource in Resource
        if one.requests.get(resource) == other.requests.get(resource)
        and one.limits.get(resource) == other.limits.get(resource)
    }
    assert still_written(applied_digest(one), other) == equal


@pytest.mark.parametrize("text", ["", "-", "nonsense", "0123456789ab", "a-b-c", "é"])
def test_a_text_that_is_no_digest_says_that_nothing_is_as_it_was(text: str) -> None:
    assert still_written(text, of_tflops(1, 1)) == frozenset()


def test_a_number_is_not_taken_for_a_switch_that_equals_it() -> None:
    assert parse_amount(Resource.TFLOPS, 1) == 1000
    with pytest.raises(QuantityError):
        parse_amount(Resource.TFLOPS, True)


def test_a_quantity_of_any_length_is_read() -> None:
    assert parse_amount(Resource.VRAM, "0" * 1000 + "5") == 5
