"""Bytes on which servers disagree: what came through to the application is what RFC 9112 reads in them."""

import socket
import struct
from pathlib import Path

import pytest

from tests.unit.worker.conftest import Variant, hide
from tests.unit.worker.edge import HOST, edge
from tests.unit.worker.process import run_worker

POST = b"POST /first HTTP/1.1\r\n" + HOST
NEXT = b"GET /next HTTP/1.1\r\n" + HOST + b"\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
DONE = b"0\r\n\r\n"


def _post(*lines: bytes, body: bytes = b"") -> bytes:
    return POST + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


SERVED = {
    "a length": _post(b"Content-Length: 3", body=b"abc") + NEXT,
    "chunks": CHUNKED + b"3\r\nabc\r\n" + DONE + NEXT,
    "a request in a body": _post(b"Content-Length: %d" % len(NEXT), body=NEXT) + NEXT,
    "a request in a chunk": CHUNKED + b"%x\r\n%b\r\n" % (len(NEXT), NEXT) + DONE + NEXT,
    "an extension of a chunk": CHUNKED + b"3;a=b\r\nabc\r\n" + DONE + NEXT,
    "a tab before the coding": _post(b"Transfer-Encoding:\tchunked", body=DONE) + NEXT,
    "a coding in capitals": _post(b"Transfer-Encoding: CHUNKED", body=DONE) + NEXT,
    "trailers": CHUNKED + b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n" + NEXT,
    "a trailer that would be a second host": CHUNKED + DONE[:3] + b"Host: other\r\n\r\n" + NEXT,
    "a body of a GET": b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc" + NEXT,
    "absolute form": b"GET http://other:80/path?query HTTP/1.1\r\n" + HOST + b"\r\n" + NEXT,
    "absolute form without a path": b"GET http://other HTTP/1.1\r\n" + HOST + b"\r\n" + NEXT,
    "absolute form with a query only": b"GET http://other?query HTTP/1.1\r\n" + HOST + b"\r\n" + NEXT,
    "OPTIONS *": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n" + NEXT,
    "HEAD": b"HEAD /first HTTP/1.1\r\n" + HOST + b"\r\n" + NEXT,
    "two equal fields": b"GET / HTTP/1.1\r\n" + HOST + b"X: 1\r\nX: 2\r\n\r\n" + NEXT,
    "an empty host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n" + NEXT,
    "an IPv6 host": b"GET / HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n" + NEXT,
    "HTTP/1.0 without a host": b"GET / HTTP/1.0\r\n\r\n",
    "bytes after the last request": b"GET / HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n" + NEXT,
    "a hundred requests at once": NEXT * 100,
    "expecting 100": _post(b"Expect: 100-continue", b"Content-Length: 3", body=b"abc") + NEXT,
}

