import gzip
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from recommender.simulation.errors import BadUsage
from recommender.simulation.lines import open_usage
from recommender.simulation.usage_file import read_usage
from tests.support.simulating import BEGIN, HEADER, read_text, text_of, usage_of
from vgpu.errors import ExitCode
from vgpu.slices import Resource

TFLOPS, VRAM = Resource.TFLOPS, Resource.VRAM


def values_of(text: str, resource: Resource = TFLOPS) -> list[float]:
    values: list[float] = read_text(text).columns[resource].values.tolist()
    return values


def time_of(text: str) -> float:
    return float(usage_of([(text, "a", 1, 1)]).columns[TFLOPS].times[0])


def refusal(text: str | bytes) -> str:
    with pytest.raises(BadUsage) as raised:
        read_text(text)
    assert raised.value.exit_code == ExitCode.USAGE
    return str(raised.value)


def test_rows_are_read_by_resource() -> None:
    file = usage_of([(BEGIN, "a", 1.5, 2e9), (BEGIN, "b", 2, 3e9), (BEGIN + 60, "a", 3, 4e9)])
    assert file.pods == ("a", "b")
    tflops, vram = file.columns[TFLOPS], file.columns[VRAM]
    assert tflops.of.tolist() == vram.of.tolist() == [0, 1, 0]
    assert tflops.times.tolist() == [BEGIN, BEGIN, BEGIN + 60]
    assert tflops.values.tolist() == [1.5, 2.0, 3.0]
    assert vram.values.tolist() == [2e9, 3e9, 4e9]


def test_columns_come_in_any_order_and_case() -> None:
    assert values_of("VRAM_bytes, pod ,TFLOPS,timestamp\n1,a,2,0\n") == [2.0]


def test_other_columns_are_named_and_ignored() -> None:
    file = read_text("timestamp,pod,gpu,tflops,vram_bytes,node\n0,a,GPU-0,1,2,n\n")
    assert file.ignored == ("gpu", "node")
    assert file.columns[VRAM].values.tolist() == [2.0]


def test_an_empty_field_is_no_sample() -> None:
    text = text_of([(0, "a", "", 1), (60, "a", 2, " ")])
    assert (values_of(text), values_of(text, VRAM)) == ([2.0], [1.0])


def test_empty_lines_are_skipped() -> None:
    assert values_of(f"{HEADER}\n\n0,a,1,1\n\n") == [1.0]


def test_numbers_that_cannot_be_true_are_left_to_the_hygiene_of_samples() -> None:
    assert len(values_of(text_of([(0, "a", value, 0) for value in ("NaN", "inf", "-1", "1e30")]))) == 4


@pytest.mark.parametrize(
    "text",
    [
        "1760000400",
        "1760000400.0",
        "2025-10-09T09:00:00Z",
        "2025-10-09T09:00:00",
        "2025-10-09 09:00:00+00:00",
        "2025-10-09T11:00:00+02:00",
        "2025-10-09T09:00:00.000Z",
    ],
)
def test_a_time_is_iso_8601_or_epoch_seconds_and_utc_without_a_zone(text: str) -> None:
    assert time_of(text) == BEGIN


def test_fractions_of_a_second_are_kept() -> None:
    assert (time_of("1.25"), time_of("1970-01-01T00:00:01.250Z")) == (1.25, 1.25)


def test_a_file_of_a_spreadsheet_is_read() -> None:
    assert values_of("\ufeff" + f'{HEADER}\r\n"0","a","1","2"\r\n') == [1.0]


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_may_be_packed_by_gzip(tmp_path: Path, packed: bool) -> None:
    file = tmp_path / "usage"
    content = text_of([(0, "a", 1, 2)]).encode()
    file.write_bytes(gzip.compress(content) if packed else content)
    with open_usage(str(file)) as stream:
        assert read_usage(stream, "usage").pods == ("a",)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("0,a,abc,1", "usage.csv, line 3, column tflops: 'abc' is not a number, or nothing where"),
        ("0,a,1,2Gi", "usage.csv, line 3, column vram_bytes: '2Gi' is not a number"),
        ("0,a,1_0,2", "usage.csv, line 3, column tflops: '1_0' is not a number"),
        ("0,a,\u0661,2", "usage.csv, line 3, column tflops: '\u0661' is not a number"),
        (
            "yesterday,a,1,1",
            "usage.csv, line 3, column timestamp: 'yesterday' is not a time; write an ISO",
        ),
        (",a,1,1", "usage.csv, line 3, column timestamp: '' is not a time"),
        ("1760000400000,a,1,1", "column timestamp: '1760000400000' is not a time of the years 1970 to 9999"),
        ("nan,a,1,1", "column timestamp: 'nan' is not a time of the years"),
        ("-5,a,1,1", "column timestamp: '-5' is not a time of the years"),
        ("0, ,1,1", "usage.csv, line 3, column pod: is empty"),
        ("0,a,1", "usage.csv, line 3: has 3 fields, the header has 4"),
        ("0,a,1,1,1", "usage.csv, line 3: has 5 fields, the header has 4"),
        ('0,"a,1,1', "usage.csv, line 3: is not CSV: unexpected end of data"),
        ("0,a," + "9" * 100_000 + ",1", "usage.csv, line 3: longer than 65536 bytes"),
    ],
)
def test_a_bad_row_is_named_by_line_and_column(row: str, told: str) -> None:
    assert told in refusal(f"{HEADER}\n0,a,1,1\n{row}\n")


def test_a_long_value_is_told_in_short() -> None:
    assert len(refusal(f"{HEADER}\n0,a,{'x' * 50_000},1\n")) < 300


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "usage.csv: is empty; its first line must be timestamp,pod,tflops,vram_bytes"),
        (
            b"0,a,1,2\n",
            "line 1: the header must name the columns timestamp,pod,tflops,vram_bytes, in any",
        ),
        (
            b"timestamp;pod;tflops;vram_bytes\n",
            "'timestamp;pod;tflops;vram_bytes' lacks timestamp, pod, ",
        ),
        (b"timestamp,pod,tflops\n", "'timestamp,pod,tflops' lacks vram_bytes"),
        (b"timestamp,pod,tflops,vram_bytes,pod\n", "line 1: the header names pod more than once"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "usage.csv, line 1: b'\\x89PNG\\r\\n' is not UTF-8 text"),
        (b"\x00" * 1000, "usage.csv, line 1: the header must name the columns"),
        (b"\x00" * 100_000, "usage.csv, line 1: longer than 65536 bytes"),
    ],
)
def test_what_is_no_such_file_is_refused(content: bytes, told: str) -> None:
    assert told in refusal(content)


@pytest.mark.parametrize("cut", [20, -4])
def test_a_damaged_gzip_file_is_refused(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "usage.csv.gz"
    file.write_bytes(gzip.compress(text_of([(index, "a", 1, 2) for index in range(100)]).encode())[:cut])
    with open_usage(str(file)) as stream, pytest.raises(BadUsage, match="cannot be read"):
        read_usage(stream, "usage.csv.gz")


def test_what_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadUsage, match="cannot be opened: Is a directory"), open_usage(str(tmp_path)):
        pass


def test_whoever_watches_sees_every_line() -> None:
    seen: list[bytes] = []

    def watch(lines: Iterable[bytes]) -> Iterator[bytes]:
        for line in lines:
            seen.append(line)
            yield line

    content = text_of([(0, "a", 1, 2), (1, "a", 1, 2)]).encode()
    read_usage(io.BytesIO(content), "usage.csv", watch=watch)
    assert b"".join(seen) == content
