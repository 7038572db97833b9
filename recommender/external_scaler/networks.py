"""Where a connection may lead to: checked on the address that is connected to, whoever has named it.

A name may have another address each time that it is looked up, so what was found before says nothing.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

from recommender.external_scaler.errors import NotAllowed

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
AddrInfo = tuple[int, int, int, str, Any]
"""What `socket.getaddrinfo` gives; the last is what is connected to, its first element the IP address."""

# Where clouds tell machines their credentials, other than at link-local addresses: Alibaba, Azure, Oracle,
# Amazon (of machines and of pods), Google.
_METADATA: Final = tuple(
    map(
        ipaddress.ip_network,
        ("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "fd00:ec2::/32", "fd20:ce::/64"),
    )
)
# The well-known prefix of RFC 6052 and the local one of RFC 8215.
_NAT64: Final = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48")))
_LOOKUPS: Final = 4


def is_local(address: IpAddress) -> bool:
    """Whether an address leads to this machine, its link, all machines, or a cloud's metadata."""
    if isinstance(address, ipaddress.IPv6Address) and (embedded := _embedded(address)) is not None:
        return is_local(embedded)
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or address.is_reserved
        or any(address in network for network in _METADATA)
        or (address.version == 4 and int(address) >> 24 == 0)  # "this network", which Linux takes for itself
    )


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one leads to."""
    translated = any(address in network for network in _NAT64)
    if translated or (int(address) >> 32 == 0 and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo[1] if address.teredo is not None else None
    return address.ipv4_mapped or address.sixtofour or teredo


def socket_factory(*, allow_local: bool) -> Callable[[AddrInfo], socket.socket]:
    """Makes the sockets of a connector: the last step before it connects.

    Args:
        allow_local: whether local addresses are as good as any.
    """

    def make(info: AddrInfo) -> socket.socket:
        family, type_, protocol, _, target = info
        if not allow_local and is_local(ipaddress.ip_address(target[0])):
            raise NotAllowed(
                f"its host has the address {target[0]}, which is local or a cloud's; these are not asked "
                "(setting external_scaler_allow_local of the recommender)"
            )
        return socket.socket(family, type_, protocol)

    return make


class Lookups(AbstractResolver):
    """Looks names up in threads of its own: a name server that does not answer must hold up nothing else."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="external-scaler-lookup")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host.

        Raises:
            OSError: it has none.
        """
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
        )
        return [
            ResolveResult(
                hostname=host,
                host=str(target[0]),
                port=int(target[1]),
                family=found_family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found_family, _, protocol, _, target in found
        ]

    async def close(self) -> None:
        """Let go of the threads, without waiting for them."""
        self._threads.shutdown(wait=False, cancel_futures=True)
