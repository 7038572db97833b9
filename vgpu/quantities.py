"""Kubernetes quantities and Go durations, read exactly and written in their canonical form.

Inside the product TFLOPS are integers of milli-TFLOPS and VRAM integers of bytes: what Kubernetes itself does
with CPU and memory, and free of rounding when a slice is read, compared and written again.
"""

import math
import re
import reprlib
from decimal import MAX_EMAX, MIN_EMIN, ROUND_CEILING, Context, Decimal, Inexact, InvalidOperation, Overflow
from typing import Final

import durationpy

INT64_MAX: Final = 2**63 - 1
"""The largest value that Kubernetes keeps in a quantity; larger ones are cut to it."""

_QUANTITY = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?P<suffix>[eE][+-]?[0-9]{1,9}|[KMGTPE]i|[numkMGTPE]?)"
)
_DECIMAL_SUFFIXES: Final = {
    "n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18,
}  # fmt: skip
_BINARY_SUFFIXES: Final = {"": 0, "Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
# Largest first: a canonical quantity has the largest suffix that leaves no fraction.
_CANONICAL_DECIMAL: Final = (("E", 18), ("P", 15), ("T", 12), ("G", 9), ("M", 6), ("k", 3))

_DURATION = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h|d|w))+|[+-]?0")

_quoted = reprlib.Repr()
_quoted.maxstring = _quoted.maxother = 60
_short = _quoted.repr


class QuantityError(ValueError):
    """A text is not a Kubernetes quantity, or not one that is allowed here."""


class DurationError(ValueError):
    """A text is not a duration, or not one that is allowed here."""


def parse_quantity(text: str | float | Decimal) -> Decimal:
    """The exact value of a Kubernetes quantity.

    Args:
        text: a number with one of the suffixes n u m k M G T P E, Ki Mi Gi Ti Pi Ei, or an exponent (`1e3`),
            as in `k8s.io/apimachinery/pkg/api/resource`; or the number that YAML makes of an unquoted one.

    Raises:
        QuantityError: it is not a quantity; the message shows it and says what is allowed.
    """
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        raise QuantityError(
            f"{_short(text)} is not a quantity: write a number like 13 or 1.5, "
            "with a suffix if need be (n u m k M G T P E, Ki Mi Gi Ti Pi Ei), like 500m or 10Gi"
        )
    return _value(match["number"], match["suffix"])


def _value(number: str, suffix: str) -> Decimal:
    if suffix in _BINARY_SUFFIXES:
        factor = Decimal(1 << _BINARY_SUFFIXES[suffix])
    elif suffix in _DECIMAL_SUFFIXES:
        factor = Decimal(1).scaleb(_DECIMAL_SUFFIXES[suffix])
    else:
        factor = Decimal(f"1{suffix}")
    return _exact(len(number)).multiply(Decimal(number), factor)


def _exact(digits: int) -> Context:
    """Arithmetic wide enough that nothing is ever rounded: 2**60 has 19 digits."""
    return Context(
        prec=digits + 24, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[Inexact, InvalidOperation, Overflow]
    )


def parse_tflops(text: str | float) -> int:
    """A quantity of TFLOPS in milli-TFLOPS, finer parts rounded up as Kubernetes does, at most INT64_MAX.

    Raises:
        QuantityError: not a quantity, or a negative one.
    """
    return _whole(text, scale=3)


def parse_vram(text: str | float) -> int:
    """A quantity of VRAM in bytes, parts of a byte rounded up as Kubernetes does, at most INT64_MAX.

    Raises:
        QuantityError: not a quantity, or a negative one.
    """
    return _whole(text, scale=0)


def _whole(text: str | float, *, scale: int) -> int:
    value = parse_quantity(text)
    if value < 0:
        raise QuantityError(f"{_short(text)} is negative: a TFLOPS or VRAM quantity is zero or more")
    context = _exact(len(value.as_tuple().digits))
    scaled = value.scaleb(scale, context)
    if scaled >= INT64_MAX:
        return INT64_MAX
    return int(scaled.to_integral_value(ROUND_CEILING, context))


def format_tflops(milli: int) -> str:
    """Milli-TFLOPS as a canonical decimal quantity: 13000 is `13`, 13500 is `13500m`."""
    return f"{milli}m" if milli % 1000 else _decimal(milli // 1000)


def format_vram(value: int) -> str:
    """Bytes as a canonical binary quantity: 1073741824 is `1Gi`, 1000 is `1000`."""
    for suffix, bits in reversed(_BINARY_SUFFIXES.items()):
        if value and value % (1 << bits) == 0:
            return f"{value >> bits}{suffix}"
    return str(value)


def format_decimal(value: float) -> str:
    """A number as a canonical decimal quantity of at most three decimals: 0.5 is `500m`, 900000 is `900k`.

    Raises:
        QuantityError: the number is NaN or infinite, which no quantity can say.
    """
    if not math.isfinite(value):
        raise QuantityError(f"{value} is not a finite number and so has no quantity")
    bounded = max(-INT64_MAX, min(INT64_MAX, value))
    return format_tflops(round(bounded * 1000))


def _decimal(value: int) -> str:
    for suffix, zeros in _CANONICAL_DECIMAL:
        if value and value % 10**zeros == 0:
            return f"{value // 10**zeros}{suffix}"
    return str(value)


def parse_duration(text: str) -> float:
    """The seconds of a Go duration such as `24h`, `1h30m` or `500ms`; days (`d`) and weeks (`w`) count too.

    Raises:
        DurationError: not a duration, or a negative one.
    """
    stripped = text.strip()
    if _DURATION.fullmatch(stripped) is None:
        raise DurationError(f"{_short(text)} is not a duration: write it like 24h, 1h30m, 90s or 500ms")
    seconds = _seconds(stripped)
    if seconds < 0:
        raise DurationError(f"{_short(text)} is negative: a duration is zero or more")
    return seconds


def _seconds(text: str) -> float:
    try:
        return float(durationpy.from_str(text).total_seconds())
    except durationpy.DurationError as error:
        raise DurationError(f"{_short(text)} is not a duration: {error}") from error
