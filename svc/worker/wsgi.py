"""WSGI applications (PEP 3333) behind the same connection handling as ASGI ones.

The request's body is read completely first, so that a slow client never blocks the worker. Then the
application is called inline: one call at a time, as in gunicorn's sync worker. Between two chunks of
a response the event loop runs, with back-pressure, so that a slow reader blocks nobody either.
"""

import asyncio
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import lru_cache
from io import BytesIO
from types import TracebackType
from typing import IO, Any
from urllib.parse import unquote_to_bytes
from wsgiref.util import FileWrapper

from svc.worker.answering import BODILESS
from svc.worker.middleware import Asgi

BODY_IN_MEMORY = 1024 * 1024  # bytes; a longer body goes to a temporary file

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
RawHeaders = list[tuple[bytes, bytes]]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
GoesOn = Callable[[Any, Any, Any], Coroutine[Any, Any, None]]
WsgiApplication = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


def as_asgi(app: WsgiApplication, room: AbstractAsyncContextManager[None] | None = None) -> Asgi:
    """`app` as an ASGI application. `room` is entered for each call, after the request's body was read."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"a WSGI application cannot serve {scope['type']}")
        body = await _read_body(receive)
        if body is None:
            return
        with body[0]:
            exchange, environ = Exchange(scope, receive, send), environ_of(scope, *body)
            if room is None:
                await exchange.finish(exchange.call(app, environ))
                return
            async with room:
                await exchange.finish(exchange.call(app, environ))

    return call


async def _read_body(receive: Any) -> tuple[IO[bytes], int] | None:
    """The whole body and its length in bytes; None when the client left before it had sent it."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body = message.get("body", b"")
        return BytesIO(body), len(body)
    spooled = tempfile.SpooledTemporaryFile(max_size=BODY_IN_MEMORY)  # noqa: SIM115 - the caller closes it
    length = 0
    while message["type"] == "http.request":
        length += spooled.write(message.get("body", b""))
        if not message.get("more_body", False):
            spooled.seek(0)
            return spooled, length
        message = await receive()
    spooled.close()
    return None


_SAME_FOR_ALL: Environ = {
    "wsgi.version": (1, 0),
    "wsgi.input_terminated": True,
    "wsgi.multithread": False,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
    "wsgi.file_wrapper": FileWrapper,
}


def environ_of(scope: Any, body: IO[bytes], length: int) -> Environ:
    """The environ of PEP 3333 for one request; strings are bytes decoded as latin-1, as it demands."""
    root = scope.get("root_path", "")
    if root:
        root = unquote_to_bytes(root).decode("latin-1")
    raw = scope["raw_path"]
    path = (unquote_to_bytes(raw) if b"%" in raw else raw).decode("latin-1")
    client, server = scope.get("client"), scope.get("server")
    has_port = server and server[1] is not None
    environ = _SAME_FOR_ALL.copy()
    environ["REQUEST_METHOD"] = scope["method"]
    environ["SCRIPT_NAME"] = root
    environ["PATH_INFO"] = path.removeprefix(root)
    environ["QUERY_STRING"] = scope["query_string"].decode("latin-1")
    environ["REMOTE_ADDR"] = client[0] if client else ""
    environ["SERVER_NAME"] = server[0] if has_port else "localhost"
    environ["SERVER_PORT"] = str(server[1]) if has_port else "80"
    environ["SERVER_PROTOCOL"] = f"HTTP/{scope['http_version']}"
    environ["wsgi.url_scheme"] = scope.get("scheme", "http")
    environ["wsgi.input"] = body
    environ["wsgi.errors"] = sys.stderr
    if client:
        environ["REMOTE_PORT"] = str(client[1])
    for name, value in scope["headers"]:
        key = _key_of(name)
        if key is not None:
            text = value.decode("latin-1")
            if key in environ:
                text = environ[key] + ("; " if key == "HTTP_COOKIE" else ",") + text
            environ[key] = text
    if length or "CONTENT_LENGTH" in environ:
        environ["CONTENT_LENGTH"] = str(length)  # a chunked body has its length by now
    return environ


@lru_cache(256)
def _key_of(name: bytes) -> str | None:
    """Where in the environ a header goes; None when it has no place there."""
    if name == b"transfer-encoding" or b"_" in name:
        # The body is decoded already. And X_Real_IP must not pass for X-Real-IP, which a proxy vouches for.
        return None
    key = name.decode("latin-1").upper().replace("-", "_")
    return key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"


