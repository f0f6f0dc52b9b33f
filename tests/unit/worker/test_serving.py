"""A worker answers, and tells systemd what it does, on every loop, parser and uvicorn that there is."""

import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.worker.conftest import Variant, hide
from tests.unit.worker.process import Worker, listen, run_worker


@pytest.fixture
def worker(variant: Variant, tmp_path: Path) -> Iterator[Worker]:
    with run_worker(
        "--loop", variant.loop, python=variant.python, path=[hide(tmp_path, variant.missing)]
    ) as running:
        yield running


def test_messages_come_in_order(variant: Variant, tmp_path: Path) -> None:
    with run_worker(
        "--loop",
        variant.loop,
        python=variant.python,
        path=[hide(tmp_path, variant.missing)],
        environment={"WATCHDOG_USEC": "200000"},
    ) as worker:
        worker.message("WATCHDOG=1")
        worker.message("WATCHDOG=1")
        worker.terminate()
        assert worker.ended() == 0
    assert worker.messages[0] == "READY=1\nSTATUS=0 connections, 0 requests in progress, 0 answered"
    kinds = [message.partition("=")[0] for message in worker.messages]
    assert set(kinds[1 : kinds.index("STOPPING")]) == {"WATCHDOG"}
    assert kinds.count("READY") == kinds.count("STOPPING") == 1
    assert "RELOADING" not in "".join(worker.messages)


def test_the_status_has_figures_every_five_seconds_at_most() -> None:
    with run_worker() as worker, worker.client() as client:
        for _ in range(3):
            client.get()
        assert worker.message("STATUS=") == "STATUS=1 connections, 0 requests in progress, 3 answered"


def test_keep_alive_head_and_headers(worker: Worker) -> None:
    with worker.client() as client:
        status, headers, body = client.get()
        assert status == 200
        assert body.endswith(f", process {worker.process.pid}\n".encode())
        assert "server" not in headers
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", headers["date"])
        client.ask(method="HEAD")
        assert client.answer(bodiless=True)[0] == 200
        assert client.get()[0] == 200


def test_the_date_is_kept_fresh(worker: Worker) -> None:
    with worker.client() as client:
        assert client.get()[1]["date"] != client.get("/slow?seconds=1.1")[1]["date"]


def test_three_requests_in_one_go_have_three_answers(worker: Worker) -> None:
    with worker.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
        assert [client.answer()[0] for _ in range(3)] == [200, 200, 200]


def test_streams_and_uploads(worker: Worker) -> None:
    with worker.client() as client:
        assert client.get("/stream?chunks=2&seconds=0")[2] == b"chunk 0\nchunk 1\nend\n"
        client.ask("/upload", "POST", b"x" * 3_000_000)
        assert client.answer()[2] == b"3000000 bytes\n"


def test_a_header_that_trickles_in_and_one_that_never_ends(worker: Worker) -> None:
    with worker.client() as slow, worker.client() as other:
        for byte in b"GET / HTTP/1.1\r\nHo":
            slow.send(bytes([byte]))
            assert other.get()[0] == 200
        slow.send(b"st: a\r\n\r\n")
        assert slow.answer()[0] == 200
        slow.send(b"GET / HTTP/1.1\r\nHo")
    with worker.client() as client:
        assert client.get()[0] == 200


def test_a_client_that_closes_its_sending_side_has_its_answer(worker: Worker) -> None:
    with worker.client() as client:
        client.ask()
        client.sock.shutdown(socket.SHUT_WR)
        assert client.answer()[0] == 200
    with worker.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHo")
        client.sock.shutdown(socket.SHUT_WR)
        assert client.rest() == b""


def test_an_error_in_the_application_is_a_500_and_a_traceback(worker: Worker) -> None:
    with worker.client() as client:
        assert client.get("/fail")[0] == 500
    assert "<3>RuntimeError: this request always fails" in worker.line("RuntimeError: this")


def test_lifespan_runs_once_and_its_state_reaches_requests(worker: Worker, variant: Variant) -> None:
    with worker.client() as client:
        passed_on = variant.name != "uvicorn-0.17"  # lifespan state came with 0.22
        assert client.get()[2].startswith(b"hello from the start-up" if passed_on else b"hello, ")
    worker.terminate()
    assert worker.ended() == 0
    assert worker.journal.count("start-up\n") == worker.journal.count("shutdown\n") == 1


