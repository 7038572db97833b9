from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.support.usage import cards
from vgpu.capacity import Card
from vgpu.usage_sources import DCGM, HAMI, Preset, UnknownCards, shares_cards

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


GPU, MIG, NAMELESS = (
    "usage of a GPU model that is not known is left out",
    "usage of a MIG instance is left out: its profile cannot be read",
    "usage is left out of a card whose model nobody names",
)


def told(preset: Preset, *series: Mapping[str, str], node: str = "node") -> list[dict[str, Any]]:
    cut = Card("NVIDIA-L4-MIG-half", None, 2**34)
    known = cards({"odd": Card("NVIDIA-Odd", None, 2**34), "cut": cut})
    known = replace(known, peak={"NVIDIA A100-SXM4-80GB": 312.0, "NVIDIA-L4": 121.0}.get)
    unknown = UnknownCards(known, preset)
    with capture_logs() as logs:
        for labels in series:
            unknown.tell(labels, node)
    return [dict(entry) for entry in logs]


def test_a_model_that_is_not_known_is_told_once_and_what_to_do_about_it() -> None:
    [entry] = told(DCGM, {"modelName": "Voodoo"}, {"modelName": "Voodoo"})
    assert (entry["event"], entry["product"], entry["node"]) == (GPU, "Voodoo", "node")
    assert entry["remedy"] == "add it to gpu_peaks_file"


def test_each_model_is_told_of_but_not_without_end() -> None:
    assert len(told(DCGM, {"modelName": "A"}, {"modelName": "B"})) == 2
    assert len(told(DCGM, *({"modelName": f"m{index}"} for index in range(1000)))) == 100


def test_a_profile_that_cannot_be_read_is_not_taken_for_an_unknown_model() -> None:
    [entry] = told(DCGM, {**A100, "GPU_I_PROFILE": "half"})
    assert (entry["event"], entry["profile"]) == (MIG, "half")


@pytest.mark.parametrize(
    ("node", "event", "product"),
    [("odd", GPU, "NVIDIA-Odd"), ("cut", MIG, "NVIDIA-L4"), ("bare", NAMELESS, None)],
)
def test_where_the_series_names_no_model_the_nodes_labels_are_told_of(
    node: str, event: str, product: str | None
) -> None:
    [entry] = told(HAMI, {}, {}, node=node)
    assert (entry["event"], entry.get("product"), entry["node"]) == (event, product, node)
