"""What one card of each GPU model can do: peak dense FP16 TFLOPS by product name.

The table is `data/gpu-peaks.csv`; its names are those that the driver gives (DCGM's label `modelName`).
"""

import csv
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import resources

PRODUCT_LABEL = "nvidia.com/gpu.product"
MEMORY_LABEL = "nvidia.com/gpu.memory"

# GPU feature discovery appends this to the product of a card that is time-sliced.
_SHARED_SUFFIX = "-shared"


def peak_tflops(product: str) -> float | None:
    """Peak dense FP16 TFLOPS of a GPU model, or None where the table does not know it.

    Args:
        product: the name as the driver writes it or as the node label `nvidia.com/gpu.product` does
            (dashes for spaces); case does not matter.
    """
    return _peaks().get(_normal(product))


@lru_cache(maxsize=256)
def largest_peak(model: str = "") -> float | None:
    """The largest peak of all models that have these words in their name, or None where there is none.

    Args:
        model: part of a name, like `A100`; empty for all models.
    """
    return max((peak for name, peak in _peaks().items() if is_named(name, model)), default=None)


def is_named(product: str, model: str) -> bool:
    """Whether a product's name has all the words of a model in it, whole and in a row: an A10 is no A100."""
    words = _normal(model)
    return not words or f"-{words}-" in f"-{_normal(product)}-"


def _normal(product: str) -> str:
    """A name in one spelling: small letters, and a dash between words."""
    return re.sub(r"[\s_]+", "-", product.strip()).lower().removesuffix(_SHARED_SUFFIX)


@cache
def _peaks() -> Mapping[str, float]:
    text = resources.files("vgpu").joinpath("data/gpu-peaks.csv").read_text(encoding="utf-8")
    return {
        _normal(row["product"]): float(row["fp16_dense_tflops"]) for row in csv.DictReader(text.splitlines())
    }
