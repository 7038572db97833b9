"""Quantities and durations: what is read, what is refused, and the canonical form of what is written."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgpu.quantities import (
    INT64_MAX,
    DurationError,
    QuantityError,
    format_decimal,
    format_tflops,
    format_vram,
    parse_duration,
    parse_quantity,
    parse_tflops,
    parse_vram,
)

amounts = st.integers(min_value=0, max_value=INT64_MAX)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", "0"),
        ("13", "13"),
        ("+13", "13"),
        ("-1.5", "-1.5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("500m", "0.5"),
        ("7u", "0.000007"),
        ("3n", "0.000000003"),
        ("2k", "2000"),
        ("2M", "2000000"),
        ("2G", "2000000000"),
        ("2T", "2000000000000"),
        ("2P", "2000000000000000"),
        ("1E", "1000000000000000000"),
        ("1E3", "1000"),
        ("1e3", "1000"),
        ("1e-3", "0.001"),
        ("1Ki", "1024"),
        ("1.5Gi", "1610612736"),
        ("1Mi", "1048576"),
        ("1Ti", "1099511627776"),
        ("1Pi", "1125899906842624"),
        ("1Ei", "1152921504606846976"),
        (44, "44"),
        (0.1, "0.1"),
        (1e22, "10000000000000000000000"),
        (Decimal("2.50"), "2.5"),
    ],
)
def test_every_notation_of_kubernetes_is_read_exactly(text: str | float | Decimal, value: str) -> None:
    assert parse_quantity(text) == Decimal(value)


def test_a_quantity_with_many_digits_loses_none_of_them() -> None:
    digits = "1234567890" * 10
    assert parse_quantity(f"{digits}.5Ki") == (int(digits) * 1024) + 512


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "13 ",
        "a",
        "1 Gi",
        "1gi",
        "1KI",
        "1K",
        "1e",
        "1e1.5",
        "1ee3",
        "--1",
        "1,5",
        "0x10",
        "1_000",
        "٣",
        ".",
        "-",
    ],
)
def test_what_kubernetes_refuses_is_refused(text: str) -> None:
    with pytest.raises(QuantityError, match="is not a quantity"):
        parse_quantity(text)


@pytest.mark.parametrize("number", [True, False, float("nan"), float("inf")])
def test_a_value_that_is_no_number_is_refused(number: float) -> None:
    with pytest.raises(QuantityError):
        parse_quantity(number)


def test_an_error_names_the_text_and_says_what_is_allowed() -> None:
    with pytest.raises(QuantityError, match=r"'10 GB' is not a quantity: .*10Gi"):
        parse_quantity("10 GB")


def test_an_error_shows_only_the_ends_of_a_long_text() -> None:
    with pytest.raises(QuantityError) as caught:
        parse_quantity("x" * 100_000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "milli"),
    [("13", 13000), ("13500m", 13500), ("0.0001", 1), ("1.0001", 1001), (0, 0), ("2k", 2000000)],
)
def test_tflops_are_milli_tflops_rounded_up(text: str | float, milli: int) -> None:
    assert parse_tflops(text) == milli


@pytest.mark.parametrize(
    ("text", "size"), [("1Gi", 1 << 30), ("1500m", 2), ("0", 0), (1024, 1024), ("1e-900000000", 1)]
)
def test_vram_is_bytes_rounded_up(text: str | float, size: int) -> None:
    assert parse_vram(text) == size


@pytest.mark.parametrize("text", ["100E", "9223372036854775808", "1e100", "1e999999999"])
def test_what_kubernetes_cannot_keep_is_cut_to_the_largest_it_can(text: str) -> None:
    assert parse_vram(text) == INT64_MAX
    assert parse_tflops(text) == INT64_MAX


@pytest.mark.parametrize("parse", [parse_tflops, parse_vram])
def test_negative_amounts_are_refused(parse: object) -> None:
    assert callable(parse)
    with pytest.raises(QuantityError, match=r"'-1Gi' is negative"):
        parse("-1Gi")


@pytest.mark.parametrize(
    ("milli", "text"),
    [(0, "0"), (13000, "13"), (13500, "13500m"), (1, "1m"), (1_000_000, "1k"), (1_500_000, "1500")],
)
def test_tflops_are_written_canonically(milli: int, text: str) -> None:
    assert format_tflops(milli) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (1 << 30, "1Gi"), (1000, "1000"), (3 << 29, "1536Mi"), (1 << 60, "1Ei"), (1 << 62, "4Ei")],
)
def test_vram_is_written_canonically(size: int, text: str) -> None:
    assert format_vram(size) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "500m"),
        (85.0, "85"),
        (900000, "900k"),
        (0.0, "0"),
        (-2.5, "-2500m"),
        (-0.0001, "0"),
        (66.6666, "66667m"),
    ],
)
def test_metric_values_have_at_most_three_decimals(value: float, text: str) -> None:
    assert format_decimal(value) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_metric_value_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(QuantityError, match="not a finite number"):
        format_decimal(value)


@given(amounts)
def test_tflops_survive_a_round_trip(milli: int) -> None:
    assert parse_tflops(format_tflops(milli)) == milli


@given(amounts)
def test_vram_survives_a_round_trip(size: int) -> None:
    assert parse_vram(format_vram(size)) == size


@given(st.decimals(min_value=0, max_value=10**15, places=6), st.sampled_from(["", "m", "k", "M", "Ki", "Gi"]))
def test_reading_and_writing_again_gives_one_form_for_all_notations(number: Decimal, suffix: str) -> None:
    """The canonical form: equal amounts have equal texts, and a text is canonical once it was written."""
    written = format_tflops(parse_tflops(f"{number:f}{suffix}"))
    assert format_tflops(parse_tflops(written)) == written


@given(amounts)
def test_a_canonical_binary_quantity_has_the_largest_suffix_that_fits(size: int) -> None:
    number = format_vram(size).rstrip("KMGTPEi")
    suffix = format_vram(size).removeprefix(number)
    assert size == 0 or suffix == "Ei" or int(number) % 1024 != 0


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_finite_number_has_a_quantity_within_half_a_thousandth(value: float) -> None:
    bounded = max(-INT64_MAX, min(INT64_MAX, value))
    error = abs(parse_quantity(format_decimal(value)) - Decimal(bounded))
    assert error <= max(Decimal("0.000501"), abs(Decimal(bounded)) * Decimal("1e-15"))


@given(st.text(max_size=40))
def test_any_text_is_a_quantity_or_a_quantity_error(text: str) -> None:
    try:
        value = parse_quantity(text)
    except QuantityError:
        return
    assert value.is_finite()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("24h", 86400),
        ("1h30m", 5400),
        ("90s", 90),
        ("1.5h", 5400),
        ("500ms", 0.5),
        ("250us", 0.00025),
        ("0", 0),
        ("+5m", 300),
        ("7d", 604800),
        ("1w", 604800),
    ],
)
def test_durations_are_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "24", "h", "1x", "1h, 2m", "1h 2m", "1mm", "1y", "24H", "one hour"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(DurationError, match="is not a duration"):
        parse_duration(text)


def test_a_negative_duration_is_refused() -> None:
    with pytest.raises(DurationError, match="'-1h' is negative"):
        parse_duration("-1h")


def test_a_duration_beyond_measure_is_refused() -> None:
    with pytest.raises(DurationError, match="is not a duration"):
        parse_duration(f"{'9' * 400}h")
