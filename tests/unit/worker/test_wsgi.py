"""WSGI applications, PEP 3333, on a real worker; each application is also watched by wsgiref.validate."""

import asyncio
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from svc.worker import wsgi
from tests.unit.worker.conftest import Variant, hide
from tests.unit.worker.process import APPS, Worker, run_worker

VALIDATED = (
    "from wsgiref.validate import validator\nfrom wsgi_app import application\napp = validator(application)\n"
)


@pytest.fixture
def worker(variant: Variant, tmp_path: Path) -> Iterator[Worker]:
    (tmp_path / "validated.py").write_text(VALIDATED)
    path = [hide(tmp_path, variant.missing), APPS]
    arguments = ("--loop", variant.loop, "--interface", "wsgi")
    with run_worker(
        *arguments, app="validated:app", directory=tmp_path, python=variant.python, path=path
    ) as running:
        yield running
        assert "AssertionError" not in running.journal


def test_the_environ(worker: Worker) -> None:
    with worker.client() as client:
        client.ask(
            "/environ?a=%20b", headers=["X-One: 1", "X-One: 2", "Cookie: a=1", "Cookie: b=2", "X_One: 3"]
        )
        status, headers, body = client.answer()
        lines = dict(line.partition("=")[::2] for line in body.decode("latin-1").splitlines())
        host, port = client.sock.getsockname()
        _, server_port = worker.listener.getsockname()
    assert status == 200
    assert headers["content-type"] == "text/plain"
    expected = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/environ",
        "QUERY_STRING": "a=%20b",
        "REMOTE_ADDR": host,
        "REMOTE_PORT": str(port),
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(server_port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "test",
        "HTTP_X_ONE": "1,2",
        "HTTP_COOKIE": "a=1; b=2",
        "wsgi.url_scheme": "http",
        "wsgi.multithread": "False",
        "wsgi.multiprocess": "True",
        "wsgi.run_once": "False",
    }
    assert {name: lines[name] for name in expected} == expected
    assert "CONTENT_LENGTH" not in lines


def test_bodies_of_all_kinds(worker: Worker) -> None:
    with worker.client() as client:
        client.ask("/length", "POST", b"x" * 1000)
        assert client.answer()[2] == b"1000 bytes, CONTENT_LENGTH 1000\n"
        client.ask("/length", "POST", b"x" * 3_000_000)
        assert client.answer()[2] == b"3000000 bytes, CONTENT_LENGTH 3000000\n"
        client.ask("/length", "POST", headers=["Transfer-Encoding: chunked"])
        client.send(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
        assert client.answer()[2] == b"11 bytes, CONTENT_LENGTH 11\n"
        client.ask("/length", "POST", headers=["Content-Length: 4", "Expect: 100-continue"])
        assert client.head()[0] == 100
        client.send(b"four")
        assert client.answer()[2] == b"4 bytes, CONTENT_LENGTH 4\n"


def test_responses_of_all_kinds(worker: Worker) -> None:
    with worker.client() as client:
        assert client.get("/stream?chunks=4&size=5")[2] == b"x" * 20
        assert client.get("/written")[2] == b"written, then returned\n"
        assert client.get("/replaced")[::2] == (503, b"replaced\n")
        assert client.get("/file")[2] == (APPS / "wsgi_app.py").read_bytes()
        assert client.get("/nested")[2] == b"from a nested loop\n"
        client.ask("/", "HEAD")
        assert client.answer(bodiless=True)[0] == 200
        assert client.get("/")[0] == 200


def test_an_error_after_the_head_ends_the_connection(worker: Worker) -> None:
    with worker.client() as client:
        client.ask("/broken")
        assert client.head()[0] == 200
        assert client.rest() == b"7\r\na part\n\r\n"
    worker.line("closed\n")
    worker.line("<3>LookupError: found in the middle")


def test_a_slow_upload_blocks_nobody(worker: Worker) -> None:
    size = 10_000_000
    with worker.client() as slow, worker.client() as quick:
        slow.ask("/length", "POST", headers=[f"Content-Length: {size}"])
        for _ in range(10):
            slow.send(b"x" * (size // 10 - 1))
            assert quick.get()[0] == 200
        for _ in range(10):
            slow.send(b"x")
            assert quick.get()[0] == 200
        assert slow.answer()[2] == b"10000000 bytes, CONTENT_LENGTH 10000000\n"


def test_a_slow_reader_blocks_nobody(worker: Worker) -> None:
    with worker.client() as slow, worker.client() as quick:
        slow.ask("/stream?chunks=2000&size=10000")  # more than all buffers on the way hold
        status, headers = slow.head()
        assert status == 200
        for _ in range(5):
            assert quick.get()[0] == 200
        assert len(slow.body(headers)) == 20_000_000
    assert "closed\n" in worker.line("closed\n")


def test_close_is_called_when_the_client_leaves(worker: Worker) -> None:
    with worker.client() as client:
        client.ask("/stream?chunks=100000&size=10000")
        assert client.head()[0] == 200
    worker.line("closed\n")


def test_a_client_that_leaves_in_the_middle_of_its_body(worker: Worker) -> None:
    with worker.client() as client:
        client.ask("/length", "POST", headers=["Content-Length: 1000"])
        client.send(b"x")
    with worker.client() as client:
        assert client.get()[0] == 200


def test_a_computation_in_progress_at_sigterm_completes(worker: Worker) -> None:
    with worker.client() as client:
        client.ask("/busy?seconds=0.5")
        worker.process.send_signal(signal.SIGTERM)
        status, headers, body = client.answer()
        assert (status, headers["connection"], body) == (200, "close", b"computed\n")
    assert worker.ended() == 0


def test_flask(variant: Variant, tmp_path: Path) -> None:
    with (
        run_worker(
            "--loop",
            variant.loop,
            app="flask_app:app",
            python=variant.python,
            path=[hide(tmp_path, variant.missing)],
        ) as worker,
        worker.client() as client,
    ):
        assert client.get()[2].startswith(b"Handled by worker 0, process ")
        client.ask("/length", "POST", b"x" * 2_000_000)
        assert client.answer()[2] == b"2000000 bytes\n"
        assert client.get("/nothing")[0] == 404


# The rules of start_response, without a network between.

Answer = list[dict[str, Any]]


def call(app: Callable[..., Iterable[bytes]], method: str = "GET") -> Answer:
    """The ASGI messages that `app` answers with."""
    sent: Answer = []

    async def run() -> None:
        async def receive() -> dict[str, Any]:
            if called:
                await asyncio.Event().wait()
            called.append(True)
            return {"type": "http.request", "body": b""}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        called: list[bool] = []
        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "root_path": "/caf%C3%A9",
            "raw_path": b"/caf%C3%A9/%E2%82%AC",
            "query_string": b"",
            "http_version": "1.1",
            "headers": [],
            "client": None,
            "server": ("/run/app.sock", None),
        }
        await wsgi.as_asgi(app)(scope, receive, send)

    asyncio.run(run())
    return sent


def body_of(sent: Answer) -> bytes:
    return b"".join(message["body"] for message in sent[1:])


def test_paths_are_bytes_as_latin_1_and_a_unix_socket_has_a_name() -> None:
    seen: dict[str, Any] = {}

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.update(environ)
        start_response("200 OK", [])
        return []

    call(app)
    assert seen["SCRIPT_NAME"].encode("latin-1").decode() == "/café"
    assert seen["PATH_INFO"].encode("latin-1").decode() == "/€"
    assert (seen["SERVER_NAME"], seen["SERVER_PORT"], seen["REMOTE_ADDR"]) == ("localhost", "80", "")


def test_content_length_is_the_limit() -> None:
    def app(_: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "4")])
        yield b"too"
        yield b" long"

    assert body_of(call(app)) == b"too "


