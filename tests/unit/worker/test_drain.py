"""From SIGTERM on: no request that a client had reason to send is lost, and the end comes in time."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from svc.worker.drain import GRACE_SECONDS
from tests.unit.worker.conftest import Variant, hide
from tests.unit.worker.process import Client, Worker, run_worker

Start = Callable[..., AbstractContextManager[Worker]]
HALF = GRACE_SECONDS / 2


@pytest.fixture
def start(variant: Variant, tmp_path: Path) -> Start:
    """Start a worker of this variant."""

    def make(*arguments: str, app: str = "asgi_app:app") -> AbstractContextManager[Worker]:
        path = [hide(tmp_path, variant.missing)]
        return run_worker("--loop", variant.loop, *arguments, app=app, python=variant.python, path=path)

    return make


@pytest.fixture
def worker(start: Start) -> Iterator[Worker]:
    with start() as running:
        yield running


def seconds_until_closed(client: Client) -> float:
    """How long the connection stays open with nothing more to come on it."""
    began = time.monotonic()
    assert client.rest() == b""
    return time.monotonic() - began


def test_an_idle_worker_leaves_at_once(start: Start) -> None:
    def seconds_to_leave() -> float:
        with start() as worker:
            began = time.monotonic()
            worker.terminate()
            assert worker.ended() == 0
            return time.monotonic() - began

    # To end takes long on a busy machine; but a worker that waits for the grace period does so each time.
    assert any(seconds_to_leave() < GRACE_SECONDS for _ in range(5))


def test_what_waits_in_the_queue_is_left_for_the_siblings(worker: Worker) -> None:
    with worker.client() as busy:
        busy.get()
        worker.terminate()
        with worker.client() as late:
            late.ask()
            assert busy.get()[0] == 200
            assert worker.ended() == 0
            # The listener is still open, here, as it is in systemd: a successor takes what waits.
            with run_worker(listeners=[worker.listener]) as successor:
                assert f"process {successor.process.pid}" in late.answer()[2].decode()


def test_idle_connections_can_ask_once_more_and_are_told_to_leave(worker: Worker) -> None:
    clients = [worker.client() for _ in range(5)]
    for client in clients:
        assert "connection" not in client.get()[1]
    worker.terminate()
    for client in clients:
        status, headers, _ = client.get()
        assert (status, headers["connection"]) == (200, "close")
        assert client.rest() == b""
        client.sock.close()
    assert worker.ended() == 0


def test_an_idle_connection_is_closed_after_the_grace_and_not_before(worker: Worker) -> None:
    with worker.client() as idle, worker.client() as fresh:
        idle.get()
        # A request on a later connection shows that the fresh one has been accepted too.
        with worker.client() as other:
            other.get()
        worker.terminate()
        assert seconds_until_closed(idle) > HALF
        assert fresh.rest() == b""
    assert worker.ended() == 0


def test_a_request_in_progress_completes_and_says_close(worker: Worker) -> None:
    with worker.client() as client:
        client.ask("/slow?seconds=1.5")
        with worker.client() as other:
            other.get()
        worker.terminate()
        status, headers, body = client.answer()
        assert (status, headers["connection"], body) == (200, "close", b"slow, but here\n")
        assert client.rest() == b""
    assert worker.ended() == 0


def test_a_stream_completes_and_its_connection_has_the_grace(worker: Worker) -> None:
    with worker.client() as client:
        client.ask("/stream?chunks=4&seconds=0.5")
        status, headers = client.head()
        worker.terminate()
        assert status == 200
        assert "connection" not in headers
        assert client.body(headers) == b"chunk 0\nchunk 1\nchunk 2\nchunk 3\nend\n"
        # Its head was sent before the drain, so the client may believe that it can ask again: it can.
        status, headers, _ = client.get()
        assert (status, headers["connection"]) == (200, "close")
    assert worker.ended() == 0


def test_a_request_half_sent_is_in_progress(worker: Worker) -> None:
    with worker.client() as head, worker.client() as body, worker.client() as idle:
        head.send(b"GET / HTTP/1.1\r\nHo")
        body.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234")
        idle.get()
        worker.terminate()
        assert seconds_until_closed(idle) > HALF  # the grace is over now, for those who are idle
        head.send(b"st: a\r\n\r\n")
        body.send(b"56789")
        assert head.answer()[0] == 200
        assert body.answer()[2] == b"10 bytes\n"
    assert worker.ended() == 0


def test_requests_sent_in_one_go_are_all_answered(worker: Worker) -> None:
    with worker.client() as before, worker.client() as after:
        after.get()
        before.send(
            b"GET /slow?seconds=0.5 HTTP/1.1\r\nHost: a\r\n\r\n"
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        with worker.client() as other:
            other.get()
        worker.terminate()
        after.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
        assert [before.answer()[0] for _ in range(3)] == [200, 200, 200]
        assert [after.answer()[0] for _ in range(2)] == [200, 200]
    assert worker.ended() == 0


def open_websocket(worker: Worker) -> ClientConnection:
    host, port = worker.listener.getsockname()
    return connect(f"ws://{host}:{port}/echo", proxy=None)


def keep_talking(websocket: ClientConnection) -> None:
    for _ in range(1_000_000):
        websocket.send("more" * 100)
        websocket.recv()


def test_websockets_are_closed_with_1012(worker: Worker) -> None:
    with open_websocket(worker) as websocket:
        websocket.send("before")
        assert websocket.recv() == "before"
        worker.terminate()
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
    assert worker.ended() == 0
    assert "websocket left: 1012" in worker.journal
    assert "Traceback" not in worker.journal


def test_a_websocket_in_full_flow_is_closed_with_1012_too(worker: Worker) -> None:
    with open_websocket(worker) as websocket:
        websocket.send("first")
        worker.process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            keep_talking(websocket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
    assert worker.ended() == 0


def test_at_the_deadline_what_is_left_is_named_and_cut_off(start: Start) -> None:
    with start("--drain", "1.2") as worker, worker.client() as slow, worker.client() as half:
        slow.ask("/slow?seconds=60")
        half.send(b"GET / HTTP/1.1\r\nHo")
        with worker.client() as other:
            other.get()
        worker.terminate()
        slow_name, half_name = (f"127.0.0.1:{client.sock.getsockname()[1]}" for client in (slow, half))
        slow.rest()
        half.rest()
        assert worker.ended() == 0
    assert f"<4>cut off after 1.2 s of drain: GET /slow from {slow_name}\n" in worker.journal
    assert f"<4>cut off after 1.2 s of drain: no complete request from {half_name}\n" in worker.journal
    assert worker.journal.count("cut off") == 2
    assert worker.journal.count("shutdown\n") == 1


def test_a_websocket_that_does_not_answer_is_named_at_the_deadline(start: Start) -> None:
    with start("--drain", "1") as worker, worker.client() as deaf:
        deaf.ask("/deaf", headers=[
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        ])  # fmt: skip
        assert deaf.head()[0] == 101
        worker.terminate()
        assert worker.ended() == 0
        assert b"\x88\x02\x03\xf4" in deaf.rest()  # a close frame with 1012
    assert "cut off after 1 s of drain: WebSocket /deaf from 127.0.0.1:" in worker.journal


def test_a_second_signal_changes_nothing(worker: Worker) -> None:
    with worker.client() as client:
        client.ask("/slow?seconds=1")
        with worker.client() as other:
            other.get()
        worker.terminate()
        worker.process.send_signal(signal.SIGTERM)
        worker.process.send_signal(signal.SIGINT)
        assert client.answer()[0] == 200
        worker.process.send_signal(signal.SIGTERM)
    assert worker.ended() == 0


def test_sigint_drains_as_well(worker: Worker) -> None:
    worker.process.send_signal(signal.SIGINT)
    worker.message("STOPPING=1")
    assert worker.ended() == 0


def test_sigterm_during_the_start_up_ends_it(tmp_path: Path) -> None:
    with run_worker(environment={"STARTUP_FAILS": "hang"}, ready=False) as worker:
        worker.line("start-up")
        worker.terminate()
        assert worker.ended() == 0
    (tmp_path / "importing.py").write_text(
        "import sys, threading\nprint('importing', file=sys.stderr, flush=True)\nthreading.Event().wait()\n"
    )
    with run_worker(app="importing:app", directory=tmp_path, ready=False) as worker:
        worker.line("importing")
        worker.process.terminate()
        assert worker.ended() == 0


def test_a_thread_that_never_ends_does_not_keep_the_worker(tmp_path: Path) -> None:
    (tmp_path / "threads.py").write_text(
        "import threading\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "async def app(scope, receive, send):\n"
        "    raise RuntimeError('no requests here')\n"
    )
    with run_worker(app="threads:app", directory=tmp_path) as worker:
        worker.terminate()
        assert worker.ended() == 0


def test_a_killed_worker_leaves_its_listener_to_the_others(worker: Worker) -> None:
    with worker.client() as client:
        client.get()
        os.kill(worker.process.pid, signal.SIGKILL)
        assert client.sock.recv(1) == b""
    with run_worker(listeners=[worker.listener]) as successor, successor.client() as client:
        assert client.get()[0] == 200
