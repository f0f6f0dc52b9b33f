"""Workers that are full, and clients that send nothing, on a real systemd."""

import contextlib
import select
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.client import load
from tests.system import versions
from tests.system.conftest import App
from tests.system.test_handover import EVERYTHING, Address
from tests.unit.worker.process import Client

# Says how many requests were inside when this one was, itself included.
COUNTING = """
import asyncio

inside = 0

async def app(scope, receive, send):
    global inside
    inside += 1
    seen = inside
    await asyncio.sleep(0.01)
    inside -= 1
    body = str(seen).encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""
SYN_RECV, ESTABLISHED = "03", "01"  # tcp_states.h of the kernel


@pytest.fixture
def address(app: App) -> Iterator[Address]:
    with Address(app.port) as one:
        yield one


@pytest.mark.parametrize("keep_alive", [False, True], ids=["fresh", "keep-alive"])
@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_worker_has_more_in_progress_than_it_may(app: App, concurrency: int, keep_alive: bool) -> None:
    app.deploy(COUNTING)
    app.start(2, more=f"[limits]\nconcurrency = {concurrency}\n")
    with load(app.url, connections=20, requests=600, keep_alive=keep_alive, keep_bodies=True) as clients:
        clients.wait(600)
    seen = clients.stop()
    assert seen.failed == 0, seen.table()
    inside = Counter(int(record.body) for record in seen.records)
    assert max(inside) == concurrency, inside


def test_what_waits_for_room_outlives_a_crash(app: App, address: Address) -> None:
    app.deploy(EVERYTHING)
    app.start(2, more="[limits]\nconcurrency = 1\n")
    with ExitStack() as stack:
        busy = [stack.enter_context(Client(address)) for _ in range(2)]
        for client in busy:
            client.send(b"POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\n")
        waiting = [stack.enter_context(Client(address)) for _ in range(20)]
        for client in waiting:
            client.ask()
        app.systemctl("kill", "--signal=KILL", "app@0.service")
        for client in waiting:
            assert client.answer()[0] == 200
        # Whose worker died is alone in having lost something.
        assert sorted(map(outcome, busy)) == ["", "200"]


def outcome(client: Client) -> str:
    """What becomes of a request whose last byte comes now: its status, or nothing when the worker died."""
    with contextlib.suppress(OSError, AssertionError):
        client.send(b".")
        return str(client.answer()[0])
    return ""


@pytest.mark.parametrize("limit", ["", "concurrency = 1\n"], ids=["unlimited", "one at a time"])
def test_two_thousand_silent_clients_starve_nobody(app: App, address: Address, limit: str) -> None:
    app.deploy(versions.good("1"))
    app.start(2, more=f"[limits]\nhead = 5\n{limit}")
    fresh = load(app.url, connections=5, keep_alive=False, timeout=5)
    kept = load(app.url, connections=5, keep_alive=True, timeout=5)
    with fresh, kept, ExitStack() as stack:
        silent = []
        for number in range(2000):
            silent.append(stack.enter_context(Client(address)))
            if number % 2:
                silent[-1].send(b"GET / HTTP/1.1\r\nHost: te")
        fresh.wait(300)
        kept.wait(300)
        for number, client in enumerate(silent):
            told = client.rest().partition(b"\r\n")[0]
            assert told == (b"HTTP/1.1 408 Request Timeout" if number % 2 else b"")
    for seen in (fresh.stop(), kept.stop()):
        assert seen.failed == 0, seen.table()
    assert len(app.pids()) == 2


def test_the_kernel_keeps_a_client_that_sends_nothing_for_a_moment(app: App, address: Address) -> None:
    app.deploy(versions.good("1"))
    app.start(1)
    with Client(address) as silent, Client(address) as speaking:  # a health check sees nothing of it
        assert state(silent) == SYN_RECV
        assert speaking.get()[0] == 200
        poll = select.poll()
        poll.register(silent.sock, select.POLLIN)
        while state(silent) == SYN_RECV:
            assert poll.poll(100) == [], "closed, or told something"
        assert state(silent) == ESTABLISHED
        assert silent.get()[0] == 200


def state(client: Client) -> str:
    """The state of the server's side of a connection, proc_net_tcp(5)."""
    port, peer = client.sock.getpeername()[1], client.sock.getsockname()[1]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, found, *_ = line.split()
        if (int(local.partition(":")[2], 16), int(remote.partition(":")[2], 16)) == (port, peer):
            return found
    return ""
