"""HTTP headers as a setting: values are secrets, and none can hold a further header."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Final

from pydantic import BeforeValidator, SecretStr

# RFC 9110, section 5.1.
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\x20-\x7e\t]*")
_OF_THE_CLIENT: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def _headers(value: object) -> dict[str, SecretStr]:
    """No text of a value may stand in an error: it may be a token."""
    headers: dict[str, SecretStr] = {}
    taken: set[str] = set()
    for name, content in _items(value):
        if not _NAME.fullmatch(name):
            raise ValueError("the name of a header is letters, digits and dashes")
        if name.lower() in _OF_THE_CLIENT:
            raise ValueError(f"header {name} is set by the client itself")
        if name.lower() in taken:
            raise ValueError(f"header {name} is given twice")
        if not _VALUE.fullmatch(content):
            raise ValueError(f"the value of header {name} has characters other than printable ASCII in it")
        taken.add(name.lower())
        headers[name] = SecretStr(content)
    return headers


def _items(value: object) -> Iterable[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, content in value.items():
            yield str(name).strip(), _text(content)
    elif isinstance(value, str):
        yield from (_parted(item) for item in value.split(",") if item.strip())
    else:
        raise ValueError("headers are `NAME: value` lines, or in a variable NAME=value with commas between")  # noqa: TRY004 - pydantic takes ValueErrors


def _text(content: object) -> str:
    if isinstance(content, SecretStr):
        return content.get_secret_value()
    if isinstance(content, bool) or not isinstance(content, str | int | float):
        raise ValueError("the value of a header is a text")  # noqa: TRY004 - as above
    return str(content)


def _parted(item: str) -> tuple[str, str]:
    name, equals, content = item.partition("=")
    if not equals:
        raise ValueError("each header is NAME=value, with commas between them")
    return name.strip(), content.strip()


Headers = Annotated[Mapping[str, SecretStr], BeforeValidator(_headers)]
"""Headers by name: a mapping in a file, `X-Scope-OrgID=team-a,X-Other=b` in a variable."""
