"""Which addresses are open, held against sockets that really are."""

import socket
from pathlib import Path

import pytest

from svc.app import Family, Listen
from svc.listening import is_open


@pytest.mark.parametrize(("family", "host"), [(Family.INET, "127.0.0.1"), (Family.INET6, "::1")])
def test_a_tcp_listener_is_seen_until_it_closes(family: Family, host: str) -> None:
    with socket.create_server(
        (host, 0), family=socket.AF_INET6 if family is Family.INET6 else socket.AF_INET
    ) as server:
        port = server.getsockname()[1]
        assert is_open(Listen(family, host, port))
        with socket.create_connection((host, port)) as client:
            assert not is_open(Listen(family, host, client.getsockname()[1]))
    assert not is_open(Listen(family, host, port))


def test_a_unix_listener_is_seen_and_a_bound_socket_alone_is_none(tmp_path: Path) -> None:
    listen = Listen(Family.UNIX, path=str(tmp_path / "a socket"))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(listen.path)
        assert not is_open(listen)
        server.listen()
        assert is_open(listen)


def test_a_host_without_ipv6(tmp_path: Path) -> None:
    assert not is_open(Listen(Family.INET6, "::1", 80), proc=tmp_path)
