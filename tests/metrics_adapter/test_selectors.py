import contextlib
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_adapter.selectors import Operator, Requirement, SelectorError, parse_selector

LABELS = {"app": "llama", "tier": "gpu", "example.com/team": "nlp", "rank": "7", "empty": ""}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "app=llama",
        "app==llama",
        "app = llama",
        "app!=qwen",
        "missing!=qwen",
        "app in (llama)",
        "app in(llama,qwen)",
        " app  in  ( qwen , llama ) ",
        "app notin (qwen)",
        "missing notin (qwen)",
        "app",
        "!missing",
        "! missing",
        "example.com/team=nlp",
        "rank>6",
        "rank<8",
        "rank > 6",
        "empty=",
        "empty==",
        "empty in ()",
        "empty in (a,)",
        "empty in (,a)",
        "empty in (a,,b)",
        "app=llama,tier=gpu",
        "app=llama , !missing, tier in (gpu,cpu),example.com/team",
        "empty=,app",
        "app\t=\nllama",
    ],
)
def test_the_selector_takes_the_labels(text: str) -> None:
    assert parse_selector(text).matches(LABELS)


@pytest.mark.parametrize(
    "text",
    [
        "app=qwen",
        "app!=llama",
        "app notin (llama,qwen)",
        "app in (qwen)",
        "missing",
        "missing=",
        "!app",
        "rank>7",
        "rank<7",
        "app>1",
        "missing>1",
        "app=llama,tier=cpu",
        "app=",
    ],
)
def test_the_selector_refuses_the_labels(text: str) -> None:
    assert not parse_selector(text).matches(LABELS)


@pytest.mark.parametrize(
    "text",
    [
        ",",
        "app,",
        ",app",
        "app,,tier",
        "app=llama,",
        "=llama",
        "!",
        "!app=llama",
        "!app in (a)",
        "app llama",
        "app=a b",
        "app===llama",
        "app=!llama",
        "app ! = llama",
        "app in",
        "app in llama",
        "app in (llama",
        "app in llama)",
        "app in (a b)",
        "app in (a=b)",
        "app in (a)(b)",
        "app notin",
        "begin (a)",
        "app IN (a)",
        "app in ((a))",
        "-app=a",
        "app=-a",
        "app=a-",
        "app=" + "a" * 64,
        "a" * 64,
        "a/b/c",
        "/app",
        "app/",
        "Example.com/app",
        f"{'a' * 254}/app",
        "app=ä",
        "app\u00a0=x",
        "rank>",
        "rank>a",
        "rank>1.5",
        "rank<9223372036854775808",
        "a;b",
        "app=\x00",
    ],
)
def test_what_kubernetes_refuses_is_refused(text: str) -> None:
    with pytest.raises(SelectorError):
        parse_selector(text)


def test_the_error_shows_where_the_text_stops_being_a_selector() -> None:
    with pytest.raises(SelectorError, match=r"at 'tier in cpu'"):
        parse_selector("app=llama, tier in cpu")


def test_a_key_may_be_called_like_an_operator() -> None:
    assert parse_selector("in in (in)").requirements == (Requirement("in", Operator.IN, ("in",)),)
    assert parse_selector("notin").requirements == (Requirement("notin", Operator.EXISTS),)


def test_equality_is_held_as_a_set_of_one() -> None:
    assert parse_selector("a=x,b!=y").requirements == (
        Requirement("a", Operator.IN, ("x",)),
        Requirement("b", Operator.NOT_IN, ("y",)),
    )


def test_a_long_text_without_an_end_is_refused_quickly() -> None:
    with pytest.raises(SelectorError):
        parse_selector("a in (" + "b," * 100_000)


# A slow and obvious reading of the same conditions, to compare with.

_keys = st.sampled_from(["app", "tier", "example.com/team", "in", "notin"])
_words = st.sampled_from(["", "a", "b-c", "7", "in"])
_labels = st.dictionaries(_keys, _words)


@st.composite
def _conditions(draw: st.DrawFn) -> tuple[str, str, tuple[str, ...]]:
    sign = draw(st.sampled_from(["=", "==", "!=", "in", "notin", "exists", "absent"]))
    several = sign in {"in", "notin"}
    values = draw(st.lists(_words, min_size=1, max_size=3 if several else 1))
    return draw(_keys), sign, tuple(values)


def _written(condition: tuple[str, str, tuple[str, ...]], space: str) -> str:
    key, sign, values = condition
    if sign in {"in", "notin"}:
        return f"{space}{key} {sign}{space}({','.join(space + value for value in values)}{space})"
    if sign == "exists":
        return f"{key}{space}"
    return f"!{space}{key}" if sign == "absent" else f"{key}{space}{sign}{space}{values[0]}"


def _holds(condition: tuple[str, str, tuple[str, ...]], labels: Mapping[str, str]) -> bool:
    key, sign, values = condition
    if sign in {"exists", "absent"}:
        return (key in labels) == (sign == "exists")
    if sign in {"!=", "notin"}:
        return key not in labels or labels[key] not in values
    return key in labels and labels[key] in values


@given(st.lists(_conditions(), min_size=1, max_size=4), st.sampled_from(["", " ", "\t \n"]), _labels)
def test_a_selector_takes_what_each_of_its_conditions_takes(
    conditions: list[tuple[str, str, tuple[str, ...]]], space: str, labels: dict[str, str]
) -> None:
    selector = parse_selector(",".join(_written(condition, space) for condition in conditions))
    assert selector.matches(labels) == all(_holds(condition, labels) for condition in conditions)


@given(st.text(alphabet="ab/ !=<>(),.-_7\t in", max_size=30) | st.text(max_size=20))
def test_any_text_is_a_selector_or_a_selector_error(text: str) -> None:
    with contextlib.suppress(SelectorError):
        parse_selector(text).matches(LABELS)
