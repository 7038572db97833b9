"""Reads the part of PromQL that `tests.support.promql` evaluates; anything else is a ParseError."""

import re
from collections.abc import Iterator

from tests.support.promql import (
    Expression,
    InstantVector,
    Matcher,
    MaxBy,
    Or,
    OverTime,
    RangeSelector,
    Scaled,
    Selector,
    Subquery,
)
from vgpu.quantities import parse_duration

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_QUOTED = r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\''
_SPACE = re.compile(r"\s*")
_WORD = re.compile(_NAME)
_NUMBER = re.compile(r"[0-9.]+(?:[eE][+-]?[0-9]+)?")
_WINDOW = re.compile(r"\[\s*(?P<window>[^\]:]+?)\s*(?P<sub>:\s*(?P<resolution>[^\]]*?)\s*)?\]")
_MATCHERS = re.compile(rf"\{{(?P<inner>(?:[^\"'{{}}]|{_QUOTED})*)\}}")
_MATCHER = re.compile(rf"\s*([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*({_QUOTED})\s*")
_BY = re.compile(r"by\s*\((?P<labels>[^)]*)\)")


class ParseError(Exception):
    """The text is not a query that is understood."""


def parse(text: str) -> Expression:
    """Read a query.

    Raises:
        ParseError: It is none, or one that uses more of PromQL than is played here.
    """
    if not text.strip():
        raise ParseError("no expression found in input")
    parser = _Parser(text)
    expression = parser.alternatives()
    parser.require_end()
    return expression


def instant(expression: Expression, place: str) -> InstantVector:
    """An expression as an instant vector.

    Raises:
        ParseError: It is a range vector.
    """
    if isinstance(expression, RangeSelector | Subquery):
        raise ParseError(f"expected type instant vector in {place}, got range vector")
    return expression


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0

    def require_end(self) -> None:
        if self._rest():
            raise ParseError(f"parse error: unexpected {self._rest()[:20]!r}")

    def alternatives(self) -> Expression:
        """One expression, or several with `or` between."""
        expression = self._scaled()
        while self._takes(re.compile(r"or\b")):
            right = instant(self._scaled(), "set operation")
            expression = Or(instant(expression, "set operation"), right)
        return expression

    def _scaled(self) -> Expression:
        expression = self._ranged()
        while operator := self._takes(re.compile(r"[*/]")):
            number = self._takes(_NUMBER)
            if number is None:
                raise ParseError(f"parse error: unexpected {self._rest()[:20]!r} after {operator[0]}")
            expression = Scaled(instant(expression, "binary expression"), operator[0], float(number[0]))
        return expression

    def _ranged(self) -> Expression:
        expression = self._primary()
        window = self._takes(_WINDOW)
        if window is None:
            return expression
        seconds = _duration(window["window"])
        if window["sub"]:
            inner = instant(expression, "subquery")
            return Subquery(inner, seconds, _duration(window["resolution"] or "1m"))
        if not isinstance(expression, Selector):
            raise ParseError("ranges only allowed for vector selectors")
        return RangeSelector(expression, seconds)

    def _primary(self) -> Expression:
        if self._takes(re.compile(r"\(")):
            return self._closed()
        if self._rest().startswith("{"):
            return self._selector("")
        word = self._takes(_WORD)
        if word is None:
            raise ParseError(f"parse error: unexpected {self._rest()[:20]!r}")
        if word[0] in {"max_over_time", "avg_over_time"} and self._takes(re.compile(r"\(")):
            return self._over_time(word[0])
        if word[0] == "max" and (by := self._takes(_BY)):
            return self._max_by(by["labels"])
        return self._selector(word[0])

    def _over_time(self, function: str) -> OverTime:
        inner = self._closed()
        if not isinstance(inner, RangeSelector | Subquery):
            raise ParseError(
                f'expected type range vector in call to function "{function}", got instant vector'
            )
        return OverTime(function, inner)

    def _max_by(self, labels: str) -> MaxBy:
        if not self._takes(re.compile(r"\(")):
            raise ParseError("expected an expression in parentheses after the labels of an aggregation")
        inner = instant(self._closed(), "aggregation expression")
        return MaxBy(tuple(name.strip() for name in labels.split(",")), inner)

    def _closed(self) -> Expression:
        expression = self.alternatives()
        if not self._takes(re.compile(r"\)")):
            raise ParseError("unclosed left parenthesis")
        return expression

    def _selector(self, name: str) -> Selector:
        found = self._takes(_MATCHERS)
        if found is None and self._rest().startswith("{"):
            raise ParseError("unexpected end of input inside braces")
        matchers = list(_matchers(found["inner"] if found else ""))
        if name:
            matchers.insert(0, Matcher("__name__", "=", name))
        if all(matcher.holds({}) for matcher in matchers):
            raise ParseError("vector selector must contain at least one non-empty matcher")
        return Selector(tuple(matchers))

    def _rest(self) -> str:
        space = _SPACE.match(self._text, self._position)
        return self._text[space.end() if space else self._position :]

    def _takes(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """What comes next, if it has this form; then it is done with."""
        position = len(self._text) - len(self._rest())
        found = pattern.match(self._text, position)
        if found is not None:
            self._position = found.end()
        return found


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ParseError(f"not a valid duration string: {text!r}") from error


def _matchers(text: str) -> Iterator[Matcher]:
    position = 0
    while text[position:].strip():
        found = _MATCHER.match(text, position)
        if found is None or text[found.end() : found.end() + 1] not in {"", ","}:
            raise ParseError(f"unexpected {text[position:][:20]!r} in label matching")
        label, operator, quoted = found.groups()
        value = re.sub(r"\\(.)", r"\1", quoted[1:-1])
        yield Matcher(label, operator, _checked(value) if "~" in operator else value)
        position = found.end() + 1


def _checked(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ParseError(f"error parsing regexp: {error}") from error
    return pattern
