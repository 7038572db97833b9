"""What a decision starts from: who stands behind the value that is recommended of a resource."""

from typing import Any

import pytest

from recommender.decisions.standing import Published
from tests.support.deciding import GIB, TFLOPS, THURSDAY, VRAM, decided, rule, slice_of, tflops, vram
from vgpu.slices import Amounts, Resource, VgpuSlice

MEASURED = frozenset({TFLOPS})


# Nobody but the user


def test_a_resource_without_samples_follows_the_template() -> None:
    first = decided(baseline=slice_of(1, 4), estimates=tflops(13, 2, 20))
    assert first.recommendation == slice_of(13, 4)
    second = decided(
        baseline=slice_of(1, 16),
        current=first.recommendation,
        measured=first.measured,
        estimates=tflops(13, 2, 20),
    )
    assert (second.recommendation, second.changed) == (slice_of(13, 16), True)


def test_the_slice_that_a_rule_leaves_follows_the_template() -> None:
    ended = decided(baseline=slice_of(1, 4), previous=THURSDAY, current=THURSDAY.desired, samples=0)
    assert ended.recommendation == slice_of(1, 4)
    assert not decided(baseline=slice_of(1, 4), current=ended.recommendation, samples=0).changed
    edited = decided(baseline=slice_of(2, 16), current=ended.recommendation, samples=0)
    assert (edited.recommendation, edited.reason) == (slice_of(2, 16), "InsufficientSamples")
    assert edited.changed


def test_while_a_rule_is_active_what_it_does_not_name_follows_the_template() -> None:
    night = rule("night", requests=Amounts(tflops=2000), limits=Amounts(tflops=2000))
    first = decided(rule=night, baseline=slice_of(1, 4))
    second = decided(rule=night, previous=night, baseline=slice_of(1, 16), current=first.recommendation)
    assert (first.recommendation, second.recommendation) == (slice_of(2, 4), slice_of(2, 16))


def test_a_resource_that_the_template_no_longer_names_is_not_recommended_any_more() -> None:
    decision = decided(
        baseline=VgpuSlice(Amounts(tflops=1000), Amounts(tflops=1000)),
        current=slice_of(13, 4),
        measured=frozenset(Resource),
        estimates=tflops(13, 2, 20) | vram(4, 2, 6),
    )
    assert decision.recommendation == VgpuSlice(Amounts(tflops=13_000), Amounts(tflops=13_000))


# Usage, over a restart


def test_what_was_measured_before_a_restart_stays_until_there_are_samples_again() -> None:
    decision = decided(current=slice_of(13), measured=MEASURED, samples=0)
    assert (decision.recommendation, decision.changed) == (slice_of(13), False)
    assert decision.measured == MEASURED


def test_a_rule_that_starts_after_a_restart_does_not_cut_what_was_measured() -> None:
    decision = decided(
        rule=THURSDAY,
        baseline=slice_of(10, limits=(20, 1)),
        current=slice_of(60, limits=(120, 1)),
        measured=MEASURED,
        samples=0,
    )
    assert decision.recommendation == slice_of(60, 5, limits=(120, 10))


def test_a_rule_that_goes_on_after_a_restart_does_not_cut_what_usage_won() -> None:
    decision = decided(
        rule=THURSDAY, previous=THURSDAY, current=slice_of(60, 5), measured=MEASURED, samples=0
    )
    assert decision.recommendation == slice_of(60, 5, limits=(60, 10))


def test_a_rule_that_ends_after_a_restart_leaves_what_usage_won() -> None:
    decision = decided(previous=THURSDAY, current=slice_of(60, 5), measured=MEASURED, samples=0)
    assert decision.recommendation == slice_of(60, 1)


def test_what_a_rule_has_taken_over_no_longer_rests_on_usage() -> None:
    decision = decided(
        rule=THURSDAY, previous=THURSDAY, current=THURSDAY.desired, measured=MEASURED, samples=0
    )
    assert decision.measured == frozenset()


# Rules that change in their window


@pytest.mark.parametrize(("target", "expected"), [(13, 20), (30, 30)])
def test_a_rule_made_smaller_in_its_window_gives_way_to_what_usage_says(target: int, expected: int) -> None:
    smaller = rule("test", requests=Amounts(tflops=20_000), limits=Amounts(tflops=20_000))
    decision = decided(
        rule=smaller,
        previous=THURSDAY,
        current=THURSDAY.desired,
        measured=frozenset({TFLOPS}),
        estimates=tflops(target, 1, 99),
    )
    assert decision.recommendation == slice_of(expected)


def test_what_usage_won_against_a_rule_moves_by_its_bounds_and_not_with_every_target() -> None:
    decision = decided(
        rule=THURSDAY,
        previous=THURSDAY,
        current=slice_of(60, 5, limits=(60, 10)),
        measured=MEASURED,
        estimates=tflops(58, 40, 70),
    )
    assert (decision.recommendation, decision.changed) == (slice_of(60, 5, limits=(60, 10)), False)