# Not known to uvicorn 0.17, which refuses them.
UPGRADES = {
    "an upgrade to something else": _post(b"Connection: Upgrade", b"Upgrade: h2c") + NEXT,
    "an upgrade with a body": (
        _post(b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: %d" % len(NEXT), body=NEXT) + NEXT
    ),
    "an upgrade with chunks": (
        _post(b"Connection: Upgrade", b"Upgrade: h2c", b"Transfer-Encoding: chunked")
        + b"%x\r\n%b\r\n" % (len(NEXT), NEXT)
        + DONE
        + NEXT
    ),
    "a WebSocket by POST": (
        _post(b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 3", body=b"abc") + NEXT
    ),
}

# For an application that has none (RFC 9110, section 7.8): the client hears so, and what follows is HTTP.
WEBSOCKETS = {
    "a WebSocket": (
        b"GET /first HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + HOST + b"\r\n" + NEXT
    ),
    "half a wish for a WebSocket": (
        b"GET /first HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + HOST + b"\r\n" + NEXT
    ),
}

CODED = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        headers = [(b"Transfer-Encoding", b"chunked")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})
"""

REFUSED = {
    "a length and chunks": _post(b"Content-Length: 6", b"Transfer-Encoding: chunked", body=DONE + b"G"),
    "chunks and a length": _post(b"Transfer-Encoding: chunked", b"Content-Length: 6", body=DONE + b"G"),
    "two lengths": _post(b"Content-Length: 1", b"Content-Length: 2", body=b"ab"),
    "a list of lengths": _post(b"Content-Length: 1, 2", body=b"ab"),
    "a length with a sign": _post(b"Content-Length: +1", body=b"a"),
    "a negative length": _post(b"Content-Length: -1", body=b"a"),
    "a length in hexadecimal": _post(b"Content-Length: 0x1", body=b"a"),
    "a length with a space": _post(b"Content-Length: 1 1", body=b"a" * 11),
    "a length with an underscore": _post(b"Content-Length: 1_0", body=b"a" * 10),
    "no length in the field": _post(b"Content-Length:"),
    "an unknown coding": _post(b"Transfer-Encoding: xchunked", body=DONE),
    "a coding after chunked": _post(b"Transfer-Encoding: chunked, identity", body=DONE),
    "a coding before chunked": _post(b"Transfer-Encoding: gzip, chunked", body=DONE),
    "chunked twice": _post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=DONE),
    "a vertical tab before the coding": _post(b"Transfer-Encoding:\x0bchunked", body=DONE),
    "a space before the colon": _post(b"Transfer-Encoding : chunked", body=DONE),
    "a coding in quotes": _post(b'Transfer-Encoding: "chunked"', body=DONE),
    "a coding with a parameter": _post(b"Transfer-Encoding: chunked;q=1", body=DONE),
    "an empty coding": _post(b"Transfer-Encoding:", b"Content-Length: 1", body=b"a"),
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + DONE,
    "0x before a chunk's size": CHUNKED + b"0x3\r\nabc\r\n" + DONE,
    "a sign before a chunk's size": CHUNKED + b"+3\r\nabc\r\n" + DONE,
    "a space before a chunk's size": CHUNKED + b" 3\r\nabc\r\n" + DONE,
    "no size of a chunk": CHUNKED + b"\r\nabc\r\n" + DONE,
    "a bare LF after a chunk's size": CHUNKED + b"3\nabc\r\n" + DONE,
    "a bare LF after a chunk": CHUNKED + b"3\r\nabc\n" + DONE,
    "a chunk that is too long": CHUNKED + b"3\r\nabcd\r\n" + DONE,
    "no line end after a chunk": CHUNKED + b"3\r\nabcXX" + DONE,
    "a bare LF in a chunk's extension": CHUNKED + b"3;a\nb\r\nabc\r\n" + DONE,
    "a folded line before the first field": b"GET / HTTP/1.1\r\n X: a\r\n" + HOST + b"\r\n",
    "a bare CR in a value": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\rY: b\r\n\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n",
    "NUL in a name": b"GET / HTTP/1.1\r\n" + HOST + b"X\0: a\r\n\r\n",
    "NUL in the path": b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a space in a name": b"GET / HTTP/1.1\r\n" + HOST + b"X y: z\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\n" + HOST + b": z\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\n" + HOST + b"Xy\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a host that is none": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "a user in the host": b"GET http://user@test/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "absolute form of another protocol": b"GET ftp://test/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "a fragment": b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n",
    "a target that is no path": b"GET first HTTP/1.1\r\n" + HOST + b"\r\n",
    "GET *": b"GET * HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT": b"CONNECT test:80 HTTP/1.1\r\n" + HOST + b"\r\n" + NEXT,
    "a space in the target": b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "bytes beyond ASCII in the path": b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
    "an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("app", ["app", "wsgi"])
def test_what_is_valid_is_served_to_its_end(variant: Variant, app: str, tmp_path: Path) -> None:
    with edge(variant, tmp_path, app) as worker:
        cases = dict(SERVED)
        if "0.17" not in variant.name:
            cases |= UPGRADES | (WEBSOCKETS if app == "wsgi" else {})
        for name, data in cases.items():
            reading = worker.read(data)
            assert reading.end != "broken", name
            outcome = worker.send(data)
            assert list(outcome.seen) == reading.requests, name
            assert set(outcome.statuses) == {200}, name


@pytest.mark.parametrize("app", ["app", "wsgi"])
def test_what_is_ambiguous_is_refused_and_what_follows_it_is_not_read(
    variant: Variant, app: str, tmp_path: Path
) -> None:
    with edge(variant, tmp_path, app) as worker:
        for name, data in REFUSED.items():
            assert worker.read(data).requests == [], name
            outcome = worker.send(data + NEXT)
            assert outcome.seen == (), name
            assert len(outcome.statuses) == 1, (name, outcome)
            assert outcome.statuses[0] >= 400, (name, outcome)


def test_requests_before_a_broken_one_are_answered(variant: Variant, tmp_path: Path) -> None:
    with edge(variant, tmp_path) as worker:
        for name, data in REFUSED.items():
            outcome = worker.send(NEXT + NEXT + data + NEXT)
            assert [request.target for request in outcome.seen] == ["/next", "/next"], name
            assert outcome.statuses[:2] == (200, 200), (name, outcome)
            assert all(status >= 400 for status in outcome.statuses[2:]), (name, outcome)


OLD = {
    "asgi_app:app": {
        b"GET /stream?chunks=2&seconds=0 HTTP/1.0\r\n\r\n": b"chunk 0\nchunk 1\nend\n",
        b"POST /upload HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc": b"3 bytes\n",
    },
    "wsgi_app:app": {
        b"GET /stream?chunks=4&size=5 HTTP/1.0\r\n\r\n": b"x" * 20,
        b"POST /length HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc": (
            b"3 bytes, CONTENT_LENGTH 3\n"
        ),
    },
}


@pytest.mark.parametrize("app", list(OLD))
def test_a_client_of_http_1_0_gets_nothing_that_it_does_not_know(
    variant: Variant, app: str, tmp_path: Path
) -> None:
    path = [hide(tmp_path, variant.missing)]
    with run_worker("--loop", variant.loop, app=app, python=variant.python, path=path) as worker:
        for request, body in OLD[app].items():
            with worker.client() as client:
                client.send(request)
                status, headers = client.head()
                assert status == 200
                assert "transfer-encoding" not in headers
                assert client.rest() == body


def test_a_client_of_http_1_0_gets_no_chunks_even_where_the_application_says_so(
    variant: Variant, tmp_path: Path
) -> None:
    (tmp_path / "coded.py").write_text(CODED)
    path = [hide(tmp_path, variant.missing)]
    with (
        run_worker(
            "--loop", variant.loop, app="coded:app", directory=tmp_path, python=variant.python, path=path
        ) as worker,
        worker.client() as client,
    ):
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert "transfer-encoding" not in client.head()[1]
        assert client.rest() == b"ok"


def test_http_1_0_has_no_websockets(variant: Variant, tmp_path: Path) -> None:
    path = [hide(tmp_path, variant.missing)]
    with (
        run_worker("--loop", variant.loop, python=variant.python, path=path) as worker,
        worker.client() as client,
    ):
        client.send(WEBSOCKETS["a WebSocket"].removesuffix(NEXT).replace(b"HTTP/1.1", b"HTTP/1.0"))
        if "0.17" not in variant.name:  # which asks nobody
            assert client.answer()[0] == 200


@pytest.mark.parametrize("app", ["app", "wsgi"])
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_nothing_of_a_connection_stays_in_memory(
    variant: Variant, app: str, reset: bool, tmp_path: Path
) -> None:
    with edge(variant, tmp_path, app) as worker:
        before = worker.ask("/state")
        for _ in range(10):
            with worker.worker.client() as client:
                client.get("/")
                if reset:
                    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        while (after := worker.ask("/state"))["fds"] > before["fds"]:
            pass  # each question gives the worker a turn
        assert after["protocols"] == before["protocols"]
