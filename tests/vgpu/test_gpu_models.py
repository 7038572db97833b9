import pytest

from vgpu.gpu_models import GpuModels, is_named, mig_share
from vgpu.gpu_peaks import load_models

MODELS = load_models()


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
    assert MODELS.peak(product) == 312.0


def test_a_card_with_spaces_within_its_name_is_found_by_its_node_label() -> None:
    assert MODELS.peak("NVIDIA-GeForce-RTX-4070-Ti-SUPER") == 80.0


def test_an_unknown_card_has_no_peak() -> None:
    assert MODELS.peak("NVIDIA-Voodoo-2") is None


def test_the_largest_peak_of_a_model_is_that_of_its_fastest_variant() -> None:
    assert MODELS.largest("h100") == 989.0


def test_the_largest_peak_of_all_is_not_less_than_that_of_any_model() -> None:
    largest, blackwell = MODELS.largest(), MODELS.peak("NVIDIA B200 SXM")
    assert largest is not None
    assert blackwell is not None
    assert largest >= blackwell


def test_a_model_that_is_not_in_the_table_has_no_largest_peak() -> None:
    assert MODELS.largest("Voodoo") is None


def test_an_empty_table_knows_nothing() -> None:
    assert GpuModels({}).peak("NVIDIA L4") is None
    assert GpuModels({}).largest() is None


def test_the_answers_of_very_many_models_do_not_pile_up() -> None:
    models = GpuModels({"NVIDIA L4": 121.0})
    for number in range(1000):
        models.largest(f"model-{number}")
    assert len(models._largest) <= 256
    assert models.largest("L4") == 121.0


@pytest.mark.parametrize(
    ("product", "peak"),
    [
        ("NVIDIA-A100-SXM4-80GB-MIG-1g.10gb", 312 / 7),
        ("NVIDIA-A100-SXM4-80GB-MIG-3g.40gb", 312 * 3 / 7),
        ("NVIDIA-A100-SXM4-80GB-MIG-7g.80gb", 312.0),
        ("NVIDIA-A100-SXM4-80GB-MIG-1g.10gb-SHARED", 312 / 7),
        ("NVIDIA-A100-SXM4-80GB-MIG-1g.10gb.me", 312 / 7),
        ("NVIDIA A100-SXM4-80GB MIG 1g.10gb+me", 312 / 7),
        ("NVIDIA-A100-SXM4-80GB-MIG-1c.3g.40gb", 312 / 7),
    ],
)
def test_a_mig_instance_has_its_share_of_the_card(product: str, peak: float) -> None:
    assert MODELS.peak(product) == pytest.approx(peak)


@pytest.mark.parametrize(
    "product", ["NVIDIA-A100-SXM4-80GB-MIG-INVALID", "NVIDIA-Voodoo-MIG-1g.10gb", "NVIDIA-L4-MIG-0g.10gb"]
)
def test_an_instance_of_nothing_that_is_known_has_no_peak(product: str) -> None:
    assert MODELS.peak(product) is None


@pytest.mark.parametrize(
    ("product", "profile", "share"),
    [
        ("NVIDIA H100 80GB HBM3", "2g.20gb", 2 / 7),
        ("NVIDIA A30", "1g.6gb", 1 / 4),
        ("NVIDIA A30", "4g.24gb", 1.0),
        ("NVIDIA A300", "1g.6gb", 1 / 7),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "1g.24gb-me", 1 / 4),
        ("NVIDIA-RTX-PRO-4500-Blackwell", "1g.16gb", 1 / 2),
        ("NVIDIA H100 80GB HBM3", "9g.20gb", 1.0),
        ("NVIDIA H100 80GB HBM3", "all of it", None),
    ],
)
def test_the_share_goes_by_the_compute_slices_of_the_card(
    product: str, profile: str, share: float | None
) -> None:
    assert mig_share(product, profile) == share


@pytest.mark.parametrize(
    ("product", "model", "expected"),
    [
        ("NVIDIA-A100-SXM4-80GB", "A100", True),
        ("NVIDIA-A100-SXM4-80GB", "nvidia a100_sxm4", True),
        ("NVIDIA-A100-SXM4-80GB", "A10", False),
        ("NVIDIA-L40S", "L4", False),
        ("NVIDIA-L4", "", True),
        ("NVIDIA-L4", " ", True),
    ],
)
def test_a_product_is_named_by_whole_words(product: str, model: str, expected: bool) -> None:
    assert is_named(product, model) is expected
