"""Which listener a connection goes to: what the kernel does is held against what we say that it does."""

import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svc.worker.listeners import Listener
from svc.worker.log import Journal
from svc.worker.steering import at_random, attach, by_address, place_of, steer

V4 = [f"127.0.{number}.{number * 7 % 256}" for number in range(1, 120)]


@contextmanager
def group(count: int, host: str = "127.0.0.1", *, dual: bool = False) -> Iterator[list[socket.socket]]:
    """So many listeners of one address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with ExitStack() as stack:
        made: list[socket.socket] = []
        for _ in range(count):
            sock = stack.enter_context(socket.socket(family))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family is socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
            sock.bind((host, made[0].getsockname()[1] if made else 0))
            sock.listen(1024)
            sock.setblocking(False)
            made.append(sock)
        yield made


def place(listeners: Sequence[socket.socket], client: str) -> int:
    """At which of `listeners` a connection from `client` arrives."""
    family, host = (socket.AF_INET6, "::1") if ":" in client else (socket.AF_INET, "127.0.0.1")
    with socket.socket(family) as sock:
        sock.bind((client, 0))
        sock.connect((host, listeners[0].getsockname()[1]))
        for number, listener in enumerate(listeners):
            try:
                listener.accept()[0].close()
            except BlockingIOError:
                continue
            return number
    raise AssertionError("it arrived nowhere")


@pytest.mark.parametrize("count", [1, 2, 5, 16])
def test_one_address_always_arrives_at_the_same_listener(count: int) -> None:
    with group(count) as listeners:
        attach(listeners[-1], by_address(count))
        for client in V4:
            assert {place(listeners, client) for _ in range(3)} == {place_of(client, count)}


def test_a_dual_stack_listener_gets_both_kinds_of_clients() -> None:
    with group(5, "::", dual=True) as listeners:
        attach(listeners[0], by_address(5))
        for client in ["::1", *V4]:
            assert place(listeners, client) == place_of(client, 5)


def test_addresses_spread_evenly() -> None:
    spread = Counter(place_of(f"10.0.{a}.{b}", 7) for a in range(40) for b in range(256))
    assert len(spread) == 7
    assert max(spread.values()) <= 1.15 * min(spread.values())
    spread = Counter(place_of(f"2001:db8:{a:x}:{b:x}::1", 7) for a in range(40) for b in range(256))
    assert len(spread) == 7
    assert max(spread.values()) <= 1.15 * min(spread.values())


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_a_64_of_ipv6_is_one_client(network: int, one: int, other: int) -> None:
    one6, other6 = (
        socket.inet_ntop(socket.AF_INET6, (network << 64 | host).to_bytes(16, "big")) for host in (one, other)
    )
    assert place_of(one6, 64) == place_of(other6, 64)


def test_addresses_as_python_writes_them() -> None:
    assert place_of("::ffff:192.0.2.1", 64) == place_of("192.0.2.1", 64)
    assert place_of("::192.0.2.1", 64) == place_of("::1", 64)
    assert place_of("fe80::1%eth0", 64) == place_of("fe80::2", 64)


def test_a_listener_that_nobody_knows_yet_gets_nothing() -> None:
    with group(3) as listeners:
        attach(listeners[0], at_random(2))
        assert {place(listeners, "127.0.0.1") for _ in range(100)} == {0, 1}
        attach(listeners[0], at_random(3))
        assert {place(listeners, "127.0.0.1") for _ in range(100)} == {0, 1, 2}


def test_a_new_program_takes_the_place_of_the_old_one() -> None:
    with group(4) as listeners:
        attach(listeners[0], by_address(4))
        attach(listeners[1], by_address(4))
        assert [place(listeners, client) for client in V4] == [place_of(client, 4) for client in V4]


def test_each_address_is_steered_by_itself(capfd: pytest.CaptureFixture[str]) -> None:
    with group(3) as one, group(2, "::1") as other:
        steer([Listener("http", sock) for sock in (*one, *other)], by_address, Journal())
        assert [place(one, client) for client in V4] == [place_of(client, 3) for client in V4]
        assert place(other, "::1") == place_of("::1", 2)
    assert capfd.readouterr().err == ""


def test_what_cannot_be_steered_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as alone:
        steer([Listener("http", alone)], at_random, Journal())
        assert capfd.readouterr().err == ""  # there is nothing to choose
        steer([Listener("http", alone)], by_address, Journal())
    assert "the socket units need ReusePort=yes" in capfd.readouterr().err