def test_a_rule_that_names_no_amounts_takes_nothing_over() -> None:
    replicas_only = rule("test")
    decision = decided(
        rule=replicas_only, previous=replicas_only, current=slice_of(13), estimates=tflops(20, 2, 30)
    )
    assert (decision.recommendation, decision.changed) == (slice_of(13), False)


def test_a_limit_alone_is_the_rules_word_only_where_it_cut_the_request() -> None:
    published = Published(slice_of(13), rule="test", desired=VgpuSlice(limits=Amounts(tflops=13_000)))
    assert published.is_of_rule(TFLOPS)
    higher = Published(slice_of(13), rule="test", desired=VgpuSlice(limits=Amounts(tflops=14_000)))
    assert not higher.is_of_rule(TFLOPS)
    assert not higher.is_of_rule(VRAM)


@pytest.mark.parametrize("limit", [15_000, 18_000])
def test_a_limit_alone_is_never_a_rules_word_for_what_rests_on_usage(limit: int) -> None:
    published = Published(
        slice_of(15), measured=MEASURED, rule="test", desired=VgpuSlice(limits=Amounts(tflops=limit))
    )
    assert not published.is_of_rule(TFLOPS)


# A rule's first pass, and those after it


def passes(**given: Any) -> list[tuple[VgpuSlice | None, bool]]:
    """What the first pass under a rule comes to, and the two after it: recommendation, changed."""
    first = decided(**given)
    found = [(first.recommendation, first.changed)]
    for _ in range(2):
        given |= {"current": first.recommendation, "measured": first.measured, "previous": given["rule"]}
        later = decided(**given)
        found.append((later.recommendation, later.changed))
    return found


@pytest.mark.parametrize(
    ("current", "target", "expected"),
    [(12, 50, (50, 100)), (12, 30, (44, 99)), (None, 50, (50, 100)), (60, 50, (60, 120))],
    ids=["target beyond the rule", "target below it", "own slice", "usage beyond the rule"],
)
def test_a_rule_begins_with_what_it_goes_on_with(
    current: int | None, target: int, expected: tuple[int, int]
) -> None:
    found = passes(
        rule=THURSDAY,
        baseline=slice_of(10, 5, limits=(20, 10)),
        current=None if current is None else slice_of(current, 5, limits=(2 * current, 10)),
        measured=frozenset() if current is None else MEASURED,
        estimates=tflops(target, 5, 60),
    )
    result = slice_of(expected[0], 5, limits=(expected[1], 10))
    assert found == [(result, True), (result, False), (result, False)]


def test_a_rule_that_names_a_limit_alone_begins_with_what_it_goes_on_with() -> None:
    found = passes(
        rule=rule(limits=Amounts(tflops=60_000)),
        baseline=slice_of(10, limits=(50, 1)),
        estimates=tflops(44, 40, 50),
    )
    result = slice_of(44, limits=(60, 1))
    assert found == [(result, True), (result, False), (result, False)]


def test_a_rule_that_names_a_request_alone_begins_with_what_it_goes_on_with_after_a_restart() -> None:
    found = passes(
        rule=rule(requests=Amounts(tflops=18_000)),
        baseline=slice_of(40, limits=(100, 1)),
        current=slice_of(5, limits=(12.5, 1)),
        measured=MEASURED,
        samples=0,
    )
    result = slice_of(18, limits=(100, 1))
    assert found == [(result, True), (result, False), (result, False)]


def test_usage_that_falls_below_the_rule_ends_where_the_next_pass_does() -> None:
    night = rule(requests=Amounts(tflops=30_000))
    found = passes(
        rule=night,
        previous=night,
        baseline=slice_of(30, limits=(50, 1)),
        current=slice_of(50, limits=(83, 1)),
        measured=MEASURED,
        estimates=tflops(18, 18, 30),
    )
    result = slice_of(30, limits=(50, 1))
    assert found == [(result, True), (result, False), (result, False)]


# Limits


def test_a_limit_follows_the_ratio_of_the_template_though_the_request_stays() -> None:
    decision = decided(
        baseline=slice_of(10, limits=(10, 1)),
        current=slice_of(10, limits=(20, 1)),
        measured=MEASURED,
        estimates=tflops(13, 2, 20),
    )
    assert (decision.recommendation, decision.reason) == (slice_of(10, limits=(10, 1)), "WithinBounds")
    assert decision.changed


def test_a_limit_that_the_card_cut_stays_cut() -> None:
    decision = decided(
        baseline=slice_of(4, limits=(40, 1)),
        current=slice_of(8, limits=(30, 1)),
        estimates=tflops(8, 7, 9),
        cap=Amounts(tflops=30_000, vram=GIB),
    )
    assert not decision.changed


def test_a_target_that_the_card_cuts_to_the_users_request_keeps_the_users_limit() -> None:
    given: dict[str, Any] = {
        "baseline": slice_of(40, limits=(80, 1)),
        "estimates": tflops(50, 45, 60),
        "cap": Amounts(tflops=40_000),
    }
    first = decided(current=slice_of(30, limits=(40, 1)), measured=MEASURED, **given)
    assert first.recommendation == slice_of(40, limits=(80, 1))
    second = decided(current=first.recommendation, measured=MEASURED, **given)
    assert (second.recommendation, second.changed) == (first.recommendation, False)
