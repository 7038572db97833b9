"""Answers of the Prometheus HTTP API, decoded typed, and what can be wrong with them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, TypeVar

import msgspec

from vgpu.errors import AutoscalerError, ExitCode

_TEXT_IN_ERRORS: Final = 300
T = TypeVar("T")


class PrometheusError(AutoscalerError):
    """The metric source did not give an answer that can be used."""

    exit_code: ClassVar[int] = ExitCode.METRIC_SOURCE


class PrometheusUnreachable(PrometheusError):
    """No connection, or one that broke off."""


class PrometheusTimeout(PrometheusError):
    """No whole answer in time."""


class BadQuery(PrometheusError):
    """The server understood the request and refuses the query: asking again will not help."""

    def __init__(self, message: str, *, query: str, reason: str) -> None:
        super().__init__(message)
        self.query = query
        self.reason = reason


class AnswerTooLarge(PrometheusError):
    """The answer has more bytes than are read into memory."""


class BadAnswer(PrometheusError):
    """An answer that is an error of the server, or not what the API promises."""


@dataclass(frozen=True, slots=True)
class Series:
    """One time series: its labels, times (epoch seconds, rising) and as many values (NaN, infinities too)."""

    labels: Mapping[str, str]
    times: list[float]
    values: list[float]


class _Answer(msgspec.Struct):
    status: str
    data: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""
    error_type: str = msgspec.field(default="", name="errorType")
    warnings: list[str] = []


class _Data(msgspec.Struct):
    kind: str = msgspec.field(name="resultType")
    result: msgspec.Raw


_Point = tuple[float, str]


class _VectorItem(msgspec.Struct):
    metric: dict[str, str]
    value: _Point | None = None
    """Missing where the sample is a native histogram."""


class _MatrixItem(msgspec.Struct):
    metric: dict[str, str]
    values: list[_Point] = []


_ANSWER: Final = msgspec.json.Decoder(_Answer)
_DATA: Final = msgspec.json.Decoder(_Data)
_VECTOR: Final = msgspec.json.Decoder(list[_VectorItem])
_MATRIX: Final = msgspec.json.Decoder(list[_MatrixItem])
_SCALAR: Final = msgspec.json.Decoder(_Point)


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked of whom, for error messages."""

    url: str
    query: str

    def told(self, what: str) -> str:
        """An error's text: who did what, and what had been asked."""
        return f"{self.url} {what}; the query was {cut(self.query)!r}"


def series_of(body: bytes, *, status: int, question: Question) -> tuple[list[Series], list[str]]:
    """Read an answer.

    Args:
        body: The answer's body, JSON if all is well.
        status: Its HTTP status.
        question: What was asked, for the errors.

    Returns:
        The series, and the server's warnings.

    Raises:
        BadQuery: The server refuses the query.
        PrometheusTimeout: The server gave up on it.
        BadAnswer: Any other error of the server, or a body that is not what the API promises.
    """
    answer = _decode(_ANSWER, body, question, status=status)
    if answer.status != "success" or status >= 400:
        raise _refusal(answer, question, status=status)
    return _to_series(_decode(_DATA, answer.data, question), question), answer.warnings


def _refusal(answer: _Answer, question: Question, *, status: int) -> PrometheusError:
    reason = answer.error or answer.error_type or "no reason given"
    if answer.error_type == "timeout":
        return PrometheusTimeout(question.told(f"gave up: {reason}"))
    if status == 400 or answer.error_type == "bad_data":
        message = question.told(f"refuses the query: {reason}")
        return BadQuery(message, query=question.query, reason=reason)
    return BadAnswer(question.told(f"failed (HTTP {status}): {reason}"))


def _to_series(data: _Data, question: Question) -> list[Series]:
    try:
        if data.kind == "matrix":
            series = _decode(_MATRIX, data.result, question)
            return [_of_points(item.metric, item.values) for item in series]
        if data.kind == "vector":
            items = _decode(_VECTOR, data.result, question)
            return [_of_points(item.metric, [item.value]) for item in items if item.value is not None]
        if data.kind == "scalar":
            return [_of_points({}, [_decode(_SCALAR, data.result, question)])]
    except ValueError as error:
        raise BadAnswer(question.told(f"gave a value that is not a number: {error}")) from error
    raise BadAnswer(question.told(f"answered with a {data.kind}, and a query must give numbers"))


def _of_points(labels: dict[str, str], points: list[_Point]) -> Series:
    # float() reads Go's NaN, +Inf and -Inf too.
    return Series(labels, [point[0] for point in points], [float(point[1]) for point in points])


def _decode(
    decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw, question: Question, *, status: int = 200
) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        beginning = bytes(memoryview(body)[:_TEXT_IN_ERRORS]).decode("utf-8", "replace").strip()
        if status >= 400:
            raise BadAnswer(
                question.told(f"failed (HTTP {status}): {beginning or 'no reason given'}")
            ) from error
        text = f"gave no answer of the Prometheus API: {error}; it begins {beginning!r}"
        raise BadAnswer(question.told(text)) from error


def cut(text: str) -> str:
    """The beginning of a text, short enough for an error or a log line."""
    return text if len(text) <= _TEXT_IN_ERRORS else f"{text[:_TEXT_IN_ERRORS]}..."
