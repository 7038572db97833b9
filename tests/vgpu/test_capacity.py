import math
from functools import partial

import pytest

from tests.support import builders
from vgpu.capacity import Card, any_card, cap, card_of, plausible
from vgpu.capacity import cap_of as cap_by
from vgpu.gpu_peaks import load_models
from vgpu.slices import Amounts, Resource, VgpuSlice

GIB = 1 << 30
T4 = Card("Tesla-T4", 65_000, 15360 << 20)
L4 = Card("NVIDIA-L4", 121_000, 23034 << 20)
A100 = Card("NVIDIA-A100-SXM4-80GB", 312_000, 81920 << 20)
UNKNOWN = Card("NVIDIA-Voodoo", None, 4 << 30)
MODELS = load_models()
cap_of = partial(cap_by, models=MODELS)


def test_a_node_tells_of_its_card() -> None:
    assert card_of(builders.node()["metadata"]["labels"], MODELS) == L4


def test_a_node_without_gpu_has_no_card() -> None:
    assert card_of({"kubernetes.io/os": "linux"}, MODELS) is None
    assert card_of(None, MODELS) is None


def test_a_model_that_the_table_does_not_know_still_tells_its_memory() -> None:
    labels = builders.node(product="NVIDIA-Voodoo", memory_mib=4096)["metadata"]["labels"]
    assert card_of(labels, MODELS) == UNKNOWN


def test_the_largest_card_is_the_cap() -> None:
    assert cap_of([L4, A100, T4]) == Amounts(tflops=312_000, vram=81920 << 20)


def test_a_card_whose_peak_nobody_knows_may_be_the_largest() -> None:
    assert cap_of([T4, UNKNOWN]) == Amounts(vram=15360 << 20)


def test_a_workload_that_names_its_model_is_capped_by_it() -> None:
    assert cap_of([L4, A100], "l4") == Amounts(tflops=121_000, vram=23034 << 20)
    assert cap_of([L4, A100], "NVIDIA A100-SXM4-80GB").tflops == 312_000


def test_a_model_is_not_taken_for_one_whose_name_only_begins_like_it() -> None:
    assert cap_of([L4, A100, Card("NVIDIA-L40S", 362_000, 48 << 30)], "L4") == cap_of([L4])


def test_a_model_that_no_node_has_is_capped_by_the_table_and_not_by_other_cards() -> None:
    assert cap_of([T4], "A100") == Amounts(tflops=312_000)


def test_a_model_that_nobody_knows_has_no_cap() -> None:
    assert cap_of([T4], "Voodoo") == Amounts()


def test_a_card_that_does_not_hold_the_users_own_slice_is_not_the_one_it_is_meant_for() -> None:
    assert cap_of([T4], baseline=Amounts(vram=40 * GIB)) == Amounts()
    assert cap_of([T4], baseline=Amounts(tflops=66_000)) == Amounts()
    assert cap_of([T4, A100], baseline=Amounts(vram=40 * GIB)) == cap_of([A100])


def test_a_card_that_holds_the_users_own_slice_caps_it() -> None:
    assert cap_of([T4], baseline=Amounts(tflops=65_000, vram=GIB)) == cap_of([T4])


def test_without_cards_there_is_no_cap() -> None:
    assert cap_of([]) == Amounts()


def test_a_slice_is_cut_to_the_card_limits_too_and_the_ratio_gives_way() -> None:
    slice_ = VgpuSlice(Amounts(tflops=8000, vram=9 * GIB), Amounts(tflops=80_000, vram=18 * GIB))
    assert cap(slice_, Amounts(tflops=30_000, vram=8 * GIB)) == VgpuSlice(
        Amounts(tflops=8000, vram=8 * GIB), Amounts(tflops=30_000, vram=8 * GIB)
    )


@pytest.mark.parametrize("unknown", [None, 0])
def test_what_is_not_known_cuts_nothing(unknown: int | None) -> None:
    slice_ = VgpuSlice(Amounts(tflops=8000), Amounts(tflops=8000))
    assert cap(slice_, Amounts(tflops=unknown, vram=unknown)) == slice_


@pytest.mark.parametrize(
    ("resource", "value", "expected"),
    [
        (Resource.TFLOPS, 0.0, True),
        (Resource.TFLOPS, 127.0, True),
        (Resource.TFLOPS, 128.0, False),
        (Resource.TFLOPS, math.nan, False),
        (Resource.TFLOPS, -1.0, False),
        (Resource.VRAM, 1.04 * (23034 << 20), True),
        (Resource.VRAM, 1.06 * (23034 << 20), False),
    ],
)
def test_no_sample_is_larger_than_a_card_but_for_the_noise_of_counters(
    resource: Resource, value: float, expected: bool
) -> None:
    assert plausible(resource, value, cap_of([L4])) is expected


@pytest.mark.parametrize(
    ("resource", "value", "expected"),
    [
        (Resource.TFLOPS, 2000.0, True),
        (Resource.TFLOPS, 2400.0, False),
        (Resource.VRAM, 1e12, True),
        (Resource.VRAM, 2e12, False),
        (Resource.VRAM, math.inf, False),
    ],
)
def test_where_no_card_is_known_the_largest_there_is_counts(
    resource: Resource, value: float, expected: bool
) -> None:
    assert plausible(resource, value, any_card(MODELS)) is expected


@pytest.mark.parametrize(("resource", "value"), [(Resource.TFLOPS, 1e6), (Resource.VRAM, 2e12)])
def test_what_no_card_gives_is_not_true_even_where_nothing_is_known(resource: Resource, value: float) -> None:
    assert not plausible(resource, value, Amounts())


def test_cards_cut_into_equal_instances_give_what_one_instance_does() -> None:
    labels = builders.node(product="NVIDIA-H100-80GB-HBM3-MIG-2g.20gb", memory_mib=20096)["metadata"][
        "labels"
    ]
    card = card_of(labels, MODELS)
    assert card is not None
    assert card.tflops == round(989_000 * 2 / 7)
    assert card.vram == 20096 << 20


def test_cards_that_cannot_be_given_to_pods_say_nothing() -> None:
    labels = builders.node(product="NVIDIA-A100-SXM4-80GB-MIG-INVALID", memory_mib=0)["metadata"]["labels"]
    assert card_of(labels, MODELS) is None


def test_a_memory_of_nothing_is_not_known() -> None:
    card = card_of(builders.node(memory_mib=0)["metadata"]["labels"], MODELS)
    assert card is not None
    assert card.vram is None
