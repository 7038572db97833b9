"""What the adapter knows of the cluster's cards, for usage that is told in parts of a card."""

from vgpu.capacity import Card, any_card, card_of
from vgpu.gpu_models import GpuModels
from vgpu.kube.objects import PartialObject
from vgpu.kube.reflector import Reflector
from vgpu.slices import Amounts
from vgpu.usage_sources import CardLookup, shares_cards


def any_cards(models: GpuModels) -> CardLookup:
    """For usage that is told in TFLOPS and bytes: the largest card there is bounds what can be true."""
    largest = any_card(models)
    return CardLookup(
        peak=models.peak,
        card_of=lambda _: None,
        largest=lambda _: largest,
        is_shared=lambda _: False,
    )


def node_cards(nodes: Reflector[PartialObject], models: GpuModels) -> CardLookup:
    """The cards of nodes, by their labels.

    Args:
        nodes: the cluster's; they are looked up when they are needed, from any thread.
        models: the GPU models that are known.
    """

    def labels(node: str) -> dict[str, str]:
        found = nodes.get("", node)
        return (found.metadata.labels if found else None) or {}

    def card(node: str) -> Card | None:
        return card_of(labels(node), models)

    any_largest = any_card(models)

    def largest(node: str) -> Amounts:
        known = card(node)
        if known is None:
            return any_largest
        return Amounts(tflops=known.tflops, vram=known.vram)

    return CardLookup(
        peak=models.peak,
        card_of=card,
        largest=largest,
        is_shared=lambda node: shares_cards(labels(node)),
    )
