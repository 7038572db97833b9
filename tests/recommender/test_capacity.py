from recommender.capacity import Card, cap_of, card_of
from tests.support import builders
from vgpu.slices import Amounts

L4 = Card("NVIDIA-L4", 121_000, 23034 << 20)
A100 = Card("NVIDIA-A100-SXM4-80GB", 312_000, 81920 << 20)
UNKNOWN = Card("NVIDIA-Voodoo", None, 4 << 30)


def test_a_node_tells_of_its_card() -> None:
    assert card_of(builders.node()["metadata"]["labels"]) == L4


def test_a_node_without_gpu_has_no_card() -> None:
    assert card_of({"kubernetes.io/os": "linux"}) is None
    assert card_of(None) is None


def test_a_model_that_the_table_does_not_know_still_tells_its_memory() -> None:
    labels = builders.node(product="NVIDIA-Voodoo", memory_mib=4096)["metadata"]["labels"]
    assert card_of(labels) == UNKNOWN


def test_the_largest_card_is_the_cap() -> None:
    assert cap_of([L4, A100, UNKNOWN]) == Amounts(tflops=312_000, vram=81920 << 20)


def test_a_workload_that_names_its_model_is_capped_by_it() -> None:
    assert cap_of([L4, A100], "l4") == Amounts(tflops=121_000, vram=23034 << 20)
    assert cap_of([L4, A100], "NVIDIA A100-SXM4-80GB").tflops == 312_000


def test_a_model_that_no_node_has_caps_nothing_in_particular() -> None:
    assert cap_of([L4], "H100") == cap_of([L4])


def test_without_cards_there_is_no_cap() -> None:
    assert cap_of([]) == Amounts()