@contextmanager
def outside_the_loop() -> Iterator[None]:
    """Let blocking code run as if no event loop ran in this thread.

    Django refuses its database, and asgiref and asyncio.run() refuse to work, where they see one. The
    four functions are documented for those who extend asyncio.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is not None:
        asyncio._leave_task(loop, task)
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
        if task is not None:
            asyncio._enter_task(loop, task)


class Exchange:
    """One request and its response."""

    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        self._head_only = scope["method"] == "HEAD"
        self._receive = receive
        self._send = send
        self._status = 0
        self._headers: Headers | None = None
        self.begun = False
        self.left: int | None = None  # bytes that Content-Length still allows
        self.written: list[bytes] = []

    def call(self, app: WsgiApplication, environ: Environ) -> Iterable[bytes]:
        """Call the application, for `finish`. Its exceptions pass through."""
        with outside_the_loop():
            return app(environ, self.start_response)

    async def finish(self, chunks: Iterable[bytes], begun: Iterator[bytes] | None = None) -> None:
        """Send what the application answers; `begun` is the iterator of `chunks` if there is one already."""
        try:
            if begun is None and isinstance(chunks, (list, tuple)):
                await self._send_all(chunks)
            else:
                await self._stream(begun or iter(chunks))
        finally:
            if hasattr(chunks, "close"):
                with outside_the_loop():
                    chunks.close()

    def finishing(self, chunks: Iterable[bytes], begun: Iterator[bytes] | None = None) -> GoesOn:
        """`finish` as an ASGI application."""
        return lambda _scope, _receive, _send: self.finish(chunks, begun)

    def start_response(
        self, status: str, headers: Headers, exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """PEP 3333's."""
        if exc_info is not None:
            try:
                if self.begun:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # no cycle through the traceback
            self.written.clear()  # it belongs to the answer that this one replaces
        elif self._headers is not None:
            raise AssertionError("start_response() was called a second time without exc_info")
        self._status = int(status[:3])
        self._headers = list(headers)
        return self.written.append  # sent as soon as the application returns or yields

    async def _send_all(self, chunks: list[bytes] | tuple[bytes, ...]) -> None:
        body = b"".join([*self.written, *chunks])
        self.written.clear()
        await self._begin(len(body))
        await self._body(body, more=False)

    async def _stream(self, chunks: Iterator[bytes]) -> None:
        gone: asyncio.Task[Any] | None = None
        try:
            while True:
                with outside_the_loop():
                    chunk = next(chunks, None)
                data = b"".join([*self.written, chunk or b""])
                self.written.clear()
                if data:
                    await self._begin(None)
                    await self._body(data, more=True)
                if chunk is None:
                    break
                if gone is None:
                    # After the body is read, receive() returns when the client has left.
                    gone = asyncio.get_running_loop().create_task(self._receive())
                await asyncio.sleep(0)  # others may have waited while the application made this chunk
                if gone.done():
                    return
            await self._begin(None)
            await self._body(b"", more=False)
        finally:
            if gone is not None:
                gone.cancel()

    def head(self, length: int | None) -> tuple[int, RawHeaders]:
        """Status and headers; `length` is the length of the whole body where that is known."""
        if self._headers is None:
            raise AssertionError("the application returned without calling start_response()")
        headers: RawHeaders = []
        given: bytes | None = None
        for name, value in self._headers:
            field = name.lower().encode("latin-1")
            if field == b"transfer-encoding":
                continue  # ours to set, PEP 3333
            text = value.encode("latin-1")
            if field == b"content-length" and given is None:
                given = text
            headers.append((field, text))
        if self._status in BODILESS:
            self.left = 0
            headers = [field for field in headers if field[0] != b"content-length"]
        elif given is not None:
            self.left = int(given)
        elif length is not None and not self._head_only and self._status >= 200:
            headers.append((b"content-length", b"%d" % length))
        return self._status, headers

    async def _begin(self, length: int | None) -> None:
        """Send the head, once."""
        if self.begun:
            return
        status, headers = self.head(length)
        self.begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _body(self, data: bytes, *, more: bool) -> None:
        if self._head_only:
            data = b""
        if self.left is not None:
            data = data[: self.left]  # what goes beyond Content-Length would be taken for the next answer
            self.left -= len(data)
        if data or not more:
            await self._send({"type": "http.response.body", "body": data, "more_body": more})
