import pytest

from tests.support.usage import cards
from vgpu.capacity import Card
from vgpu.usage_sources import DCGM, HAMI, shares_cards

A100 = {"modelName": "NVIDIA A100-SXM4-80GB"}
NODE = cards({"node": Card("NVIDIA-L4", 121_000, 2**34), "odd": Card("Odd", None, 2**34)})


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, False),
        (None, False),
        ({"nvidia.com/gpu.product": "NVIDIA-L4"}, False),
        ({"nvidia.com/gpu.sharing-strategy": "none"}, False),
        ({"nvidia.com/gpu.sharing-strategy": "time-slicing"}, True),
        ({"nvidia.com/gpu.sharing-strategy": "mps"}, True),
        ({"nvidia.com/mig-1g.10gb.sharing-strategy": "time-slicing"}, True),
        ({"nvidia.com/gpu.product": "NVIDIA-L4-SHARED"}, True),
        ({"other.io/gpu.sharing-strategy": "mps"}, False),
    ],
)
def test_a_nodes_labels_tell_whether_its_cards_are_shared(
    labels: dict[str, str] | None, expected: bool
) -> None:
    assert shares_cards(labels) is expected


def test_the_series_own_model_counts_before_the_nodes_card() -> None:
    assert NODE.whole(DCGM, A100, "node") == 312


def test_without_a_model_the_nodes_card_counts() -> None:
    assert NODE.whole(HAMI, A100, "node") == 121


@pytest.mark.parametrize("node", ["odd", "unknown", ""])
def test_a_card_of_which_nobody_knows_the_peak_is_unknown(node: str) -> None:
    assert NODE.whole(HAMI, {}, node) is None


def test_an_instance_of_an_unnamed_model_is_unknown() -> None:
    assert NODE.whole(DCGM, {"GPU_I_PROFILE": "1g.10gb"}, "node") is None


def test_an_instance_is_its_share_of_the_named_card() -> None:
    assert NODE.whole(DCGM, {**A100, "GPU_I_PROFILE": "4g.40gb"}, "node") == pytest.approx(4 * 312 / 7)
