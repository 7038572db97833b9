"""The operator's own table of GPU models."""

import csv
from importlib import resources
from pathlib import Path

import pytest

from vgpu.gpu_peaks import GpuPeaksError, GpuPeaksSettings, load_models, read_peaks

HEADER = "product,fp16_dense_tflops,vendor\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "peaks.csv"


def test_a_row_of_the_file_adds_a_model(file: Path) -> None:
    file.write_text(HEADER + "NVIDIA Voodoo 2,3.5,NVIDIA\n")
    models = load_models(file)
    assert models.peak("NVIDIA-Voodoo-2") == 3.5
    assert models.peak("NVIDIA L4") == 121.0


def test_a_row_of_the_file_wins_over_the_products_own(file: Path) -> None:
    file.write_text(HEADER + "nvidia-l4,100,\n")
    assert load_models(file).peak("NVIDIA L4") == 100.0


def test_the_vendor_may_be_left_out_and_the_columns_may_stand_in_any_order(file: Path) -> None:
    file.write_text("fp16_dense_tflops,product\n3.5,Voodoo\n\n")
    assert read_peaks(file) == {"voodoo": 3.5}


def test_a_table_from_a_spreadsheet_is_read(file: Path) -> None:
    file.write_bytes(b'\xef\xbb\xbfproduct,fp16_dense_tflops\r\n"Voodoo, 2",3.5\r\n')
    assert read_peaks(file) == {"voodoo,-2": 3.5}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", r"line 1, column 'product': is missing"),
        ("product,tflops\n", r"line 1, column 'fp16_dense_tflops': is missing.*tflops"),
        ("product,fp16_dense_tflops,price\n", r"line 1, column 'price': cannot be"),
        ("product,product,fp16_dense_tflops\n", r"line 1, column 'product': cannot be"),
        (HEADER + "A,1,\n,2,\n", r"line 3, column 'product': is empty"),
        (HEADER + "A,1,\nB,2,\na,3,\n", r"line 4, column 'product': 'a' stands in line 2 already"),
        (HEADER + "A,fast,\n", r"line 2, column 'fp16_dense_tflops': 'fast' is not a number"),
        (HEADER + "A\n", r"line 2, column 'fp16_dense_tflops': '' is not a number"),
        (HEADER + "A,1,NVIDIA,more\n", r"line 2: 4 cells and only 3 columns"),
        (HEADER + '"A,1\n', r"line 2: not CSV"),
        *(
            (HEADER + f"A,{number},\n", rf"line 2, column 'fp16_dense_tflops': '{number}' cannot be")
            for number in ("0", "-1", "nan", "inf", "1e308")
        ),
    ],
)
def test_a_table_that_cannot_be_right_is_refused_by_line_and_column(
    file: Path, text: str, complaint: str
) -> None:
    file.write_text(text)
    with pytest.raises(GpuPeaksError, match=rf"peaks\.csv, {complaint}") as caught:
        load_models(file)
    assert caught.value.exit_code == 2


def test_a_file_that_is_not_there_is_named_with_its_setting(file: Path) -> None:
    with pytest.raises(GpuPeaksError, match=r"gpu_peaks_file .*peaks\.csv cannot be read: No such file"):
        GpuPeaksSettings(gpu_peaks_file=file).models()


def test_a_file_that_is_not_text_is_refused(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(GpuPeaksError, match="not UTF-8"):
        load_models(file)


@pytest.mark.parametrize(
    ("product", "peak"),
    [
        ("NVIDIA A40", 149.7),
        ("Tesla V100-SXM2-16GB", 125.0),
        ("Tesla-V100-SXM2-32GB", 125.0),
        ("NVIDIA B200", 2250.0),
        ("NVIDIA A800 80GB PCIe", 312.0),
        ("NVIDIA GeForce RTX 5090 D", 380.0),
    ],
)
def test_a_card_is_found_by_the_spelling_of_its_driver(product: str, peak: float) -> None:
    assert load_models().peak(product) == peak


def test_an_alias_has_the_figure_of_the_row_that_it_names() -> None:
    table = resources.files("vgpu").joinpath("data/gpu-peaks.csv").read_text(encoding="utf-8")
    rows = {row["product"]: row for row in csv.DictReader(table.splitlines())}
    aliases = [row for row in rows.values() if row["alias_of"]]
    assert aliases
    assert all(row["fp16_dense_tflops"] == rows[row["alias_of"]]["fp16_dense_tflops"] for row in aliases)
    assert not any(rows[row["alias_of"]]["alias_of"] for row in aliases)
