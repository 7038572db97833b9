import socket

import pytest

from devcluster import ports
from devcluster.errors import NoFreePort
from devcluster.ports import Ports


def test_a_free_port_can_be_bound() -> None:
    with socket.create_server(("127.0.0.1", Ports().free())) as server:
        assert server.getsockname()[1] > 0


def test_no_port_is_handed_out_twice() -> None:
    given = Ports()
    assert len({given.free() for _ in range(50)}) == 50


def test_a_taken_port_is_not_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    free = Ports().free()
    monkeypatch.setattr(ports, "_FIRST", free)
    monkeypatch.setattr(ports, "_LAST", free)
    with (
        socket.create_server(("127.0.0.1", free)),
        pytest.raises(NoFreePort, match=f"no free port on 127.0.0.1 between {free} and {free}"),
    ):
        Ports().free()


def test_a_port_that_was_just_given_up_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    free = Ports().free()
    with socket.create_server(("127.0.0.1", free)) as server:
        client = socket.create_connection(("127.0.0.1", free))
        served, _ = server.accept()
        # The side that closes first keeps the port in TIME_WAIT.
        served.close()
        client.close()
    monkeypatch.setattr(ports, "_FIRST", free)
    monkeypatch.setattr(ports, "_LAST", free)
    assert Ports().free() == free
