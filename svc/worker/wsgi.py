"""WSGI applications (PEP 3333) behind the same connection handling as ASGI ones.

The request's body is read completely first, so that a slow client never blocks the worker. Then the
application is called inline: one call at a time, as in gunicorn's sync worker. Between two chunks of
a response the event loop runs, with back-pressure, so that a slow reader blocks nobody either.
"""

import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from io import BytesIO
from types import TracebackType
from typing import IO, Any
from urllib.parse import unquote_to_bytes
from wsgiref.util import FileWrapper

from svc.worker.uvicorn_seam import Asgi

BODY_IN_MEMORY = 1024 * 1024  # bytes; a longer body goes to a temporary file

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
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
            exchange = _Exchange(scope, receive, send)
            if room is None:
                await exchange.run(app, environ_of(scope, *body))
                return
            async with room:
                await exchange.run(app, environ_of(scope, *body))

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


def environ_of(scope: Any, body: IO[bytes], length: int) -> Environ:
    """The environ of PEP 3333 for one request; strings are bytes decoded as latin-1, as it demands."""
    root = unquote_to_bytes(scope.get("root_path", "")).decode("latin-1")
    path = unquote_to_bytes(scope["raw_path"]).decode("latin-1")
    client, server = scope.get("client"), scope.get("server")
    environ: Environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": root,
        "PATH_INFO": path.removeprefix(root),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "REMOTE_ADDR": client[0] if client else "",
        "SERVER_NAME": server[0] if server and server[1] is not None else "localhost",
        "SERVER_PORT": str(server[1]) if server and server[1] is not None else "80",
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
    }
    if client:
        environ["REMOTE_PORT"] = str(client[1])
    for name, value in scope["headers"]:
        _add_header(environ, name.decode("latin-1"), value.decode("latin-1"))
    if length or "CONTENT_LENGTH" in environ:
        environ["CONTENT_LENGTH"] = str(length)  # a chunked body has its length by now
    return environ


def _add_header(environ: Environ, name: str, value: str) -> None:
    if name == "transfer-encoding" or "_" in name:
        # The body is decoded already. And X_Real_IP must not pass for X-Real-IP, which a proxy vouches for.
        return
    key = name.upper().replace("-", "_")
    if key not in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
        key = f"HTTP_{key}"
    if key in environ:
        value = environ[key] + ("; " if key == "HTTP_COOKIE" else ",") + value
    environ[key] = value


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


class _Exchange:
    """One request and its response."""

    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        self._head_only = scope["method"] == "HEAD"
        self._receive = receive
        self._send = send
        self._status = 0
        self._headers: Headers | None = None
        self._begun = False
        self._left: int | None = None  # bytes that Content-Length still allows
        self._written: list[bytes] = []

    async def run(self, app: WsgiApplication, environ: Environ) -> None:
        """Call the application and send what it answers. Its exceptions pass through."""
        with outside_the_loop():
            chunks = app(environ, self._start_response)
        try:
            if isinstance(chunks, (list, tuple)):
                await self._send_all(chunks)
            else:
                await self._stream(iter(chunks))
        finally:
            if hasattr(chunks, "close"):
                with outside_the_loop():
                    chunks.close()

    def _start_response(
        self, status: str, headers: Headers, exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None:
            try:
                if self._begun:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # no cycle through the traceback
        elif self._headers is not None:
            raise AssertionError("start_response() was called a second time without exc_info")
        self._status = int(status[:3])
        self._headers = list(headers)
        return self._written.append  # sent as soon as the application returns or yields

    async def _send_all(self, chunks: list[bytes] | tuple[bytes, ...]) -> None:
        body = b"".join([*self._written, *chunks])
        self._written.clear()
        await self._begin(len(body))
        await self._body(body, more=False)

    async def _stream(self, chunks: Iterator[bytes]) -> None:
        gone: asyncio.Task[Any] | None = None
        try:
            while True:
                with outside_the_loop():
                    chunk = next(chunks, None)
                data = b"".join([*self._written, chunk or b""])
                self._written.clear()
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

    async def _begin(self, length: int | None) -> None:
        """Send the head, once; `length` is the length of the whole body where that is known."""
        if self._begun:
            return
        if self._headers is None:
            raise AssertionError("the application returned without calling start_response()")
        self._begun = True
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self._headers]
        given = [value for name, value in headers if name == b"content-length"]
        if given:
            self._left = int(given[0])
        elif (
            length is not None
            and not self._head_only
            and self._status >= 200
            and self._status not in {204, 304}
        ):
            headers.append((b"content-length", b"%d" % length))
        await self._send({"type": "http.response.start", "status": self._status, "headers": headers})

    async def _body(self, data: bytes, *, more: bool) -> None:
        if self._head_only:
            data = b""
        if self._left is not None:
            data = data[: self._left]  # what goes beyond Content-Length would be taken for the next answer
            self._left -= len(data)
        if data or not more:
            await self._send({"type": "http.response.body", "body": data, "more_body": more})
