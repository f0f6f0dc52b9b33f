"""A worker that stops hands its connections to its siblings: the client notices nothing at all."""

import asyncio
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from svc.worker.drain import GRACE_SECONDS
from svc.worker.moving import expect_request
from svc.worker.uvicorn_seam import KEEP_ALIVE_SECONDS, Http
from tests.client import load
from tests.unit.worker.conftest import Variant, hide
from tests.unit.worker.process import PATIENCE, Client, Worker, listen, run_worker


class Siblings:
    """Workers of one app on one listener."""

    def __init__(self, variant: Variant, folder: Path, stack: ExitStack) -> None:
        self._variant = variant
        self._folder = folder
        self._stack = stack
        self._hidden = folder / "hidden"
        self._hidden.mkdir()
        self.listener = stack.enter_context(listen())

    def start(self, slot: str, *arguments: str) -> Worker:
        """Start a worker in a slot."""
        return self._stack.enter_context(
            run_worker(
                "--loop",
                self._variant.loop,
                *arguments,
                python=self._variant.python,
                path=[hide(self._hidden, self._variant.missing)],
                listeners=[self.listener],
                slot=slot,
                runtime=self._folder,
            )
        )

    def client(self, worker: Worker) -> Client:
        """A client with a kept connection to this worker, which must be the only one that accepts."""
        client = self._stack.enter_context(worker.client())
        assert served_by(client, worker)
        return client


@pytest.fixture
def siblings(variant: Variant, tmp_path: Path) -> Iterator[Siblings]:
    with ExitStack() as stack:
        yield Siblings(variant, tmp_path, stack)


def served_by(client: Client, worker: Worker) -> bool:
    """Ask on the connection that is there; whether it is this worker that answers, and keeps it."""
    status, headers, body = client.get()
    assert status == 200
    return body.decode().endswith(f"process {worker.process.pid}\n") and "connection" not in headers


