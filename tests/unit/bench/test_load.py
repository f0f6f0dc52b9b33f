"""The load generators: what they report is what a server did."""

import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.bench import loadgen, wrk
from tests.bench.loadgen import Load, Options


class Handler(BaseHTTPRequestHandler):
    """Answers with its process; /reset closes without an answer, /bad with status 500."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/reset":
            self.close_connection = True
            return
        body = b"%d\n" % os.getpid()
        self.send_response(500 if self.path == "/bad" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def server() -> Iterator[int]:
    socketserver.TCPServer.request_queue_size = 128
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        try:
            yield httpd.server_address[1]
        finally:
            httpd.shutdown()
            thread.join()


@pytest.mark.parametrize("keep_alive", [True, False], ids=["keep-alive", "fresh"])
def test_every_request_is_recorded(keep_alive: bool) -> None:
    with server() as port, Load(Options(port, 0, 4, keep_alive=keep_alive)) as load:
        seen = load.stop()
    assert seen.answers
    assert seen.failed == 0, seen.errors()
    assert {answer.pid for answer in seen.answers} == {os.getpid()}
    assert {answer.status for answer in seen.answers} == {200}
    assert seen.opened >= (1 if keep_alive else len(seen.answers))
    assert all(answer.latency > 0 for answer in seen.answers)


@pytest.mark.parametrize(
    ("path", "error"), [("/reset", "closed without an answer"), ("/bad", "bad status")], ids=["reset", "bad"]
)
def test_a_failure_is_a_failure(path: str, error: str) -> None:
    with server() as port, Load(Options(port, 0, 2, path)) as load:
        seen = load.stop()
    assert seen.failed == len(seen.answers) > 0
    assert set(seen.errors()) == {error}


def test_nobody_there_is_a_failure_too() -> None:
    with server() as port:
        pass
    with Load(Options(port, 50.0, 2, timeout=2.0)) as load:
        seen = load.stop()
    assert set(seen.errors()) == {"connection refused"}


def test_an_upload_is_sent_in_pieces() -> None:
    options = Options(0, 0, 2, body=50_000, pieces=5, piece_seconds=0.01)
    with server() as port, Load(Options(**{**vars(options), "port": port})) as load:
        seen = load.stop()
    assert seen.answers
    assert seen.failed == 0, seen.errors()


def test_records_that_are_cut_off_are_refused() -> None:
    with pytest.raises(Exception, match=r"requires a buffer|multiple"):
        loadgen.parse(loadgen.TOTALS.pack(1, 0) + b"123")


def test_wrk_s_text_is_read() -> None:
    said = "  1234 requests in 2.00s, 1MB read\n  Socket errors: connect 1, read 2, write 0, timeout 3\n"
    seen = wrk.parse(said + "  Non-2xx or 3xx responses: 4\n")
    assert (seen.requests, seen.seconds, seen.failed) == (1234, 2.0, 10)
    assert seen.rate == 617


def test_what_wrk_did_not_say_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown"):
        wrk.parse("unable to connect")
