"""What one card of each GPU model can do: peak dense FP16 TFLOPS by product name.

The table that comes with the product is `data/gpu-peaks.csv`; its names are those that the driver gives
(DCGM's label `modelName`). `vgpu.gpu_peaks` reads it, and an operator's own beside it.
"""

import re
from collections.abc import Mapping
from typing import Final

PRODUCT_LABEL: Final = "nvidia.com/gpu.product"
MEMORY_LABEL: Final = "nvidia.com/gpu.memory"

# GPU feature discovery appends this to the product of a card that is time-sliced or shared by MPS.
_SHARED_SUFFIX: Final = "-shared"
# The same for cards cut into MIG instances of one size, `1g.10gb` or `2c.3g.40gb+me`: how many compute slices
# an instance has (g), and how many of them a compute instance in it (c).
_MIG: Final = re.compile(r"(?P<product>.+)-mig-(?P<profile>[^-]+(-me)?)")
_PROFILE: Final = re.compile(r"((?P<compute>\d+)c\.)?(?P<slices>\d+)g\.\d+gb([.+-].*)?")
# Compute slices of a whole card, where it has not seven: NVIDIA's MIG user guide, supported profiles.
_SLICES: Final = {"A30": 4, "RTX PRO 6000": 4, "RTX PRO 5000": 4, "RTX PRO 4500": 2}
_MOST_SLICES: Final = 7
# Models that workloads name: so many answers are remembered.
_REMEMBERED: Final = 256


class GpuModels:
    """A table of GPU models; it does not change.

    Args:
        peaks: peak dense FP16 TFLOPS by product name, as the driver writes it or as the node label does.
    """

    def __init__(self, peaks: Mapping[str, float]) -> None:
        self._peaks = {normal(product): peak for product, peak in peaks.items()}
        self._largest: dict[str, float | None] = {}

    def peak(self, product: str) -> float | None:
        """Peak dense FP16 TFLOPS of a GPU model, or None where the table does not know it.

        Args:
            product: the name as the driver writes it or as the node label `nvidia.com/gpu.product` does
                (dashes for spaces); case does not matter. Of a name that ends in a MIG profile
                (`NVIDIA-A100-SXM4-80GB-MIG-1g.10gb`), the share of the card.
        """
        name = normal(product)
        if (whole := self._peaks.get(name)) is not None:
            return whole
        instance = _MIG.fullmatch(name)
        if instance is None:
            return None
        card, share = (
            self._peaks.get(instance["product"]),
            mig_share(instance["product"], instance["profile"]),
        )
        return None if card is None or share is None else card * share

    def largest(self, model: str = "") -> float | None:
        """The largest peak of all models that have these words in their name, or None where there is none.

        Args:
            model: part of a name, like `A100`; empty for all models.
        """
        if model not in self._largest:
            if len(self._largest) >= _REMEMBERED:
                self._largest.clear()
            named = (peak for name, peak in self._peaks.items() if is_named(name, model))
            self._largest[model] = max(named, default=None)
        return self._largest[model]


def mig_share(product: str, profile: str) -> float | None:
    """What part of a card's compute a MIG instance has, above 0 and up to 1.

    Args:
        product: the card's name.
        profile: the instance's, like `1g.10gb` (DCGM's label `GPU_I_PROFILE`); None where it is not one.
    """
    match = _PROFILE.fullmatch(profile.strip().lower())
    if match is None:
        return None
    of_all = next((count for model, count in _SLICES.items() if is_named(product, model)), _MOST_SLICES)
    slices = int(match["compute"] or match["slices"])
    return min(slices, of_all) / of_all if slices else None


def is_named(product: str, model: str) -> bool:
    """Whether a product's name has all the words of a model in it, whole and in a row: an A10 is no A100."""
    if not model:
        return True
    words = normal(model)
    return not words or f"-{words}-" in f"-{normal(product)}-"


def normal(product: str) -> str:
    """A name in one spelling: small letters, and a dash between words."""
    return re.sub(r"[\s_]+", "-", product.strip()).lower().removesuffix(_SHARED_SUFFIX)