def test_a_body_of_known_length_gets_a_content_length() -> None:
    def app(_: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"ab", b"c"]

    assert call(app)[0]["headers"] == [(b"content-length", b"3")]
    assert call(app, "HEAD")[0]["headers"] == []


def test_a_bodiless_status_gets_no_content_length() -> None:
    def app(_: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("204 No Content", [])
        return []

    assert call(app)[0] == {"type": "http.response.start", "status": 204, "headers": []}


def test_starting_late_and_empty_chunks() -> None:
    def app(_: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        yield b""
        start_response("201 Created", [])
        yield b"made"

    sent = call(app)
    assert (sent[0]["status"], body_of(sent)) == (201, b"made")


def test_not_starting_at_all_and_starting_twice_are_errors() -> None:
    def never(*_: Any) -> list[bytes]:
        return [b"body"]

    def twice(_: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        start_response("200 OK", [])
        return []

    with pytest.raises(AssertionError, match="without calling start_response"):
        call(never)
    with pytest.raises(AssertionError, match="second time"):
        call(twice)


def test_close_is_called_after_an_error() -> None:
    closed: list[bool] = []

    class Chunks:
        def __iter__(self) -> Iterator[bytes]:
            raise LookupError

        def close(self) -> None:
            closed.append(True)

    def app(_: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Chunks()

    with pytest.raises(LookupError):
        call(app)
    assert closed == [True]


def test_no_event_loop_is_seen_by_the_application_and_it_is_back_afterwards() -> None:
    def app(_: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        start_response("200 OK", [])
        yield b"a"
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        yield b"b"

    assert body_of(call(app)) == b"ab"


def test_websockets_are_refused() -> None:
    with pytest.raises(RuntimeError, match="cannot serve websocket"):
        asyncio.run(wsgi.as_asgi(lambda *_: [])({"type": "websocket"}, None, None))  # type: ignore[arg-type]


def test_a_client_that_leaves_a_pipeline_ends_the_answer_too(worker: Worker) -> None:
    with worker.client() as client:
        client.send(b"GET /stream?chunks=1000000000&size=1000 HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
        assert client.head()[0] == 200
        client.sock.recv(100_000)
    assert "Traceback" not in worker.line("closed")
    with worker.client() as another:
        assert another.get()[0] == 200
    worker.terminate()
    worker.ended()
    assert "Traceback" not in worker.journal
    assert worker.journal.count("closed\n") == 1


def test_the_coding_is_the_servers_business() -> None:
    def app(_: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Transfer-Encoding", "chunked")])
        return [b"abc"]

    assert call(app)[0]["headers"] == [(b"content-length", b"3")]


def test_an_answer_that_replaces_another_has_nothing_of_it() -> None:
    def app(_: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"a part of the first")
        try:
            raise LookupError
        except LookupError:
            start_response("500 Internal Server Error", [], sys.exc_info())
        return [b"an error"]

    sent = call(app)
    assert (sent[0]["status"], body_of(sent)) == (500, b"an error")
