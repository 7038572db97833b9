import pytest

from vgpu.gpu_models import is_named, largest_peak, peak_tflops


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


def test_the_largest_peak_of_a_model_is_that_of_its_fastest_variant() -> None:
    assert largest_peak("h100") == 989.0


def test_the_largest_peak_of_all_is_not_less_than_that_of_any_model() -> None:
    largest, blackwell = largest_peak(), peak_tflops("NVIDIA B200 SXM")
    assert largest is not None
    assert blackwell is not None
    assert largest >= blackwell


def test_a_model_that_is_not_in_the_table_has_no_largest_peak() -> None:
    assert largest_peak("Voodoo") is None


@pytest.mark.parametrize(
    ("product", "model", "expected"),
    [
        ("NVIDIA-A100-SXM4-80GB", "A100", True),
        ("NVIDIA-A100-SXM4-80GB", "nvidia a100_sxm4", True),
        ("NVIDIA-A100-SXM4-80GB", "A10", False),
        ("NVIDIA-L40S", "L4", False),
        ("NVIDIA-L4", "", True),
    ],
)
def test_a_product_is_named_by_whole_words(product: str, model: str, expected: bool) -> None:
    assert is_named(product, model) is expected
