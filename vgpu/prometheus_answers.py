"""Answers of the Prometheus HTTP API, decoded typed, and what can be wrong with them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Generic, TypeVar

import msgspec

from vgpu.errors import AutoscalerError, ExitCode

_TEXT_IN_ERRORS: Final = 300
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# Too many requests, and trouble of a server or of a proxy before it.
_PASSING: Final = frozenset({429, 500, 502, 503, 504})
# What a server's own error is called where asking again would only make it worse.
_TOO_HEAVY: Final = frozenset({"timeout", "canceled", "execution"})
_WHO: Final = "; it is shown what prometheus_username or prometheus_bearer_token_file say"
_HINTS: Final = {401: _WHO, 403: _WHO}

Buffer = bytes | bytearray | msgspec.Raw
T = TypeVar("T")


class PrometheusError(AutoscalerError):
    """The metric source did not give an answer that can be used."""

    exit_code: ClassVar[int] = ExitCode.METRIC_SOURCE
    halving_helps: bool = False
    """Whether half of a stretch may well be answered at once where the whole was not."""


class PrometheusUnreachable(PrometheusError):
    """No connection, or one that broke off."""


class PrometheusTimeout(PrometheusError):
    """No whole answer in time."""

    halving_helps = True


class BadQuery(PrometheusError):
    """The server understood the request and refuses the query: asking again will not help."""

    halving_helps = True

    def __init__(self, message: str, *, query: str, reason: str) -> None:
        super().__init__(message)
        self.query = query
        self.reason = reason


class AnswerTooLarge(PrometheusError):
    """The answer has more bytes than are read into memory."""

    halving_helps = True


class BadAnswer(PrometheusError):
    """An answer that is an error of the server, or not what the API promises.

    Args:
        message: what was answered, and to what.
        halving_helps: whether less at once may well be answered.
    """

    def __init__(self, message: str, *, halving_helps: bool = False) -> None:
        super().__init__(message)
        self.halving_helps = halving_helps


class AccessError(PrometheusError):
    """A password, token or certificate, the client's own or one that it trusts, cannot be used."""


# A struct, and not followed by the garbage collector (which labels and numbers need not be): of a hundred
# thousand of them, that halves the time to make them.
class Series(msgspec.Struct, frozen=True, gc=False):
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
    infos: list[str] = []
    is_partial: bool = msgspec.field(default=False, name="isPartial")


class _Data(msgspec.Struct):
    kind: str = msgspec.field(name="resultType")
    result: msgspec.Raw


_Point = tuple[float, float]
_TextPoint = tuple[float, str]
P = TypeVar("P")


class _VectorItem(msgspec.Struct, Generic[P], gc=False):
    metric: dict[str, str]
    value: P | None = None
    """Missing where the sample is a native histogram."""


class _MatrixItem(msgspec.Struct, Generic[P], gc=False):
    metric: dict[str, str]
    values: list[P] = []


_ANSWER: Final = msgspec.json.Decoder(_Answer)
_DATA: Final = msgspec.json.Decoder(_Data)
# Values are numbers in texts. msgspec reads them at once, in half of the time, but not Go's `+Inf`.
_VECTOR: Final = msgspec.json.Decoder(list[_VectorItem[_Point]], strict=False)
_VECTOR_OF_TEXTS: Final = msgspec.json.Decoder(list[_VectorItem[_TextPoint]])
_MATRIX: Final = msgspec.json.Decoder(list[_MatrixItem[_Point]], strict=False)
_MATRIX_OF_TEXTS: Final = msgspec.json.Decoder(list[_MatrixItem[_TextPoint]])
_SCALAR: Final = msgspec.json.Decoder(_TextPoint)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query gave.

    Attributes:
        series: the series.
        warnings: what the server doubts: a store that did not answer, for instance.
        infos: what it wants a person to know about the query.
    """

    series: list[Series]
    warnings: list[str]
    infos: list[str]


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked of whom, for error messages."""

    url: str
    query: str

    def told(self, what: str) -> str:
        """An error's text: who did what, and what had been asked."""
        return f"{self.url} {what}; the query was {cut(self.query)!r}"


