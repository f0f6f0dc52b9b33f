"""Clients that nobody would write, and that come all the same. See `tests.system.visitors`."""

import itertools
import socket
import struct
from collections.abc import Iterator

from tests.system.visitors import Site
from tests.unit.worker.process import PATIENCE, Client

LARGE = 5_000_000  # bytes, more than the kernel keeps for a client that reads slowly
PIECE = 2000
SMALL_BUFFER = 4096
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER, for no second
SIZES = (1, 22, 333)
WINDOW = 5


class Connection(Client):
    """A connection to the app."""

    def __init__(self, site: Site, receive_buffer: int = 0) -> None:
        self.sock = socket.socket()
        self.sock.settimeout(PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.connect(("127.0.0.1", site.port))
        self._buffer = bytearray()

    def forget(self) -> int:
        """Drop what was read and not asked for yet; how many bytes."""
        count = len(self._buffer)
        self._buffer.clear()
        return count

    def expect(self, size: int) -> None:
        """Read the answer to a request(size): whole, and the connection stays open."""
        status, headers, body = self.answer()
        assert (status, len(body)) == (200, size), f"status {status}, {len(body)} bytes, not {size}"
        assert "connection" not in headers, headers


def request(size: int) -> bytes:
    """Ask for an answer with so many bytes: so one can be told from another."""
    return f"GET /big?bytes={size} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


def upload(size: int) -> bytes:
    """The head of a request with a body of so many bytes."""
    return f"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode()


def trickle(site: Site) -> Iterator[None]:
    """Sends each byte by itself."""
    with Connection(site) as client:
        for size in itertools.count(1):
            for byte in request(size):
                client.send(bytes([byte]))
            client.expect(size)
            yield


def leave(site: Site) -> Iterator[None]:
    """Leaves in the middle of things: of a request, of its body, of the answer; by a close or a reset."""
    things = [b"", request(1)[:20], upload(1000), upload(1000) + b"x" * 500, request(LARGE), request(1) * 3]
    while True:
        for sent in things:
            for option in (b"", RESET_ON_CLOSE):
                with Connection(site) as client:
                    client.send(sent)
                    if option:
                        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
        yield


def pipeline(site: Site) -> Iterator[None]:
    """Sends three requests in one go."""
    with Connection(site) as client:
        while True:
            client.send(b"".join(map(request, SIZES)))
            for size in SIZES:
                client.expect(size)
            yield


def never_idle(site: Site) -> Iterator[None]:
    """Always has requests waiting: sends the next one when the first of several is answered."""
    with Connection(site) as client:
        client.send(b"".join(map(request, range(1, WINDOW))))
        for size in itertools.count(1):
            client.send(request(size + WINDOW - 1))
            client.expect(size)
            if size % 20 == 0:
                yield


def pipeline_in_pieces(site: Site) -> Iterator[None]:
    """Sends three requests in pieces that end anywhere but at a request's end."""
    with Connection(site) as client:
        sent = b"".join(map(request, SIZES))
        for length in itertools.cycle(range(1, len(sent))):
            for start in range(0, len(sent), length):
                client.send(sent[start : start + length])
            for size in SIZES:
                client.expect(size)
            yield


def half_close(site: Site) -> Iterator[None]:
    """Says that nothing more will come, and waits for its answer."""
    while True:
        with Connection(site) as client:
            client.send(request(1000))
            client.sock.shutdown(socket.SHUT_WR)
            client.expect(1000)
            assert client.rest() == b""
        yield


def read_slowly(site: Site) -> Iterator[None]:
    """Reads a large answer in small pieces, through a small window."""
    with Connection(site, SMALL_BUFFER) as client:
        while True:
            client.send(request(LARGE))
            status, headers = client.head()
            left = LARGE - client.forget()
            while left:
                piece = client.sock.recv(min(PIECE, left))
                assert piece, f"closed {left} bytes before the end"
                left -= len(piece)
            assert (status, headers["content-length"]) == (200, str(LARGE))
            assert "connection" not in headers, headers
            yield


def upload_slowly(site: Site) -> Iterator[None]:
    """Sends a body in many pieces."""
    with Connection(site) as client:
        while True:
            client.send(upload(300 * PIECE))
            for _ in range(300):
                client.send(b"x" * PIECE)
            status, headers, body = client.answer()
            assert status == 200
            assert body.startswith(b"%d bytes" % (300 * PIECE)), body
            assert "connection" not in headers, headers
            yield


STRANGE = {
    "trickle": trickle,
    "leave": leave,
    "pipeline": pipeline,
    "pipeline in pieces": pipeline_in_pieces,
    "never idle": never_idle,
    "half-close": half_close,
    "read slowly": read_slowly,
    "upload slowly": upload_slowly,
}