def moves_to(client: Client, worker: Worker) -> bool:
    """Ask until this worker answers: a request may reach the one that drains, just before it gives."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        status, headers, body = client.get()
        assert (status, headers.get("connection")) == (200, None)
        if body.decode().endswith(f"process {worker.process.pid}\n"):
            return True
    return False


def test_idle_connections_go_on_with_a_sibling(siblings: Siblings) -> None:
    first = siblings.start("0")
    clients = [siblings.client(first) for _ in range(50)]
    fresh = siblings._stack.enter_context(first.client())
    assert served_by(clients[0], first)  # so the fresh one is accepted too
    second = siblings.start("1")
    first.terminate()
    assert first.ended() == 0
    assert "handed 51 connections over to siblings" in first.journal
    assert all(served_by(client, second) for client in [*clients, fresh])
    # And back: the successor takes, and its sibling, which took, gives.
    third = siblings.start("0")
    second.terminate()
    assert second.ended() == 0
    assert all(served_by(client, third) for client in [*clients, fresh])


def test_siblings_share_them_evenly(siblings: Siblings) -> None:
    first = siblings.start("0")
    clients = [siblings.client(first) for _ in range(300)]
    others = [siblings.start(slot) for slot in ("1", "2", "surge")]
    first.terminate()
    assert first.ended() == 0
    who = Counter(client.get()[2] for client in clients)
    # One that has no time to answer, on a machine that is busy, is not waited for.
    assert 1 < len(who) <= len(others)
    share = 300 / len(who)
    assert all(0.7 * share <= count <= 1.3 * share for count in who.values()), who


def test_a_busy_connection_goes_when_its_answer_is_out(siblings: Siblings) -> None:
    first = siblings.start("0")
    slow, streamed = siblings.client(first), siblings.client(first)
    slow.ask("/slow?seconds=1")
    streamed.ask("/stream?chunks=5&seconds=0.2")
    status, headers = streamed.head()
    second = siblings.start("1")
    first.terminate()
    assert status == 200
    assert streamed.body(headers).endswith(b"end\n")
    assert moves_to(streamed, second)
    status, headers, body = slow.answer()
    assert (status, body) == (200, b"slow, but here\n")
    assert "connection" not in headers
    assert moves_to(slow, second)
    assert first.ended() == 0


def test_a_client_in_a_hurry_cannot_keep_the_worker(siblings: Siblings) -> None:
    first = siblings.start("0")
    client = siblings.client(first)
    answers: list[bytes] = []
    stopping = threading.Event()

    def hurry() -> None:
        while not stopping.is_set():
            client.ask("/slow?seconds=0.1")  # is always in progress, whenever somebody looks
            answers.append(client.answer()[2])

    thread = threading.Thread(target=hurry)
    thread.start()
    try:
        second = siblings.start("1")
        first.terminate()
        assert first.ended() == 0
    finally:
        stopping.set()
        thread.join()
    assert served_by(client, second)
    assert set(answers) == {b"slow, but here\n"}
    assert "handed 1 connections" in first.journal


def test_a_client_that_always_has_a_request_waiting_cannot_either(siblings: Siblings) -> None:
    first = siblings.start("0")
    client = siblings.client(first)
    asked = b"GET /slow?seconds=0.05 HTTP/1.1\r\nHost: a\r\n\r\n"
    client.send(asked)
    client.send(asked)
    assert client.answer()[0] == 200
    siblings.start("1")
    first.process.send_signal(signal.SIGTERM)
    while first.process.poll() is None:
        client.send(asked)
        status, headers, body = client.answer()
        assert (status, headers.get("connection"), body) == (200, None, b"slow, but here\n")
    assert first.ended() == 0
    assert "cut off" not in first.journal
    assert client.answer()[2] == b"slow, but here\n"


def test_a_pipeline_is_answered_when_its_sibling_goes_too(siblings: Siblings) -> None:
    """Whoever answers the last request, and when: nothing is reset, and only that answer closes."""
    first = siblings.start("0")
    client = siblings.client(first)
    second = siblings.start("1")
    asked = b"GET /slow?seconds=0.3 HTTP/1.1\r\nHost: a\r\n\r\n"
    client.send(asked * 2)
    first.terminate()
    _, headers, body = client.answer()
    assert (body, headers.get("connection")) == (b"slow, but here\n", None)
    client.send(asked)  # it is left for the second
    second.terminate()
    for connection in (None, "close"):
        _, headers, body = client.answer()
        assert (body, headers.get("connection")) == (b"slow, but here\n", connection)
    assert client.rest() == b""
    assert (first.ended(), second.ended()) == (0, 0)
    assert "cut off" not in first.journal + second.journal


def test_half_a_request_is_finished_where_it_began(siblings: Siblings) -> None:
    first = siblings.start("0")
    head, body = siblings.client(first), siblings.client(first)
    head.send(b"GET / HTTP/1.1\r\nHo")
    body.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234")
    idle = siblings.client(first)
    second = siblings.start("1")
    first.terminate()
    assert moves_to(idle, second)
    head.send(b"st: a\r\n\r\n")
    assert f"process {first.process.pid}" in head.answer()[2].decode()
    body.send(b"56789")
    assert body.answer()[2] == b"10 bytes\n"
    assert moves_to(head, second)
    assert moves_to(body, second)
    assert first.ended() == 0


def test_requests_sent_in_one_go_are_all_answered(siblings: Siblings) -> None:
    first = siblings.start("0")
    before, after = siblings.client(first), siblings.client(first)
    before.send(
        b"GET /slow?seconds=0.5 HTTP/1.1\r\nHost: a\r\n\r\n"
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        b"GET /upload HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    second = siblings.start("1")
    first.terminate()
    after.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
    assert [before.answer()[0] for _ in range(3)] == [200, 200, 200]
    assert [after.answer()[0] for _ in range(3)] == [200, 200, 200]
    assert moves_to(before, second)
    assert moves_to(after, second)
    assert first.ended() == 0


def test_a_client_that_reads_slowly_gets_every_byte_and_then_the_sibling(siblings: Siblings) -> None:
    first = siblings.start("0")
    client = siblings.client(first)
    client.ask("/big?bytes=30000000")
    status, headers = client.head()  # the buffers of the kernel are full by now
    second = siblings.start("1")
    first.terminate()
    with first.client() as other:
        assert served_by(other, second)
    assert first.process.poll() is None
    assert status == 200
    assert client.body(headers) == b"x" * 30_000_000
    assert served_by(client, second)
    assert first.ended() == 0


def test_an_answer_before_the_end_of_the_request_leaves_nothing_behind(siblings: Siblings) -> None:
    first = siblings.start("0")
    client, silent = siblings.client(first), siblings.client(first)
    for one in (client, silent):
        one.send(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234")
        assert one.answer()[2] == b"seen enough\n"
    second = siblings.start("1")
    first.terminate()
    # A sibling would take the rest of the body for a request. So it goes only after one more.
    client.send(b"56789GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert client.answer()[0] == 200
    assert moves_to(client, second)
    began = time.monotonic()
    assert silent.rest() == b""
    assert time.monotonic() - began > GRACE_SECONDS / 2
    assert first.ended() == 0


def test_at_the_deadline_what_is_left_is_named(siblings: Siblings) -> None:
    first = siblings.start("0", "--drain", "1")
    half, idle = siblings.client(first), siblings.client(first)
    half.send(b"GET / HTTP/1.1\r\nHo")
    second = siblings.start("1")
    first.terminate()
    assert first.ended() == 0
    name = f"127.0.0.1:{half.sock.getsockname()[1]}"
    assert f"<4>cut off after 1 s of drain: no complete request from {name}\n" in first.journal
    assert first.journal.count("cut off") == 1
    assert served_by(idle, second)


def test_a_websocket_is_closed_with_1012_whoever_is_there(siblings: Siblings) -> None:
    first = siblings.start("0")
    host, port = siblings.listener.getsockname()
    with connect(f"ws://{host}:{port}/echo", proxy=None) as websocket:
        websocket.send("before")
        assert websocket.recv() == "before"
        siblings.start("1")
        first.terminate()
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    assert first.ended() == 0


def test_a_hung_sibling_swallows_nothing(siblings: Siblings) -> None:
    first = siblings.start("0")
    clients = [siblings.client(first) for _ in range(20)]
    hung = siblings.start("1")
    hung.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, hung.process.pid, os.WSTOPPED | os.WNOWAIT)
    first.terminate()
    for client in clients:
        assert f"process {first.process.pid}" in client.get()[2].decode()
    for client in clients:
        assert client.rest() == b""
    assert first.ended() == 0
    hung.process.send_signal(signal.SIGCONT)
    with first.client() as client:
        assert served_by(client, hung)


def test_a_hung_sibling_is_passed_over(siblings: Siblings) -> None:
    first = siblings.start("0")
    clients = [siblings.client(first) for _ in range(100)]
    hung, well = siblings.start("1"), siblings.start("2")
    hung.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, hung.process.pid, os.WSTOPPED | os.WNOWAIT)
    first.terminate()
    assert first.ended() == 0
    assert all(served_by(client, well) for client in clients)
    hung.process.send_signal(signal.SIGCONT)


def test_when_all_stop_at_once_each_client_can_still_ask(siblings: Siblings) -> None:
    first = siblings.start("0")
    clients = [siblings.client(first) for _ in range(30)]
    workers = [first, *(siblings.start(slot) for slot in ("1", "2"))]
    for worker in workers:
        worker.process.terminate()
    for client in clients:
        status, _, _ = client.get()
        assert status == 200
    assert [worker.ended() for worker in workers] == [0, 0, 0]


def test_a_worker_that_was_killed_is_no_sibling(siblings: Siblings) -> None:
    first, second = siblings.start("0"), siblings.start("1")
    second.process.kill()
    second.process.wait()
    client = siblings.client(first)
    first.terminate()
    status, headers, _ = client.get()
    assert (status, headers["connection"]) == (200, "close")
    assert first.ended() == 0


@pytest.mark.parametrize("think", [0.0, 0.003], ids=["no pause", "a pause"])
def test_no_client_needs_another_connection_while_workers_come_and_go(
    siblings: Siblings, think: float
) -> None:
    host, port = siblings.listener.getsockname()
    here = siblings.start("0")
    with load(f"http://{host}:{port}/", connections=30, keep_alive=True, think=think) as clients:
        for slot in ("1", "0", "1", "0", "1", "0"):
            clients.wait(200)
            successor = siblings.start(slot)
            clients.wait(200)
            here.terminate()
            assert here.ended() == 0
            here = successor
        clients.wait(200)
    seen = clients.stop()
    assert seen.failed == 0, seen.table()
    assert (seen.reconnects, seen.connections) == (0, 30)


def test_a_connection_that_was_taken_over_may_not_idle_for_ever() -> None:
    async def seconds() -> float:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            transport, protocol = await loop.connect_accepted_socket(Http(_app).make_protocol, ours)
            expect_request(protocol)
            left = float(protocol.timeout_keep_alive_task.when() - loop.time())  # type: ignore[attr-defined]
            transport.close()
            await asyncio.sleep(0)
        return left

    assert KEEP_ALIVE_SECONDS - 5 < asyncio.run(seconds()) <= KEEP_ALIVE_SECONDS


async def _app(_scope: object, _receive: Callable[..., object], _send: Callable[..., object]) -> None:
    raise RuntimeError("no requests here")
