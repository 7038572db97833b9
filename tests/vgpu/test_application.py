from hypothesis import given
from hypothesis import strategies as st

from vgpu.application import Application, apply
from vgpu.schedule import Rule
from vgpu.slices import Amounts, Resource, VgpuSlice

TFLOPS, VRAM = Resource.TFLOPS, Resource.VRAM
BOTH = frozenset(Resource)
NONE: frozenset[Resource] = frozenset()
UNKNOWN = Amounts()


def of(tflops: tuple[int | None, int | None], vram: tuple[int | None, int | None]) -> VgpuSlice:
    return VgpuSlice(requests=Amounts(tflops[0], vram[0]), limits=Amounts(tflops[1], vram[1]))


BASE = of((10, 20), (8, 16))
RECOMMENDATION = of((13, 26), (4, 8))


def rule(desired: VgpuSlice) -> Rule:
    return Rule(name="night", start="0 22 * * *", end="0 6 * * *", desired=desired)


def applied(
    base: VgpuSlice = BASE,
    *,
    recommendation: VgpuSlice | None = None,
    targets: frozenset[Resource] = NONE,
    desired: VgpuSlice | None = None,
    card: Amounts = UNKNOWN,
    malformed: frozenset[Resource] = NONE,
) -> Application:
    active = rule(desired) if desired is not None else None
    return apply(
        base, recommendation=recommendation, targets=targets, rule=active, card=card, malformed=malformed
    )


def test_nothing_to_apply_leaves_the_slice_and_has_no_digest() -> None:
    assert applied() == Application(slice=BASE)
    assert applied().digest is None


def test_a_recommendation_is_applied_to_its_targets() -> None:
    assert applied(recommendation=RECOMMENDATION, targets=BOTH).slice == RECOMMENDATION
    assert applied(recommendation=RECOMMENDATION, targets=frozenset({VRAM})).slice == of((10, 20), (4, 8))


def test_without_a_target_a_recommendation_is_only_a_recommendation() -> None:
    assert applied(recommendation=RECOMMENDATION) == Application(slice=BASE)


def test_a_resource_that_the_pod_does_not_ask_for_is_not_added() -> None:
    base = of((10, 20), (None, None))
    assert applied(base, recommendation=RECOMMENDATION, targets=BOTH).slice == of((13, 26), (None, None))


def test_a_recommendation_of_zero_leaves_the_resource_alone() -> None:
    outcome = applied(recommendation=of((0, 0), (4, 8)), targets=BOTH)
    assert outcome.slice == of((10, 20), (4, 8))
    assert outcome.recommended == {VRAM}


def test_a_limit_that_a_recommendation_leaves_out_stays_but_not_below_the_request() -> None:
    outcome = applied(recommendation=of((15, None), (30, None)), targets=BOTH)
    assert outcome.slice == of((15, 20), (30, 30))


def test_a_malformed_resource_is_left_as_it_is() -> None:
    outcome = applied(
        of((None, 20), (8, 16)), recommendation=RECOMMENDATION, targets=BOTH, malformed=frozenset({TFLOPS})
    )
    assert outcome.slice == of((None, 20), (4, 8))


def test_a_rule_is_applied_whatever_the_targets_are() -> None:
    outcome = applied(recommendation=RECOMMENDATION, desired=of((44, 99), (5, 10)))
    assert outcome.slice == of((44, 99), (5, 10))
    assert outcome.rule == "night"
    assert not outcome.recommended


def test_of_rule_and_recommendation_the_larger_request_counts_and_its_limit_goes_with_it() -> None:
    outcome = applied(recommendation=of((13, 50), (9, 9)), targets=BOTH, desired=of((44, 44), (5, 99)))
    assert outcome.slice == of((44, 44), (9, 9))


def test_a_resource_that_the_rule_does_not_name_keeps_the_recommendation() -> None:
    """Also a recommendation below the pod's own request: the rule does not bring that back."""
    outcome = applied(recommendation=of((5, 10), (4, 8)), targets=BOTH, desired=of((None, None), (6, 6)))
    assert outcome.slice == of((5, 10), (6, 6))


def test_a_rule_of_replicas_alone_changes_no_slice() -> None:
    assert applied(desired=VgpuSlice()) == Application(slice=BASE)


def test_a_rule_adds_a_resource_that_it_names() -> None:
    assert applied(of((10, 20), (None, None)), desired=of((None, None), (5, 6))).slice == of((10, 20), (5, 6))


def test_an_odd_slice_of_the_users_own_is_not_corrected() -> None:
    odd = of((30, 20), (8, 16))
    assert applied(odd, desired=of((None, None), (5, 6))).slice == of((30, 20), (5, 6))


def test_a_rule_gives_no_more_than_a_card_has() -> None:
    outcome = applied(desired=of((44, 99), (5, 50)), card=Amounts(71, 48))
    assert outcome.slice == of((44, 71), (5, 48))


def test_a_recommendation_is_not_cut_again_when_the_larger_cards_are_gone() -> None:
    outcome = applied(recommendation=of((90, 180), (4, 8)), targets=BOTH, card=Amounts(71, None))
    assert outcome.slice == of((90, 180), (4, 8))


def test_a_rule_that_is_cut_to_a_card_gives_way_to_a_larger_recommendation() -> None:
    outcome = applied(
        recommendation=of((90, 180), (4, 8)),
        targets=BOTH,
        desired=of((95, 95), (5, 50)),
        card=Amounts(71, 48),
    )
    assert outcome.slice == of((90, 180), (5, 48))


def test_a_limit_that_a_rule_leaves_to_the_user_is_not_cut_to_a_card() -> None:
    outcome = applied(of((10, 400), (8, 16)), desired=of((90, None), (None, None)), card=Amounts(71, 48))
    assert outcome.slice == of((71, 400), (8, 16))


def test_a_slice_of_the_users_own_is_not_cut_to_a_card() -> None:
    outcome = applied(of((90, 180), (8, 16)), desired=of((None, None), (5, 6)), card=Amounts(71, 48))
    assert outcome.slice == of((90, 180), (5, 6))


def test_what_is_given_is_what_has_a_digest() -> None:
    ruled = applied(desired=RECOMMENDATION).digest
    assert ruled == applied(recommendation=RECOMMENDATION, targets=BOTH).digest
    assert ruled not in {None, applied(recommendation=BASE, targets=BOTH).digest}


amounts = st.none() | st.integers(0, 2**63 - 1)
pairs = st.tuples(amounts, amounts)
ordered_pairs = pairs.map(lambda pair: (min(pair), max(pair)) if None not in pair else pair)  # type: ignore[type-var]  # no None is left
slices = st.builds(of, pairs, pairs)
ordered_slices = st.builds(of, ordered_pairs, ordered_pairs)


@given(
    base=ordered_slices,
    recommendation=st.none() | ordered_slices,
    targets=st.frozensets(st.sampled_from(Resource)),
    desired=st.none() | ordered_slices,
    card=st.builds(Amounts, amounts, amounts),
)
def test_a_request_never_exceeds_its_limit(
    base: VgpuSlice,
    recommendation: VgpuSlice | None,
    targets: frozenset[Resource],
    desired: VgpuSlice | None,
    card: Amounts,
) -> None:
    """Whatever is applied, where neither the pod nor the recommendation nor the rule is odd by itself."""
    result = applied(base, recommendation=recommendation, targets=targets, desired=desired, card=card).slice
    for resource in Resource:
        request, limit = result.requests.get(resource), result.limits.get(resource)
        assert request is None or limit is None or request <= limit
