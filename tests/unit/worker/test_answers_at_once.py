"""Answers that leave in one write, and WSGI calls without a task, do what uvicorn's slower ways do."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.worker.conftest import Variant, hide
from tests.unit.worker.process import Client, Worker, listen, run_worker

ASGI = """
import asyncio
import sys

LATER = asyncio.Event()

async def app(scope, receive, send):
    path = scope["path"]
    if path == "/later":
        LATER.set()
    headers = {
        "/closes": [(b"Connection", b"close"), (b"Content-Length", b"2")],
        "/upper": [(b"X-Upper", b"A"), [b"content-length", bytearray(b"2")]],
        "/chunked": [(b"X-Once", b"1")],
        "/short": [(b"content-length", b"3")],
        "/bad": [(b"content-length", b"2"), (b"x-bad", b"a\\r\\nb: c")],
        "/told": [(b"x-bad", b"a\\r\\nb: c")],
        "/iterator": iter([(b"x-once", b"1")]),
        "/204-coded": [(b"transfer-encoding", b"chunked")],
    }.get(path, [(b"content-length", b"2")])
    status = {"/204": 204, "/204-coded": 204, "/304": 304}.get(path, 200)
    head = {"type": "http.response.start", "status": status, "headers": headers}
    if path == "/child":
        async def child():
            await send(head)
            await LATER.wait()
            await send({"type": "http.response.body", "body": b"ok"})
        await asyncio.create_task(child())
        return
    if path == "/told":
        try:
            await send(head)
            await LATER.wait()
        except Exception as error:
            print("told:", error, file=sys.stderr, flush=True)
            raise
    await send(head)
    if path == "/head-first":
        await LATER.wait()
    if path == "/raises":
        raise ValueError("after the head")
    await send({"type": "http.response.body", "body": b"ok"})
    if path == "/late":
        await LATER.wait()
        raise ValueError("after the answer")
"""

WSGI = """
import asyncio
import contextvars

VALUE = contextvars.ContextVar("VALUE", default="nothing")
DONE = []

class Closing:
    def __init__(self, chunks):
        self.chunks = chunks
    def __iter__(self):
        yield from self.chunks
        DONE.append("exhausted")
    def close(self):
        DONE.append("closed")

class ClosingList(list):
    def close(self):
        DONE.append("closed")

class Failing(Closing):
    def close(self):
        raise LookupError("after the answer")

def starting_late(start_response):
    yield b""
    start_response("200 OK", [("Content-Length", "2")])
    yield b"ok"

async def ran():
    await asyncio.sleep(0)
    return b"ran"

def resetting(token):
    yield b"a"
    VALUE.reset(token)
    yield b"b"

def app(environ, start_response):
    path = environ["PATH_INFO"]
    text = [("Content-Type", "text/plain")]
    if path == "/context":
        found, _ = VALUE.get(), VALUE.set("something")
        start_response("200 OK", text)
        return [found.encode()]
    if path == "/reset":
        token = VALUE.set("something")
        start_response("200 OK", [*text, ("Content-Length", "2")])
        return resetting(token)
    if path == "/closing":
        start_response("200 OK", [*text, ("Content-Length", "2")])
        return Closing([b"ok"])
    if path == "/list":
        start_response("200 OK", text)
        return ClosingList([b"ok"])
    if path == "/failing":
        start_response("200 OK", [*text, ("Content-Length", "2")])
        return Failing([b"ok"])
    if path == "/failing-parts":
        start_response("200 OK", text)
        return Failing([b"o", b"k"])
    if path in ("/204", "/304"):
        start_response(path[1:] + " No Content", [("Content-Length", "2")])
        return [b"ok"]
    if path == "/204-parts":
        start_response("204 No Content", [])
        return iter([b"o", b"k"])
    if path == "/late-start":
        return starting_late(start_response)
    if path == "/stop":
        start_response("200 OK", text)
        return [next(iter(()))]
    if path == "/own-loop":
        start_response("200 OK", text)
        return [asyncio.get_event_loop().run_until_complete(ran())]
    if path == "/parts":
        start_response("200 OK", [*text, ("Content-Length", "4")])
        return Closing([b"ok", b"ok"])
    if path == "/done":
        found = " ".join(DONE)
        DONE.clear()
        start_response("200 OK", text)
        return [found.encode()]
    if path == "/big":
        start_response("200 OK", text)
        return [bytes(3_000_000)]
    if path == "/raises":
        raise ValueError("before the head")
    if path == "/who":
        start_response("200 OK", text)
        return [environ["REMOTE_ADDR"].encode(), b" ", environ["wsgi.url_scheme"].encode()]
    start_response("200 OK", text)
    return [path.encode(), environ["wsgi.input"].read()]
