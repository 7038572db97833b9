"""What one card gives: neither a target nor a rule may exceed it, and no sample of usage can."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from vgpu.gpu_models import MEMORY_LABEL, PRODUCT_LABEL, GpuModels, is_named
from vgpu.slices import Amounts, Resource, VgpuSlice

_MEBIBYTE: Final = 1 << 20
# Counters are read at slightly other times than the clock that they are divided by.
_TOLERANCE: Final = 1.05
# More than any card gives.
_MOST_TFLOPS: Final = 1e4
_MOST_BYTES: Final = 10**12
# What stands in place of a MIG profile where GPU feature discovery finds cards cut in several ways.
_UNUSABLE: Final = "-mig-invalid"


@dataclass(frozen=True, slots=True)
class Card:
    """One GPU model on a node; an amount that nobody tells is None.

    Attributes:
        product: its name, as the label `nvidia.com/gpu.product` or TensorFusion's GPU object has it.
        tflops: peak in milli-TFLOPS; of a MIG instance, its share.
        vram: memory in bytes.
    """

    product: str
    tflops: int | None
    vram: int | None


def card_of(labels: Mapping[str, str] | None, models: GpuModels) -> Card | None:
    """The card that a node's labels tell of, or None for a node without a GPU that can be used.

    Args:
        labels: `nvidia.com/gpu.product` and `nvidia.com/gpu.memory` (MiB) count.
        models: knows the peaks.
    """
    labels = labels or {}
    product, memory = labels.get(PRODUCT_LABEL, ""), labels.get(MEMORY_LABEL, "")
    if (not product and not memory) or product.lower().endswith(_UNUSABLE):
        return None
    mebibytes = int(memory) if memory.isdecimal() else 0
    return Card(
        product=product, tflops=milli(models.peak(product)), vram=mebibytes * _MEBIBYTE if mebibytes else None
    )


def cap_of(
    cards: Iterable[Card],
    gpu_model: str | None = None,
    *,
    models: GpuModels,
    baseline: Amounts | None = None,
) -> Amounts:
    """What the largest card gives that a workload may get; None for a resource of which that is not known.

    Cards that a workload cannot be meant for say nothing about it. Where none is left, as after the nodes
    that it is meant for were scaled away, only the table of models caps, and only what names its model.

    Args:
        cards: those that nodes have.
        gpu_model: the workload's `gpuModel`: it is meant for cards whose product has these words in it.
        models: the table of models.
        baseline: what the user's own slice requests: it is meant for cards that hold that much.
    """
    fitting = [
        card
        for card in cards
        if is_named(card.product, gpu_model or "") and _holds(card, baseline or Amounts())
    ]
    if not fitting:
        return Amounts(tflops=milli(models.largest(gpu_model)) if gpu_model else None)
    return Amounts(
        tflops=_largest(card.tflops for card in fitting), vram=_largest(card.vram for card in fitting)
    )


def cap(slice_: VgpuSlice, amounts: Amounts) -> VgpuSlice:
    """Cuts a slice to what a card gives, limits too: the ratio of limit to request gives way.

    Args:
        slice_: any slice.
        amounts: what the card gives; None or 0 where that is not known, which cuts nothing.
    """
    for resource in Resource:
        if most := amounts.get(resource):
            slice_ = slice_.with_resource(
                resource,
                request=_at_most(slice_.requests.get(resource), most),
                limit=_at_most(slice_.limits.get(resource), most),
            )
    return slice_


def any_card(models: GpuModels) -> Amounts:
    """What the largest card in the table of models gives, and more VRAM than any has: 1e12 bytes."""
    return Amounts(tflops=milli(models.largest()), vram=_MOST_BYTES)


def most_plausible(resource: Resource, largest: Amounts) -> float:
    """The most that can be measured on one card, in TFLOPS or bytes.

    Args:
        resource: what is measured.
        largest: what the largest card in question gives; where that is not known, more than any card does.
    """
    known = largest.get(resource)
    if resource is Resource.TFLOPS:
        return _TOLERANCE * (known / 1000 if known else _MOST_TFLOPS)
    return _TOLERANCE * (known or _MOST_BYTES)


def plausible(resource: Resource, value: float, largest: Amounts) -> bool:
    """Whether one card can be used that much.

    Args:
        resource: what was measured.
        value: in TFLOPS or bytes.
        largest: as for `most_plausible`.
    """
    return 0 <= value <= most_plausible(resource, largest)


def _holds(card: Card, requests: Amounts) -> bool:
    return _fits(requests.tflops, card.tflops) and _fits(requests.vram, card.vram)


def _fits(request: int | None, most: int | None) -> bool:
    return request is None or most is None or request <= most


def _largest(amounts: Iterable[int | None]) -> int | None:
    """The largest amount; None when one of the cards does not tell, since that may be the largest."""
    largest = 0
    for amount in amounts:
        if amount is None:
            return None
        largest = max(largest, amount)
    return largest


def _at_most(amount: int | None, most: int) -> int | None:
    return None if amount is None else min(amount, most)


def milli(tflops: float | None) -> int | None:
    """TFLOPS in whole milli-TFLOPS."""
    return None if tflops is None else round(1000 * tflops)
