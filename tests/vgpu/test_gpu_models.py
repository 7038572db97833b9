import pytest

from vgpu.gpu_models import peak_tflops


@pytest.mark.parametrize(
    "product",
    [
        "NVIDIA A100-SXM4-80GB",
        "NVIDIA-A100-SXM4-80GB",
        "nvidia-a100-sxm4-80gb",
        "NVIDIA-A100-SXM4-80GB-SHARED",
    ],
)
def test_a_card_is_found_by_the_drivers_name_and_by_the_node_label(product: str) -> None:
    assert peak_tflops(product) == 312.0


def test_a_card_with_spaces_within_its_name_is_found_by_its_node_label() -> None:
    assert peak_tflops("NVIDIA-GeForce-RTX-4070-Ti-SUPER") == 80.0


def test_an_unknown_card_has_no_peak() -> None:
    assert peak_tflops("NVIDIA-Voodoo-2") is None