"""


def start(interface: str, variant: Variant, folder: Path) -> Iterator[Worker]:
    (folder / "site_of_test.py").write_text(ASGI if interface == "asgi" else WSGI)
    with run_worker(
        "--loop",
        variant.loop,
        app="site_of_test:app",
        directory=folder,
        python=variant.python,
        path=[hide(folder, variant.missing)],
    ) as running:
        yield running


@pytest.fixture
def asgi(variant: Variant, tmp_path: Path) -> Iterator[Worker]:
    yield from start("asgi", variant, tmp_path)


@pytest.fixture
def plain(variant: Variant, tmp_path: Path) -> Iterator[Worker]:
    yield from start("wsgi", variant, tmp_path)


def test_heads_of_all_kinds(asgi: Worker) -> None:
    with asgi.client() as client:
        status, headers, body = client.get()
        assert (status, headers["content-length"], body) == (200, "2", b"ok")
        assert list(headers) == ["date", "content-length"]
        assert client.get("/upper")[1]["x-upper"] == "A"
        for _ in range(2):  # a line that is known by now
            assert client.get("/chunked")[1]["transfer-encoding"] == "chunked"
        client.ask(method="HEAD")
        assert client.answer(bodiless=True)[1]["content-length"] == "2"
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert client.answer()[1]["connection"] == "close"
        assert client.rest() == b""
    with asgi.client() as client:
        assert client.get("/closes")[1]["connection"] == "close"
        assert client.rest() == b""


@pytest.mark.parametrize("path", ["/short", "/bad", "/raises"])
def test_answers_that_go_wrong_end_the_connection(path: str, asgi: Worker) -> None:
    with asgi.client() as client:
        client.ask(path)
        told = client.rest()
    assert b"b: c" not in told
    asgi.line("Exception in ASGI application")
    with asgi.client() as client:
        assert client.get()[2] == b"ok"


def test_a_head_does_not_wait_for_its_body(asgi: Worker) -> None:
    with asgi.client() as client, asgi.client() as other:
        client.ask("/head-first")
        headers = client.head()[1]
        assert other.get("/later")[2] == b"ok"
        assert client.body(headers) == b"ok"


def test_a_head_from_a_task_of_the_application_does_not_wait_either(asgi: Worker) -> None:
    with asgi.client() as client, asgi.client() as other:
        client.ask("/child")
        headers = client.head()[1]
        assert other.get("/later")[2] == b"ok"
        assert client.body(headers) == b"ok"


def test_headers_that_can_be_read_only_once(asgi: Worker) -> None:
    with asgi.client() as client:
        status, headers, body = client.get("/iterator")
        assert (status, headers["x-once"], body) == (200, "1", b"ok")


def test_the_application_is_told_of_a_bad_header_where_it_waits(asgi: Worker) -> None:
    with asgi.client() as client:
        client.ask("/told")
        assert b"b: c" not in client.rest()
    asgi.line("told: ")


@pytest.mark.parametrize("path", ["/204", "/304", "/204-coded"])
def test_a_status_without_a_body_has_none(path: str, asgi: Worker, variant: Variant) -> None:
    with asgi.client() as client:
        client.ask(path)
        assert client.head()[0] in (204, 304)
        if variant.name == "bare":  # h11 raises an error
            assert client.rest() == b""
        else:
            assert client.get()[2] == b"ok"


def test_an_error_after_an_answer_leaves_the_connection_to_the_next(asgi: Worker) -> None:
    with asgi.client() as client, asgi.client() as other:
        assert client.get("/late")[2] == b"ok"
        assert other.get("/later")[2] == b"ok"
        asgi.line("ValueError: after the answer")
        assert client.get()[2] == b"ok"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/failing", "/failing-parts"])
def test_a_close_that_fails_leaves_the_connection_to_the_next(method: str, path: str, plain: Worker) -> None:
    with plain.client() as client:
        client.ask(path, method, b"x" if method == "POST" else b"")
        assert client.answer()[2] == b"ok"
        plain.line("LookupError: after the answer")
        assert client.get("/x")[2] == b"/x"


def test_a_status_without_a_body_has_none_in_wsgi(plain: Worker) -> None:
    with plain.client() as client:
        for path in ("/204", "/304", "/204-parts"):
            client.ask(path)
            assert str(client.head()[0]) in path
            assert client.get("/x")[2] == b"/x"


def test_stop_iteration_is_an_error_like_any_other(plain: Worker) -> None:
    with plain.client() as client:
        assert client.get("/stop")[0] == 500
    plain.line("StopIteration")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_event_loop_that_does_not_run_is_there_for_views(method: str, plain: Worker) -> None:
    with plain.client() as client:
        for _ in range(2):
            client.ask("/own-loop", method, b"x" if method == "POST" else b"")
            assert client.answer()[2] == b"ran"


def test_a_list_of_a_class_of_its_own_is_closed(plain: Worker) -> None:
    with plain.client() as client:
        assert client.get("/list")[2] == b"ok"
        assert client.get("/done")[2] == b"closed"


def test_start_response_may_be_called_as_late_as_before_the_first_byte(plain: Worker) -> None:
    with plain.client() as client:
        assert client.get("/late-start")[::2] == (200, b"ok")


def test_each_request_has_a_context_of_its_own(plain: Worker) -> None:
    with plain.client() as client:
        for _ in range(3):
            assert client.get("/context")[2] == b"nothing"
        assert client.get("/reset")[2] == b"ab"
        assert client.get("/context")[2] == b"nothing"


def test_the_end_of_an_answer_is_run_and_close_is_called(plain: Worker) -> None:
    with plain.client() as client:
        for path, body in (("/closing", b"ok"), ("/parts", b"okok")):
            assert client.get(path)[2] == body
            assert client.get("/done")[2] == b"exhausted closed"


def test_requests_in_one_read_and_in_many(plain: Worker) -> None:
    with plain.client() as client:
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(5)))
        assert [client.answer()[2] for _ in range(5)] == [b"/%d" % number for number in range(5)]
        client.ask("/whole", "POST", b"body")
        assert client.answer()[2] == b"/wholebody"
        client.send(b"POST /parts-of HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo")
        with plain.client() as other:
            assert other.get("/x")[2] == b"/x"  # the first part has been read by now
        client.send(b"dy")
        assert client.answer()[2] == b"/parts-ofbody"
        client.send(b"POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert client.head()[0] == 100
        client.send(b"body")
        assert client.answer()[2] == b"/ebody"
        assert client.get("/big")[2] == bytes(3_000_000)
        client.ask("/x", "HEAD")
        assert client.answer(bodiless=True)[0] == 200
        client.ask("/who", headers=["X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https"])
        assert client.answer()[2] == b"192.0.2.7 https"
        assert client.get("/who")[2] == b"127.0.0.1 http"
        client.ask("/raises")
        assert client.answer()[0] == 500
    plain.line("ValueError: before the head")


def test_head_and_body_come_in_one_packet(tmp_path: Path) -> None:
    (tmp_path / "site_of_test.py").write_text(ASGI)
    with (
        listen() as listener,
        run_worker(app="site_of_test:app", directory=tmp_path, listeners=[listener]),
        Client(listener) as client,
    ):
        client.ask()
        client.answer()
        segments = _segments_received(client.sock)
        client.ask()
        client.answer()
        assert _segments_received(client.sock) == segments + 1


def _segments_received(sock: socket.socket) -> int:
    """Those with data, tcpi_data_segs_in of struct tcp_info (linux/tcp.h)."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)
    return int.from_bytes(info[152:156], "little")
