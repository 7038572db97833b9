import ipaddress
import socket

import pytest

from recommender.external_scaler.errors import NotAllowed
from recommender.external_scaler.networks import is_local, socket_factory


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%2",
        "ff02::1",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "fd00:ec2::23",
        "fd20:ce::254",
        "64:ff9b:1::a9fe:a9fe",
        "2001:0:a00:1::80ff:fffe",
    ],
)
def test_addresses_of_this_machine_its_link_and_metadata_are_local(address: str) -> None:
    assert is_local(ipaddress.ip_address(address))
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(NotAllowed, match="external_scaler_allow_local"):
        socket_factory(allow_local=False)((family, socket.SOCK_STREAM, 6, "", (address, 80)))


@pytest.mark.parametrize(
    "address",
    ["10.0.0.7", "192.168.1.1", "172.16.0.1", "8.8.8.8", "fd00::7", "2606:4700::1111", "::ffff:10.0.0.7"],
)
def test_addresses_of_the_clusters_network_and_beyond_are_not(address: str) -> None:
    assert not is_local(ipaddress.ip_address(address))


def test_a_local_address_gets_a_socket_where_the_operator_says_so() -> None:
    info = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))
    with socket_factory(allow_local=True)(info) as made:
        assert made.family == socket.AF_INET
