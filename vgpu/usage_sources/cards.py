"""From parts of a card to TFLOPS, and which cards a series says nothing true about."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from vgpu.capacity import Card
from vgpu.gpu_models import PRODUCT_LABEL, mig_share
from vgpu.slices import Amounts
from vgpu.usage_sources.preset import Preset, first

# GPU feature discovery's labels of a node whose device plugin hands one card to several pods.
_SHARED_SUFFIX: Final = "-shared"
_SHARING_LABEL: Final = ".sharing-strategy"
_NOT_SHARED: Final = frozenset({"", "none"})


@dataclass(frozen=True, slots=True)
class CardLookup:
    """What is known of cards.

    Attributes:
        peak: peak TFLOPS of a model by its product name; None where it is not known.
        card_of: the card of a node by the node's name; None where it is not known.
        largest: what that card gives, or, where it is not known, the largest there is.
        is_shared: whether a node hands one card to several pods, by the node's name.
    """

    peak: Callable[[str], float | None]
    card_of: Callable[[str], Card | None]
    largest: Callable[[str], Amounts]
    is_shared: Callable[[str], bool]

    def whole(self, preset: Preset, labels: Mapping[str, str], node: str) -> float | None:
        """TFLOPS of what a series gives parts of: a card or a MIG instance; None where nobody knows.

        The series' own word for the model counts before what the node's labels tell.

        Args:
            preset: knows which labels name model and profile.
            labels: the series'.
            node: the name of the pod's node.
        """
        model, profile = first(labels, preset.model_labels), first(labels, preset.profile_labels)
        if not model:
            card = self.card_of(node)
            # How the node's labels count a MIG instance is not said: its share might count twice.
            return None if profile or card is None or card.tflops is None else card.tflops / 1000
        peak = self.peak(model)
        share = mig_share(model, profile) if profile else 1.0
        return None if peak is None or share is None else peak * share


def shares_cards(labels: Mapping[str, str] | None) -> bool:
    """Whether a node hands one card, or one MIG instance, to several pods, by its labels.

    `nvidia.com/gpu.sharing-strategy` (or that of a MIG profile) is `time-slicing` or `mps`, or the product's
    name ends in `-SHARED`.
    """
    labels = labels or {}
    if labels.get(PRODUCT_LABEL, "").lower().endswith(_SHARED_SUFFIX):
        return True
    return any(
        name.startswith("nvidia.com/") and name.endswith(_SHARING_LABEL) and value not in _NOT_SHARED
        for name, value in labels.items()
    )