def read_answer(body: Buffer, *, status: int, question: Question) -> Answer:
    """Read an answer.

    Args:
        body: The answer's body, JSON if all is well.
        status: Its HTTP status.
        question: What was asked, for the errors.

    Raises:
        BadQuery: The server refuses the query.
        PrometheusTimeout: The server gave up on it.
        BadAnswer: Any other error of the server, or a body that is not what the API promises.
    """
    answer = _decode(_ANSWER, body, question, status=status)
    if answer.status != "success" or status >= 400:
        raise _refusal(answer, question, status=status)
    if answer.is_partial:
        raise BadAnswer(question.told(f"answered in part only: {_first(answer.warnings)}"))
    series = _to_series(_decode(_DATA, answer.data, question), question)
    return Answer(series, answer.warnings, answer.infos)


def may_pass(body: Buffer, *, status: int) -> bool:
    """Whether the same query may well be answered a moment later, by what was answered now.

    Not so where the server says that this query takes too long.
    """
    if status not in _PASSING:
        return False
    try:
        return _ANSWER.decode(body).error_type not in _TOO_HEAVY
    except _UNREADABLE:
        return True


def _refusal(answer: _Answer, question: Question, *, status: int) -> PrometheusError:
    reason = cut(answer.error or answer.error_type or "no reason given")
    if answer.error_type == "timeout":
        return PrometheusTimeout(question.told(f"gave up: {reason}"))
    if status == 400 or answer.error_type == "bad_data":
        message = question.told(f"refuses the query: {reason}")
        return BadQuery(message, query=question.query, reason=reason)
    return _failure(reason, question, status=status)


def _failure(reason: str, question: Question, *, status: int) -> BadAnswer:
    hint = _HINTS.get(status, "")
    text = question.told(f"failed (HTTP {status}): {cut(reason)}{hint}")
    return BadAnswer(text, halving_helps=status == 422 or status >= 500)


def _first(warnings: list[str]) -> str:
    return cut(warnings[0]) if warnings else "one of its storage nodes is away"


def _to_series(data: _Data, question: Question) -> list[Series]:
    try:
        if data.kind == "matrix":
            return _of_matrix(data.result, question)
        if data.kind == "vector":
            return _of_vector(data.result, question)
        if data.kind == "scalar":
            time, value = _decode(_SCALAR, data.result, question)
            return [Series({}, [time], [float(value)])]
    except ValueError as error:
        problem = f"gave a value that is not a number: {cut(str(error))}"
        raise BadAnswer(question.told(problem)) from error
    raise BadAnswer(question.told(f"answered with a {cut(data.kind)}, and a query must give numbers"))


def _of_vector(result: msgspec.Raw, question: Question) -> list[Series]:
    try:
        items = _VECTOR.decode(result)
    except _UNREADABLE:
        texts = _decode(_VECTOR_OF_TEXTS, result, question)
        # float() reads Go's NaN, +Inf and -Inf too.
        return [
            Series(one.metric, [one.value[0]], [float(one.value[1])]) for one in _drained(texts) if one.value
        ]
    return [Series(one.metric, [one.value[0]], [one.value[1]]) for one in _drained(items) if one.value]


def _of_matrix(result: msgspec.Raw, question: Question) -> list[Series]:
    try:
        items = _MATRIX.decode(result)
    except _UNREADABLE:
        texts = _decode(_MATRIX_OF_TEXTS, result, question)
        return [
            Series(one.metric, [time for time, _ in one.values], [float(value) for _, value in one.values])
            for one in _drained(texts)
        ]
    return [
        Series(one.metric, [time for time, _ in one.values], [value for _, value in one.values])
        for one in _drained(items)
    ]


def _drained(items: list[T]) -> Iterator[T]:
    """Each item, which the list does not hold any more: pairs of numbers take most of the memory."""
    items.reverse()
    while items:
        yield items.pop()


def _decode(decoder: msgspec.json.Decoder[T], body: Buffer, question: Question, *, status: int = 200) -> T:
    try:
        return decoder.decode(body)
    except _UNREADABLE as error:
        beginning = bytes(memoryview(body)[:_TEXT_IN_ERRORS]).decode("utf-8", "replace").strip()
        if status >= 400:
            raise _failure(beginning or "no reason given", question, status=status) from error
        text = f"gave no answer of the Prometheus API: {error}; it begins {beginning!r}"
        raise BadAnswer(question.told(text)) from error


def cut(text: str) -> str:
    """The beginning of a text, short enough for an error or a log line."""
    return text if len(text) <= _TEXT_IN_ERRORS else f"{text[:_TEXT_IN_ERRORS]}..."
