from typing import Any

import pytest

from recommender.cluster.cards import Cards, Gpu
from tests.support import builders
from tests.support.builders import struct
from vgpu.capacity import Card
from vgpu.gpu_models import PRODUCT_LABEL, GpuModels
from vgpu.gpu_peaks import load_models
from vgpu.slices import Amounts

MODELS = load_models()
L4 = Card("NVIDIA-L4", 121_000, 23034 << 20)
A100 = Card("NVIDIA A100-SXM4-80GB", 312_000, 80 << 30)


def labels(**arguments: Any) -> dict[str, str]:
    """The labels of a GPU node."""
    found: dict[str, str] = builders.node(**arguments)["metadata"]["labels"]
    return found


def gpu(name: str = "gpu-0", *, node: str = "node-1", **capacity: Any) -> Gpu:
    """One of TensorFusion's GPU objects, as the code reads it."""
    return struct(builders.gpu(name, node=node, capacity={"tflops": "312", "vram": "80Gi", **capacity}), Gpu)


def test_a_node_has_the_card_that_its_labels_tell_of() -> None:
    cards = Cards(MODELS)
    assert cards.put_node("node-1", labels())
    assert cards.of("node-1") == L4
    assert cards.of("node-2") is None


def test_a_second_node_with_the_same_card_brings_no_other_cards() -> None:
    cards = Cards(MODELS)
    cards.put_node("node-1", labels())
    assert not cards.put_node("node-2", labels())
    assert cards.of("node-2") == L4


def test_the_card_of_a_node_that_went_still_caps_and_the_node_has_none() -> None:
    cards = Cards(MODELS)
    cards.put_node("node-1", labels())
    cards.remove_node("node-1")
    assert cards.of("node-1") is None
    assert cards.cap() == Amounts(121_000, 23034 << 20)


def test_a_node_that_is_labelled_anew_has_the_new_card_alone() -> None:
    cards = Cards(MODELS)
    cards.put_node("node-1", labels(product="NVIDIA-A100-SXM4-80GB", memory_mib=81920))
    assert cards.put_node("node-1", labels())
    assert cards.cap() == Amounts(121_000, 23034 << 20)


def test_a_node_whose_labels_vanish_keeps_its_card() -> None:
    cards = Cards(MODELS)
    cards.put_node("node-1", labels())
    assert not cards.put_node("node-1", {})
    assert cards.of("node-1") == L4


def test_gpu_objects_win_over_the_labels_of_their_node() -> None:
    cards = Cards(MODELS)
    cards.put_node("node-1", labels())
    assert cards.put_gpu(gpu())
    assert cards.of("node-1") == A100
    assert cards.cap() == Amounts(312_000, 80 << 30)
    assert cards.cap("L4") == Amounts(121_000)


def test_the_labels_count_again_once_the_gpu_objects_went() -> None:
    cards = Cards(MODELS)
    cards.put_node("node-1", labels())
    cards.put_gpu(gpu())
    cards.remove_gpu("gpu-0")
    assert cards.of("node-1") == L4
    assert cards.cap("A100") == Amounts(312_000, 80 << 30)


def test_a_gpu_object_whose_usage_changes_changes_nothing() -> None:
    cards = Cards(MODELS)
    cards.put_gpu(gpu())
    assert not cards.put_gpu(gpu())


def test_a_gpu_that_moves_to_another_node_leaves_the_first() -> None:
    cards = Cards(MODELS)
    cards.put_gpu(gpu(node="node-1"))
    cards.put_gpu(gpu(node="node-2"))
    assert cards.of("node-1") is None
    assert cards.of("node-2") == A100


def test_of_different_gpus_in_a_node_the_one_with_the_most_tflops_is_its_card() -> None:
    cards = Cards(MODELS)
    cards.put_gpu(gpu("gpu-0", tflops=65, vram="96Gi"))
    cards.put_gpu(gpu("gpu-1"))
    assert cards.of("node-1") == A100
    assert cards.largest("node-1") == Amounts(312_000, 96 << 30)


@pytest.mark.parametrize(
    ("capacity", "card"),
    [
        ({"tflops": "312500m", "vram": 85899345920}, Card("NVIDIA A100-SXM4-80GB", 312_500, 80 << 30)),
        ({"tflops": "0", "vram": "80Gi"}, A100),
        ({"tflops": 312.0, "vram": "much"}, Card("NVIDIA A100-SXM4-80GB", 312_000, None)),
        ({"tflops": "-1", "vram": "-1"}, None),
        (None, None),
    ],
)
def test_amounts_may_be_written_like_any_quantity_and_may_be_missing(
    capacity: dict[str, Any] | None, card: Card | None
) -> None:
    cards = Cards(MODELS)
    cards.put_gpu(struct(builders.gpu(capacity=capacity), Gpu))
    assert cards.of("node-1") == card


def test_a_gpu_without_a_selector_is_in_the_node_that_its_label_names() -> None:
    found = builders.gpu(node="")
    found["metadata"]["labels"] = {"tensor-fusion.ai/managed-by": "node-7"}
    assert struct(found, Gpu).node == "node-7"


def test_a_gpu_of_which_nothing_is_known_yet_is_as_if_it_were_not_there() -> None:
    cards = Cards(MODELS)
    assert not cards.put_gpu(struct({"metadata": {"name": "gpu-0"}}, Gpu))
    cards.remove_gpu("gpu-0")
    assert cards.cap() == Amounts()


def test_on_a_node_nobody_knows_the_largest_card_there_is_counts() -> None:
    cards = Cards(MODELS)
    cards.put_node("node-1", labels())
    cards.put_gpu(gpu(node="node-2"))
    assert cards.largest("node-1") == Amounts(121_000, 23034 << 20)
    assert cards.largest("node-3") == cards.largest() == Amounts(312_000, 80 << 30)


def test_where_no_card_is_known_the_largest_in_the_table_counts() -> None:
    assert Cards(MODELS).largest() == Amounts(2_250_000, 10**12)


def test_a_card_whose_peak_nobody_knows_may_be_the_largest_that_there_is() -> None:
    cards = Cards(MODELS)
    cards.put_node("node-1", {PRODUCT_LABEL: "NVIDIA-Voodoo"})
    assert cards.largest("node-1") == Amounts(2_250_000, 10**12)


def test_the_operators_peak_of_a_card_counts() -> None:
    cards = Cards(GpuModels({"NVIDIA L4": 100.0}))
    cards.put_node("node-1", labels())
    assert cards.largest("node-1").tflops == 100_000


def test_what_was_asked_before_does_not_outlive_a_change() -> None:
    cards = Cards(MODELS)
    assert (cards.cap(), cards.largest("node-1").tflops) == (Amounts(), 2_250_000)
    cards.put_node("node-1", labels())
    assert cards.cap() == cards.largest("node-1") == Amounts(121_000, 23034 << 20)


def test_very_many_questions_do_not_pile_up() -> None:
    cards = Cards(MODELS)
    for number in range(10_100):
        cards.cap(None, Amounts(tflops=number))
    assert len(cards._caps) <= 10_000
