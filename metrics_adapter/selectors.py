"""Label selectors as text: what stands in a request's `labelSelector` and `metricLabelSelector`.

The grammar is that of Kubernetes (the page "Labels and Selectors" of its documentation), with all that
kube-apiserver takes beyond the page: `==`, `>`, `<`, and empty values (`x=`, `x in (a,)`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

# Possessive (`++`), so that a word is never split to make a keyword of its end: `begin (a)` is no `beg in``.
_WORD = r"[^ \t\r\n!=<>(),]++"
_REQUIREMENT = re.compile(
    rf"""
    [ \t\r\n]*
    (?:
        !                   [ \t\r\n]*  (?P<absent> {_WORD} )
      | (?P<key> {_WORD} )  [ \t\r\n]*
        (?:
            (?P<comparison> == | = | != | > | < )  [ \t\r\n]*  (?P<value> {_WORD} )?
          | (?P<membership> in | notin )  [ \t\r\n]*  \( (?P<values> [^()]*+ ) \)
        )?
    )
    [ \t\r\n]*
    (?P<end> , | \Z )
    """,
    re.VERBOSE,
)
_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_INTEGER = re.compile(r"[-+]?[0-9]{1,19}")
_INT64_MAX = 2**63 - 1


class SelectorError(ValueError):
    """A text that is no label selector; the message says what is wrong with which part of it."""


class Operator(StrEnum):
    """What a requirement asks of a label, in the words of a LabelSelector object (and of node selectors)."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GREATER_THAN = "Gt"
    LESS_THAN = "Lt"


_OPERATORS: Mapping[str, Operator] = {
    "=": Operator.IN,
    "==": Operator.IN,
    "!=": Operator.NOT_IN,
    "in": Operator.IN,
    "notin": Operator.NOT_IN,
    ">": Operator.GREATER_THAN,
    "<": Operator.LESS_THAN,
}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label; `x=a` is held as `x in (a)`, `x!=a` as `x notin (a)`."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet the condition; a label that is not there meets the negative ones."""
        value = labels.get(self.key)
        match self.operator:
            case Operator.IN:
                return value in self.values
            case Operator.NOT_IN:
                return value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.DOES_NOT_EXIST:
                return value is None
            case Operator.GREATER_THAN:
                return value is not None and _is_integer(value) and int(value) > int(self.values[0])
            case Operator.LESS_THAN:
                return value is not None and _is_integer(value) and int(value) < int(self.values[0])


@dataclass(frozen=True, slots=True)
class Selector:
    """Conditions that must all be met; without any, everything is selected."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet every condition."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __bool__(self) -> bool:
        return bool(self.requirements)


def parse_selector(text: str) -> Selector:
    """Read a selector; an empty text selects everything.

    Raises:
        SelectorError: what is wrong, and where.
    """
    if not text.strip(" \t\r\n"):
        return Selector()
    requirements = []
    position, more = 0, True
    while more:
        found = _REQUIREMENT.match(text, position)
        if found is None:
            raise SelectorError(_stranded(text[position:]))
        requirements.append(_requirement(found))
        position, more = found.end(), found["end"] == ","
    return Selector(tuple(requirements))


def _stranded(rest: str) -> str:
    where = f"at {rest.strip()!r}" if rest.strip() else "after the last comma"
    return f"expected a requirement such as key, !key, key=value or key in (a,b) {where}"


def _requirement(found: re.Match[str]) -> Requirement:
    if found["absent"] is not None:
        return Requirement(_checked_key(found["absent"]), Operator.DOES_NOT_EXIST)
    key = _checked_key(found["key"])
    sign = found["comparison"] or found["membership"]
    if sign is None:
        return Requirement(key, Operator.EXISTS)
    if found["membership"]:
        values = sorted({value.strip(" \t\r\n") for value in found["values"].split(",")})
    else:
        values = [found["value"] or ""]
    requirement = Requirement(key, _OPERATORS[sign], tuple(_checked_value(key, value) for value in values))
    _check_bound(requirement)
    return requirement


def _checked_key(key: str) -> str:
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > 253 or not _PREFIX.fullmatch(prefix)):
        raise SelectorError(
            f"the prefix of the label key {key!r} must be a DNS name of at most 253 characters"
        )
    if not _NAME.fullmatch(name):
        raise SelectorError(
            f"the name in the label key {key!r} must have 1 to 63 letters, digits, '-', '_' or '.', "
            "and begin and end with a letter or digit"
        )
    return key


def _checked_value(key: str, value: str) -> str:
    if value and not _NAME.fullmatch(value):
        raise SelectorError(
            f"the value {value!r} for label {key!r} must have at most 63 letters, digits, '-', '_' or '.', "
            "and begin and end with a letter or digit"
        )
    return value


def _check_bound(requirement: Requirement) -> None:
    if requirement.operator not in {Operator.GREATER_THAN, Operator.LESS_THAN}:
        return
    value = requirement.values[0]
    if not _is_integer(value):
        raise SelectorError(f"label {requirement.key!r} can only be compared with an integer, not {value!r}")


def _is_integer(value: str) -> bool:
    return bool(_INTEGER.fullmatch(value)) and -_INT64_MAX - 1 <= int(value) <= _INT64_MAX
