"""What one card of the cluster gives: no recommendation may exceed it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vgpu.gpu_models import MEMORY_LABEL, PRODUCT_LABEL, peak_tflops
from vgpu.slices import Amounts

_MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Card:
    """One GPU model on a node; an amount that nobody tells is None.

    Attributes:
        product: the label `nvidia.com/gpu.product`.
        tflops: peak in milli-TFLOPS, from the table of models.
        vram: memory in bytes, from the label `nvidia.com/gpu.memory`.
    """

    product: str
    tflops: int | None
    vram: int | None


def card_of(labels: Mapping[str, str] | None) -> Card | None:
    """The card that a node's labels tell of, or None for a node without a GPU."""
    labels = labels or {}
    product, memory = labels.get(PRODUCT_LABEL, ""), labels.get(MEMORY_LABEL, "")
    if not product and not memory:
        return None
    peak = peak_tflops(product)
    return Card(
        product=product,
        tflops=round(peak * 1000) if peak is not None else None,
        vram=int(memory) * _MEBIBYTE if memory.isdecimal() else None,
    )


def cap_of(cards: Iterable[Card], gpu_model: str | None = None) -> Amounts:
    """The largest card that a workload may get; a resource that no card tells of has no cap.

    Args:
        cards: the cards of all nodes.
        gpu_model: the workload's `gpuModel`: only cards whose product contains it count. Where the cluster
            has none, all count, since the name may be one that nodes do not use.
    """
    every = tuple(cards)
    named = tuple(card for card in every if gpu_model and _plain(gpu_model) in _plain(card.product))
    fitting = named or every
    return Amounts(
        tflops=max((card.tflops for card in fitting if card.tflops is not None), default=None),
        vram=max((card.vram for card in fitting if card.vram is not None), default=None),
    )


def _plain(name: str) -> str:
    return name.replace(" ", "-").replace("_", "-").lower()
