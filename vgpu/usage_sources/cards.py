"""From parts of a card to TFLOPS, and which cards a series says nothing true about."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from vgpu.capacity import Card
from vgpu.gpu_models import PRODUCT_LABEL, mig_share
from vgpu.slices import Amounts
from vgpu.usage_sources.preset import Preset, first

# GPU feature discovery's labels of a node whose device plugin hands one card to several pods.
_SHARED_SUFFIX: Final = "-shared"
_SHARING_LABEL: Final = ".sharing-strategy"
_NOT_SHARED: Final = frozenset({"", "none"})
# So many models are told of.
_REMEMBERED: Final = 100
_LABEL_NODE: Final = f"label the node with {PRODUCT_LABEL}, or have the exporter name the model"

logger = structlog.get_logger(__name__)


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


class UnknownCards:
    """Tells a person, once each, of cards of which nobody knows what they can do.

    Args:
        cards: what is known.
        preset: what the series are of.
    """

    def __init__(self, cards: CardLookup, preset: Preset) -> None:
        self._cards = cards
        self._preset = preset
        self._told: set[tuple[str, ...]] = set()

    def tell(self, labels: Mapping[str, str], node: str) -> None:
        """Log why a series is left out that gives parts of such a card.

        Args:
            labels: the series'.
            node: the name of the pod's node.
        """
        product = first(labels, self._preset.model_labels)
        profile = first(labels, self._preset.profile_labels)
        if not product and not profile and (card := self._cards.card_of(node)) is not None:
            product, profile = _instance_of(card.product)
        if not product:
            self._once("usage is left out of a card whose model nobody names", node=node, remedy=_LABEL_NODE)
        elif profile and self._cards.peak(product) is not None:
            self._once(
                "usage of a MIG instance is left out: its profile cannot be read",
                product=product,
                profile=profile,
                node=node,
            )
        else:
            self._once(
                "usage of a GPU model that is not known is left out",
                product=product,
                node=node,
                remedy="add it to gpu_peaks_file",
            )

    def _once(self, event: str, *, node: str, **fields: str) -> None:
        what = (event, *fields.values())
        if what not in self._told and len(self._told) < _REMEMBERED:
            self._told.add(what)
            logger.warning(event, node=node, **fields)


def _instance_of(product: str) -> tuple[str, str]:
    """A card's model and the profile of its MIG instances, by the node's label; empty where it has none."""
    model, _, profile = product.partition("-MIG-")
    return model, profile


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
