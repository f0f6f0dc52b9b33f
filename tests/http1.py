"""One client connection that speaks HTTP/1.1, on a plain socket: it sees every byte and every close."""

import asyncio
import contextlib
import itertools
import os
import socket
from dataclasses import dataclass, field
from urllib.parse import urlsplit

CHUNK = 1 << 16
NUMBERS = itertools.count(1)  # of the connections that this process opened


class Failure(Exception):
    """A request got no whole answer; the text is the kind of failure, the same for all of its kind."""


@dataclass(frozen=True)
class Target:
    """What to ask, and how to get there.

    `unix` is the path of a socket that is used in place of the host in `url`; `source` is the address
    to come from; `keep_alive` says whether the connection is kept for the next request.
    """

    url: str
    method: str = "GET"
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    keep_alive: bool = True
    unix: str = ""
    source: str = ""

    def request(self) -> bytes:
        """The request as it is sent."""
        url = urlsplit(self.url)
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        fields = {"Host": url.netloc or "localhost"}
        if not self.keep_alive:
            fields["Connection"] = "close"
        if self.body:
            fields["Content-Length"] = str(len(self.body))
        lines = [f"{self.method} {path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in (fields | self.headers).items()]
        return "\r\n".join([*lines, "", ""]).encode() + self.body

    def address(self) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
        """The family and the address to connect to. Hosts are literals: a look-up would be measured."""
        if self.unix:
            return socket.AF_UNIX, self.unix
        url = urlsplit(self.url)
        host = "127.0.0.1" if url.hostname in (None, "localhost") else str(url.hostname)
        return (socket.AF_INET6 if ":" in host else socket.AF_INET), (host, url.port or 80)


class Connection:
    """A connection, opened by the first request."""

    def __init__(self, target: Target) -> None:
        self._head_only = target.method == "HEAD"
        self._target = target
        self._request = target.request()
        self._family, self._address = target.address()
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._socket: socket.socket | None = None
        self.number = 0
        self.opened = 0
        self.reconnects = 0

    def close(self) -> None:
        """Close it; the next request opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._buffer.clear()

    async def request(self) -> tuple[int, bytes]:
        """One request: the status and the body of its answer. Raises Failure.

        A kept connection that the server had closed before the request was written is opened anew,
        as every client does. One that ends after the first byte was written is a failure: the
        client cannot know whether the server has done the work.
        """
        if self._socket is not None and self._is_stale(self._socket):
            self.close()
            self.reconnects += 1
        if self._socket is None:
            self._socket = await self._connect()
            self.opened += 1
            self.number = next(NUMBERS)
        try:
            # An answer may come before all of the request is sent (413); then the rest may fail.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                await self._loop.sock_sendall(self._socket, self._request)
            status, body, kept = await self._response(self._socket)
        except ConnectionResetError:
            self.close()
            raise Failure("reset by the server") from None
        except OSError as error:
            self.close()
            raise Failure(os.strerror(error.errno or 0)) from None
        except BaseException:
            self.close()
            raise
        if not (kept and self._target.keep_alive):
            self.close()
        return status, body

    @staticmethod
    def _is_stale(connection: socket.socket) -> bool:
        """Is there anything to read on an idle connection: its end, or bytes that nobody asked for?"""
        try:
            connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    async def _connect(self) -> socket.socket:
        connection = socket.socket(self._family, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            if self._family is not socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._target.source:
                connection.bind((self._target.source, 0))
            await self._loop.sock_connect(connection, self._address)
        except OSError as error:
            connection.close()
            raise Failure(f"connect: {os.strerror(error.errno or 0)}") from None
        except BaseException:
            connection.close()
            raise
        return connection

    async def _response(self, connection: socket.socket) -> tuple[int, bytes, bool]:
        """Status, body, and whether the connection can be used again."""
        status = 100
        while status < 200:  # an interim answer; the one that counts follows
            status, old, fields = parse_head(await self._until(connection, b"\r\n\r\n"))
        tokens = {token.strip() for token in fields.get("connection", "").lower().split(",")}
        kept = "keep-alive" in tokens if old else "close" not in tokens
        if self._head_only or status in (204, 304):
            body = b""
        elif "chunked" in fields.get("transfer-encoding", "").lower():
            body = await self._chunks(connection)
        elif "content-length" in fields:
            body = await self._exactly(connection, int(fields["content-length"]))
        else:
            body, kept = await self._rest(connection), False
        return status, body, kept

    async def _fill(self, connection: socket.socket) -> bool:
        """Read more; False at the end of the stream."""
        data = await self._loop.sock_recv(connection, CHUNK)
        self._buffer += data
        return bool(data)

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def _until(self, connection: socket.socket, end: bytes) -> bytes:
        while (found := self._buffer.find(end)) < 0:
            if not await self._fill(connection):
                raise Failure("closed in the answer's head" if self._buffer else "closed without an answer")
        return self._take(found + len(end))

    async def _exactly(self, connection: socket.socket, size: int) -> bytes:
        while len(self._buffer) < size:
            if not await self._fill(connection):
                raise Failure("closed in the answer's body")
        return self._take(size)

    async def _chunks(self, connection: socket.socket) -> bytes:
        """A chunked body (RFC 9112, section 7.1)."""
        body = bytearray()
        while size := int((await self._until(connection, b"\r\n")).split(b";")[0], 16):
            body += await self._exactly(connection, size)
            await self._exactly(connection, 2)
        while await self._until(connection, b"\r\n") != b"\r\n":
            pass  # a trailer field
        return bytes(body)

    async def _rest(self, connection: socket.socket) -> bytes:
        while await self._fill(connection):
            pass
        return self._take(len(self._buffer))


def parse_head(head: bytes) -> tuple[int, bool, dict[str, str]]:
    """Status, whether the server speaks HTTP/1.0, and the fields by their names in lower case."""
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
        raise Failure("not an HTTP answer")
    fields = {name.strip().lower(): value.strip() for name, _, value in (ln.partition(":") for ln in lines)}
    return int(rest[:3]), version == "HTTP/1.0", fields
