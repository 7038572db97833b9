"""What one card of each GPU model can do: peak dense FP16 TFLOPS by product name.

The table is `data/gpu-peaks.csv`; its names are those that the driver gives (DCGM's label `modelName`).
"""

import csv
from collections.abc import Mapping
from functools import cache
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
    return _peaks().get(_key(product))


def _key(product: str) -> str:
    return product.strip().replace(" ", "-").lower().removesuffix(_SHARED_SUFFIX)


@cache
def _peaks() -> Mapping[str, float]:
    text = resources.files("vgpu").joinpath("data/gpu-peaks.csv").read_text(encoding="utf-8")
    return {
        _key(row["product"]): float(row["fp16_dense_tflops"]) for row in csv.DictReader(text.splitlines())
    }
