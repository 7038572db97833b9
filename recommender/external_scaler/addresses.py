"""Which addresses may be asked: the operator's list, compared part by part with what a workload says.

Only addresses of a plain form are taken at all, so that there is no second way to read one: no user, no
percent-encoding in a path, no `.` or `..`, no host with a dot at its end. What is compared is what is sent.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

_LONGEST: Final = 2048
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# Of RFC 3986's characters of a path all but % and ; (some servers take `..;` for `..`).
_URL: Final = re.compile(
    r"(?P<scheme>(?i:https?))://"
    rf"(?:(?P<host>(?i:{_LABEL}(?:\.{_LABEL})*))|\[(?P<ipv6>[0-9A-Fa-f:.]{{2,45}})\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?P<path>(?:/[A-Za-z0-9._~!$&'()*+,=:@-]*)*)"
    r"(?:\?(?P<query>[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*))?",
    re.ASCII,  # else a long s is an s, wherever case does not matter
)
_FORM: Final = (
    "an address is like https://host:8443/path, without user, fragment, percent-encoded path, `.` or `..`, "
    "and with no dot at the end of its host"
)


class NotListed(ValueError):
    """An address that the operator does not allow, or that is none."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address, taken apart.

    Attributes:
        scheme: `http` or `https`.
        host: a name in lower case, or an IP address in its canonical form.
        port: always given.
        path: as it is written; empty or beginning with a slash.
        query: as it is written, without the question mark.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take an address apart.

        Raises:
            ValueError: it is not of the plain form; the message does not repeat it, since a password may be
                in it.
        """
        match = _URL.fullmatch(text) if len(text) <= _LONGEST else None
        if match is None or {".", ".."} & set(match["path"].split("/")):
            raise ValueError(_FORM)
        scheme = match["scheme"].lower()
        port = int(match["port"] or _DEFAULT_PORTS[scheme])
        if port > 65535:
            raise ValueError(f"port {port} is above 65535")
        host = _ipv6(match["ipv6"]) if match["ipv6"] else _name_or_ipv4(match["host"].lower())
        return cls(scheme, host, port, match["path"], match["query"] or "")

    @property
    def authority(self) -> str:
        """Host and port as they stand in an address; a port that goes without saying is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """The address as it may be told: without its query, where some people have tokens."""
        return f"{self.scheme}://{self.authority}{self.path}"

    def covers(self, other: "Address") -> bool:
        """Whether another address is this one, or lies below it: /a has /a and /a/b below it, and not /ab."""
        base = self.path.rstrip("/")
        return (
            (self.scheme, self.host, self.port) == (other.scheme, other.host, other.port)
            and (other.path == base or other.path.startswith(f"{base}/"))
        )  # fmt: skip


def _ipv6(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise ValueError(_FORM) from None


def _name_or_ipv4(host: str) -> str:
    """A name, or four decimal numbers; some programs take 127.1 and 0x7f000001 for addresses too."""
    last = host.rpartition(".")[2]
    if last.isdigit() or re.fullmatch(r"0x[0-9a-f]*", last):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise ValueError(_FORM) from None
    return host


class AllowList:
    """The addresses that the operator allows, and all that lie below them.

    Args:
        addresses: as the operator has written them.

    Raises:
        ValueError: one of them is no address, or has a query.
    """

    def __init__(self, addresses: Iterable[str]) -> None:
        self._allowed = tuple(_prefix(address) for address in addresses)

    def __bool__(self) -> bool:
        """Whether anything is allowed."""
        return bool(self._allowed)

    def check(self, url: str) -> tuple[Address, int]:
        """The address to ask, and which entry of the list allows it.

        Raises:
            NotListed: none does, or it is no address.
        """
        try:
            address = Address.parse(url)
        except ValueError as error:
            raise NotListed(f"externalScaler.url cannot be used: {error}") from error
        for index, allowed in enumerate(self._allowed):
            if allowed.covers(address):
                return address, index
        raise NotListed(
            f"{address.shown} is not among the addresses that the operator allows "
            "(setting external_scaler_urls of the recommender)"
        )


def _prefix(text: str) -> Address:
    address = Address.parse(text)
    if "?" in text:
        raise ValueError("an address of the allow-list has no query (?)")
    return address
