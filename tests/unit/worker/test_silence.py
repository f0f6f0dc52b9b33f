"""Clients that connect and send no request, or never the whole of its head."""

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from svc.worker.log import Journal
from svc.worker.silence import MOST, Silence
from tests.unit.worker.conftest import Variant, hide
from tests.unit.worker.process import APPS, Client, Worker, run_worker
from tests.unit.worker.test_room import look_around, upload

PART = b"GET / HTTP/1.1\r\nHost: te"


@pytest.fixture
def worker(variant: Variant, tmp_path: Path) -> Iterator[Worker]:
    with run_worker(
        "--loop",
        variant.loop,
        "--head",
        "0.4",
        python=variant.python,
        path=[hide(tmp_path, variant.missing)],
        environment={"WATCHDOG_USEC": "100000"},
    ) as running:
        yield running


def test_who_sends_nothing_is_closed_without_a_word(worker: Worker) -> None:
    with worker.client() as client:
        assert client.rest() == b""


def test_who_sends_a_part_of_a_head_is_told(worker: Worker) -> None:
    with worker.client() as client:
        client.send(PART)
        status, headers, body = client.answer()
        assert (status, headers["connection"], body) == (408, "close", b"Request Timeout")
        assert client.rest() == b""


def test_a_byte_now_and_then_does_not_help(worker: Worker) -> None:
    with worker.client() as client:
        for byte in PART:
            client.send(bytes([byte]))
            look_around(worker)
            if select_readable(client):
                break
        assert client.answer()[0] == 408


def select_readable(client: Client) -> bool:
    client.sock.setblocking(False)
    try:
        return bool(client.sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        client.sock.settimeout(30)


def test_the_next_head_on_a_kept_connection_has_its_time_too(worker: Worker) -> None:
    with worker.client() as client:
        assert client.get()[0] == 200
        client.send(PART)
        assert client.answer()[0] == 408
        assert client.rest() == b""


def test_idle_connections_slow_uploads_and_answers_stay(worker: Worker) -> None:
    with ExitStack() as stack:
        idle, uploading, waiting, websocket = (stack.enter_context(worker.client()) for _ in range(4))
        idle.get()
        upload(uploading)
        waiting.ask("/slow?seconds=1.5")
        websocket.send(
            b"GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert websocket.head()[0] == 101
        for _ in range(2):  # twice their time, and they are older
            with worker.client() as silent:
                assert silent.rest() == b""
        assert idle.get()[0] == 200
        uploading.send(b"3")
        assert uploading.answer()[0] == 200
        assert waiting.answer()[0] == 200
        websocket.send(b"\x81\x82\0\0\0\0hi")
        assert websocket._exactly(4) == b"\x81\x02hi"


def test_what_came_while_the_application_was_busy_is_answered(worker: Worker) -> None:
    with worker.client() as busy, worker.client() as late, worker.client() as half:
        half.send(PART)
        busy.get()
        look_around(worker)
        busy.ask("/hang?seconds=1")
        late.ask()
        half.send(b"st\r\n\r\n")
        assert late.answer()[0] == 200
        assert half.answer()[0] == 200


def test_with_too_many_some_are_closed_and_a_normal_client_is_served(loop: str) -> None:
    with (
        run_worker("--loop", loop, "--head", "0", environment={"WATCHDOG_USEC": "100000"}) as worker,
        ExitStack() as stack,
    ):
        silent = [stack.enter_context(worker.client()) for _ in range(MOST + 100)]
        poll = select.poll()
        for client in silent:
            poll.register(client.sock, select.POLLIN)
        while len(poll.poll(0)) < 100:
            with worker.client() as client:
                assert client.get()[0] == 200
            look_around(worker)
        assert len(poll.poll(0)) == 100


class Connection:
    """As much of a connection of uvicorn's as is looked at."""

    def __init__(self) -> None:
        self.cycle = self.scope = self.timeout_keep_alive_task = None
        self.ours, self.theirs = socket.socketpair()
        self.transport = self
        self.closed = False

    def get_extra_info(self, _: str) -> socket.socket:
        return self.ours

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def test_the_oldest_go_first(capsys: pytest.CaptureFixture[str]) -> None:
    http = SimpleNamespace(connections=set(), is_busy=lambda _: False)
    now = 0.0
    silence = Silence(http, 60.0, lambda: now, Journal(), most=10)  # type: ignore[arg-type]
    ages: list[list[Connection]] = []
    try:
        for _ in range(4):
            ages.append([Connection() for _ in range(4)])
            http.connections.update(ages[-1])
            silence.look()
            now += 15.0
        assert [sum(one.closed for one in age) for age in ages] == [4, 2, 0, 0]
        http.connections.difference_update(one for age in ages for one in age if one.closed)
        silence.look()  # after 60 s
        assert [sum(one.closed for one in age) for age in ages] == [4, 2, 0, 0]
        now += 15.0
        silence.look()
        assert [sum(one.closed for one in age) for age in ages] == [4, 4, 0, 0]
        assert capsys.readouterr().err.count("12 connections without a request") == 1
    finally:
        for one in (one for age in ages for one in age):
            one.ours.close()
            one.theirs.close()


@pytest.mark.parametrize("count", [1, MOST + 50])
def test_who_sends_nothing_does_not_stay_where_its_cookie_is_awaited(tmp_path: Path, count: int) -> None:
    head = "0.4" if count == 1 else "0"
    with (
        run_worker("--policy", "sticky-cookie", "--head", head, runtime=tmp_path) as worker,
        ExitStack() as stack,
    ):
        silent = [stack.enter_context(worker.client()) for _ in range(count)]
        for client in silent[:50]:  # the oldest
            assert client.rest() == b""
        for client in silent[50:][-50:]:
            assert client.get()[0] == 200


# The keep-alive time is not for users to set.
SHORT = """
from svc.worker import uvicorn_seam
uvicorn_seam.KEEP_ALIVE_SECONDS = 0.5
from asgi_app import app
"""


@pytest.mark.parametrize("more", [b"\r\n", b"a part of the body"])
def test_who_sends_no_request_after_an_answer_does_not_stay(
    variant: Variant, more: bytes, tmp_path: Path
) -> None:
    (tmp_path / "short.py").write_text(SHORT)
    path = [hide(tmp_path, variant.missing), APPS]
    with (
        run_worker(
            "--loop", variant.loop, app="short:app", directory=tmp_path, python=variant.python, path=path
        ) as worker,
        worker.client() as client,
    ):
        client.ask("/early", "POST", headers=["Content-Length: 100"] if len(more) > 2 else [])
        assert client.answer()[2] == b"seen enough\n"
        client.send(more)
        client.rest()  # to its end: with h11 a refusal of an empty line
