"""docs/events.md holds every Event that is written, no more and no less."""

import re
from collections.abc import Iterator
from pathlib import Path

from recommender.publishing import happenings
from recommender.publishing.happenings import KINDS, Kind

PAGE = Path(__file__).parents[2] / "docs" / "events.md"


def rows() -> Iterator[list[str]]:
    """The cells of each row of the table."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def documented() -> list[Kind]:
    return [
        Kind(reason.strip("`"), action.strip("`"), warning=type_ == "Warning")
        for reason, type_, action, *_ in rows()
    ]


def test_the_page_has_every_reason_once_with_its_type_and_action() -> None:
    assert sorted(documented(), key=lambda kind: kind.reason) == sorted(KINDS, key=lambda kind: kind.reason)


def test_the_page_tells_what_each_means_with_an_example() -> None:
    assert all(len(cells) == 5 and cells[3] and cells[4].startswith("`") for cells in rows())


def test_every_kind_that_is_defined_is_in_the_list_of_all() -> None:
    defined = {value for value in vars(happenings).values() if isinstance(value, Kind)}
    assert defined == set(KINDS)


def test_kube_apiserver_takes_every_reason_and_action() -> None:
    words = [word for kind in KINDS for word in (kind.reason, kind.action)]
    assert [word for word in words if not re.fullmatch(r"([A-Z][a-z]+){1,8}", word) or len(word) > 128] == []
