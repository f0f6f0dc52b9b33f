"""Seeded random bytes at a running worker: what comes through is what RFC 9112 reads, nothing stays."""

import contextlib
import random
import socket
import struct
from pathlib import Path

import pytest

from tests.unit.worker import rfc9112
from tests.unit.worker.conftest import Variant
from tests.unit.worker.edge import HOST, Edge, edge, shut_down

CASES = 150  # of each kind, for each way to run a worker and each interface: about a second
LONG = 20_000
GROWTH = 4 << 20  # bytes: the allocator's, not ours; a leak of one connection each time would be far more

FIELDS = [
    b"Content-Length: 5", b"Content-Length: 0", b"Content-Length:5", b"Content-Length: 05",
    b"Content-Length: 6", b"Content-Length: 5, 5", b"Content-Length: 5 ", b"Content-Length : 5",
    b"content-length: 5\t",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: Chunked", b"Transfer-Encoding: chunked ",
    b"Transfer-Encoding: identity", b"Transfer-Encoding: , chunked", b"Transfer-Encoding: chunked,",
    b"Transfer-Encoding\t: chunked", b"Transfer-Encoding:\r\n chunked", b"Transfer_Encoding: chunked",
    b"TE: trailers", b"Trailer: X", b"Expect: 100-continue", b"Connection: close", b"Connection: keep-alive",
    b"Connection: Upgrade", b"Connection: content-length", b"Upgrade: h2c", b"Upgrade: websocket",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"Sec-WebSocket-Version: 13",
    b"Host: other", b"X: y", b"X: y\nY: z", b"X: y\r\n folded", b"X: \xff\xfe", b"X",
    b"X: " + b"z" * 5000, b" X: y",
]  # fmt: skip
BODIES = [
    b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"1\r\nh\r\n4;x=y\r\nello\r\n0\r\nX: y\r\n\r\n", b"0\r\n\r\n", b"",
    b"5\r\nhello\n0\r\n\r\n", b"05\r\nhello\r\n00\r\n\r\n", b"5 \r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"ffffffffffffffff\r\nhello", b"5\r\nhelloX\r\n0\r\n\r\n", b"5;\nhello\r\n0\r\n\r\n",
]  # fmt: skip
LINES = [
    b"GET /%d HTTP/1.1", b"POST /%d HTTP/1.1", b"PUT /%d?q HTTP/1.1", b"HEAD /%d HTTP/1.1",
    b"OPTIONS * HTTP/1.1", b"GET http://test/%d HTTP/1.1", b"POST /%d HTTP/1.0", b"GET /%d  HTTP/1.1",
    b"GET /%d", b"DELETE /%d HTTP/1.1",
]  # fmt: skip
PIECES = [
    b"\0", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b":", b";", b",", b"\x0b", b"\xff", b"0",
    b"-", b"+",
    b"HTTP/1.1", b"chunked", b"0\r\n\r\n", b"\x80" * 20, b"GET / HTTP/1.1\r\n" + HOST + b"\r\n",
]  # fmt: skip


def _request(chance: random.Random) -> bytes:
    line = chance.choice(LINES)
    body = chance.choice(BODIES) if chance.random() < 0.6 else b""
    fields = [HOST.strip()] if chance.random() < 0.97 else []
    if body and chance.random() < 0.8:
        chunked = b"\r\n" in body
        fields.append(b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body))
    fields += chance.choices(FIELDS, k=chance.choice((0, 0, 0, 1, 1, 2, 3)))
    chance.shuffle(fields)
    line = line.replace(b"%d", b"%d" % chance.randrange(100))
    return b"\r\n".join([line, *fields, b"", b""]) + body


def _spoiled(chance: random.Random, data: bytes) -> bytes:
    at, end = sorted(chance.choices(range(len(data) + 1), k=2))
    match chance.randrange(6):
        case 0:
            return data[:at] + chance.choice(PIECES) + data[at:]
        case 1:
            return data[:at] + data[min(end, at + 8) :]
        case 2:
            return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
        case 3:
            return data[:end] + data[at:]
        case 4:
            return data.replace(b"\r\n", b"\n", chance.randrange(1, 4))
        case _:
            return data[:at]


def _bytes(chance: random.Random) -> bytes:
    if chance.random() < 0.05:
        return chance.randbytes(chance.randrange(1, 3000))
    data = b"".join(_request(chance) for _ in range(chance.choice((1, 1, 2, 3, 6))))
    for _ in range(chance.choice((0, 0, 1, 1, 2, 5))):
        data = _spoiled(chance, data)
    return data


def _in_pieces(chance: random.Random, data: bytes) -> list[bytes]:
    cuts = sorted(chance.choices(range(len(data) + 1), k=chance.choice((0, 0, 1, 3))))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def _compare(worker: Edge, pieces: list[bytes], *, paths: bool) -> None:
    """What came through is what the RFC reads: all of it, or the first part and then a refusal."""
    data = b"".join(pieces)
    reading = worker.read(data)
    outcome = worker.send(*pieces)
    allowed, seen = reading.requests, list(outcome.seen)
    if not paths:  # WSGI has them decoded
        allowed = [rfc9112.Request(one.method, "", one.body) for one in allowed]
        seen = [rfc9112.Request(one.method, "", one.body) for one in seen]
    assert seen == allowed[: len(seen)], (pieces, reading, outcome)
    assert outcome.statuses.count(200) >= len(seen), (pieces, reading, outcome)


def _leave(worker: Edge, chance: random.Random, data: bytes) -> None:
    """Send, and go without waiting: by a reset, by a close, or by closing one half and reading the rest."""
    with worker.worker.client() as client:
        with contextlib.suppress(ConnectionError):
            client.send(data)
        match chance.randrange(3):
            case 0:
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            case 1:
                shut_down(client)
                with contextlib.suppress(ConnectionError):
                    client.rest()


def _settled(worker: Edge, fds: int) -> None:
    """Return when the worker has closed all that is gone: each question gives it a turn."""
    for _ in range(2000):
        if worker.ask("/state")["fds"] <= fds:
            return
    raise AssertionError(f"{worker.ask('/state')['fds']} descriptors are open, {fds} were")


def _run(worker: Edge, seed: int, cases: int, *, paths: bool) -> None:
    chance = random.Random(seed)
    for _ in range(cases):
        _compare(worker, _in_pieces(chance, _bytes(chance)), paths=paths)
        _leave(worker, chance, _bytes(chance))


@pytest.mark.parametrize("app", ["app", "wsgi"])
def test_no_bytes_bring_a_worker_down_or_smuggle_a_request(
    variant: Variant, app: str, tmp_path: Path
) -> None:
    with edge(variant, tmp_path, app) as worker:
        before = worker.ask("/state")
        _run(worker, seed=1, cases=CASES, paths=app == "app")
        _settled(worker, before["fds"])
        assert worker.ask("/state")["pid"] == before["pid"]


@pytest.mark.long
@pytest.mark.parametrize("app", ["app", "wsgi"])
def test_neither_do_many_nor_do_they_leave_anything_behind(
    variant: Variant, app: str, tmp_path: Path
) -> None:
    with edge(variant, tmp_path, app) as worker:
        _run(worker, seed=2, cases=LONG // 10, paths=app == "app")
        before = worker.ask("/state")
        _run(worker, seed=3, cases=LONG, paths=app == "app")
        _settled(worker, before["fds"])
        after = worker.ask("/state")
        assert after["pid"] == before["pid"]
        assert after["resident"] < before["resident"] + GROWTH