def test_several_listeners_of_each_kind(loop: str, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with (
        listen() as one,
        listen(socket.AF_INET6, ("::1", 0)) as two,
        listen(socket.AF_UNIX, path) as three,
        run_worker("--loop", loop, listeners=[one, two, three], names="http-0:http-1:http-2") as worker,
    ):
        for listener in (one, two, three):
            worker.listener = listener
            with worker.client() as client:
                assert client.get()[0] == 200
        said = worker.line("ready on")
        assert f"http-2 (unix:{path})" in said
        assert "http-1 ([::1]:" in said


def test_tcp_nodelay_is_set_on_accepted_connections(loop: str, tmp_path: Path) -> None:
    (tmp_path / "nodelay.py").write_text(
        "import os, socket\n"
        "def option(fd):\n"
        "    sock = socket.socket(fileno=os.dup(fd))\n"
        "    with sock:\n"
        "        if sock.type != socket.SOCK_STREAM or sock.family != socket.AF_INET: return None\n"
        "        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN): return None\n"
        "        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)\n"
        "async def app(scope, receive, send):\n"
        "    assert scope['type'] == 'http'\n"
        "    found = []\n"
        "    for name in os.listdir('/proc/self/fd'):\n"
        "        try: found.append(option(int(name)))\n"
        "        except OSError: pass\n"
        "    body = repr([value for value in found if value is not None]).encode()\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "    await send({'type': 'http.response.body', 'body': body})\n"
    )
    with (
        run_worker("--loop", loop, app="nodelay:app", directory=tmp_path) as worker,
        worker.client() as client,
    ):
        assert client.get()[2] == b"[1]"


def test_without_a_notification_socket_everything_works(variant: Variant) -> None:
    with run_worker(python=variant.python, environment={"NOTIFY_SOCKET": ""}, ready=False) as worker:
        worker.line("ready on")
        with worker.client() as client:
            assert client.get()[0] == 200
        worker.process.terminate()
        assert worker.ended() == 0


def test_the_watchdogs_signal_prints_where_every_thread_is() -> None:
    with run_worker() as worker, worker.client() as client:
        client.ask("/hang?seconds=60")
        client.ask("/hang?seconds=60")
        worker.process.send_signal(signal.SIGABRT)
        assert worker.ended() == -signal.SIGABRT
        assert "Fatal Python error: Aborted" in worker.journal


EXITS = """
import asyncio, sys, threading

threading.Thread(target=threading.Event().wait).start()

async def leave():
    {end}

async def app(scope, receive, send):
    assert scope["type"] == "http"
    asyncio.create_task(leave())
    await asyncio.Event().wait()
"""


@pytest.mark.parametrize(("end", "status"), [("sys.exit(5)", 5), ("raise KeyboardInterrupt", 1)])
def test_a_thread_does_not_keep_a_worker_that_a_task_has_ended(
    loop: str, end: str, status: int, tmp_path: Path
) -> None:
    (tmp_path / "exits.py").write_text(EXITS.format(end=end))
    with (
        # Of uvloop's server that is left open, an error would be in the way.
        run_worker(
            "--loop", loop, app="exits:app", directory=tmp_path, environment={"PYTHONWARNINGS": ""}
        ) as worker,
        worker.client() as client,
    ):
        client.ask()
        assert worker.ended() == status


FORKS = """
import os, signal

def app(environ, start_response):
    child = os.fork()
    if not child:
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(7)
    start_response("200 OK", [])
    return [b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]
"""


def test_sigterm_ends_a_child_that_the_application_has_forked(loop: str, tmp_path: Path) -> None:
    (tmp_path / "forks.py").write_text(FORKS)
    with (
        run_worker("--loop", loop, app="forks:app", directory=tmp_path) as worker,
        worker.client() as client,
    ):
        assert client.get()[2] == b"%d" % -signal.SIGTERM
        worker.terminate()
        assert worker.ended() == 0
