"""Label and field selectors as kube-apiserver evaluates them, for the fake."""

import re
from collections.abc import Callable, Mapping
from typing import Any

Predicate = Callable[[Mapping[str, str]], bool]

_SET = re.compile(r"^(\S+)\s+(in|notin)\s+\(([^)]*)\)$")


def label_predicate(selector: str) -> Predicate:
    """Equality (`a=b`, `a==b`, `a!=b`), set (`a in (x,y)`, `a notin (x)`) and existence (`a`, `!a`) terms."""
    terms = [_label_term(term.strip()) for term in re.split(r",(?![^(]*\))", selector) if term.strip()]
    return lambda labels: all(term(labels) for term in terms)


def _label_term(term: str) -> Predicate:
    if found := _SET.match(term):
        key, operator, text = found.groups()
        values = {value.strip() for value in text.split(",")}
        if operator == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if "!=" in term:
        key, value = (part.strip() for part in term.split("!=", 1))
        return lambda labels: labels.get(key) != value
    if "=" in term:
        key, value = (part.strip() for part in term.replace("==", "=").split("=", 1))
        return lambda labels: labels.get(key) == value
    if term.startswith("!"):
        return lambda labels: term[1:] not in labels
    return lambda labels: term in labels


def field_predicate(selector: str) -> Callable[[Mapping[str, Any]], bool]:
    """Terms `path=value` and `path!=value` over an object's fields, such as `metadata.name=x`."""
    terms = [re.split(r"(!=|==|=)", term.strip(), maxsplit=1) for term in selector.split(",") if term.strip()]

    def matches(obj: Mapping[str, Any]) -> bool:
        return all((_field(obj, path) == value) != (operator == "!=") for path, operator, value in terms)

    return matches


def _field(obj: Mapping[str, Any], path: str) -> str:
    value: Any = obj
    for key in path.split("."):
        value = value.get(key, {}) if isinstance(value, Mapping) else {}
    return value if isinstance(value, str) else ""
