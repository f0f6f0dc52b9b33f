"""A plain WSGI application: uploads, streams, the old write(), errors."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
TEXT = [("Content-Type", "text/plain")]


class Closing:
    """An iterable that says when it is closed."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        """Called by the server in every case, PEP 3333."""
        print("closed", file=sys.stderr, flush=True)


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Route by path."""
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    return ROUTES.get(environ["PATH_INFO"], _hello)(environ, query, start_response)


def _hello(environ: Environ, query: dict[str, str], start_response: StartResponse) -> Iterable[bytes]:
    del environ, query
    start_response("200 OK", TEXT)
    return [f"Handled by worker {os.environ.get('SVC_SLOT')}, process {os.getpid()}\n".encode()]


def _environ(environ: Environ, query: dict[str, str], start_response: StartResponse) -> Iterable[bytes]:
    """Every string of the environ, one a line."""
    del query
    start_response("200 OK", TEXT)
    lines = (f"{name}={value}\n" for name, value in sorted(environ.items()) if isinstance(value, str | bool))
    return ["".join(lines).encode("latin-1")]


def _length(environ: Environ, query: dict[str, str], start_response: StartResponse) -> Iterable[bytes]:
    """The number of bytes in the body, and what CONTENT_LENGTH says."""
    del query
    start_response("200 OK", TEXT)
    length = sum(len(part) for part in iter(lambda: environ["wsgi.input"].read(65536), b""))
    return [f"{length} bytes, CONTENT_LENGTH {environ.get('CONTENT_LENGTH')}\n".encode()]


def _stream(environ: Environ, query: dict[str, str], start_response: StartResponse) -> Iterable[bytes]:
    """Yield `chunks` chunks of `size` bytes."""
    del environ
    start_response("200 OK", TEXT)
    return Closing(b"x" * int(query.get("size", "10")) for _ in range(int(query.get("chunks", "3"))))


def _big(environ: Environ, query: dict[str, str], start_response: StartResponse) -> Iterable[bytes]:
    """Answer with so many bytes, in pieces."""
    del environ
    size, piece = int(query.get("bytes", "10000000")), 65536
    start_response("200 OK", [*TEXT, ("Content-Length", str(size))])
    return (b"x" * min(piece, size - start) for start in range(0, size, piece))


def _written(environ: Environ, query: dict[str, str], start_response: StartResponse) -> Iterable[bytes]:
    del environ, query
    write = start_response("200 OK", TEXT)
    write(b"written, ")
    return [b"then returned\n"]


def _replaced(environ: Environ, query: dict[str, str], start_response: StartResponse) -> Iterable[bytes]:
    """An error found before the head was sent replaces the answer."""
    del environ, query
    start_response("200 OK", TEXT)
    try:
        raise LookupError("found too late")
    except LookupError:
        start_response("503 Service Unavailable", TEXT, sys.exc_info())
    return [b"replaced\n"]


def _broken(environ: Environ, query: dict[str, str], start_response: StartResponse) -> Iterable[bytes]:
    """An error found after the head was sent ends the connection."""
    del environ, query

    def chunks() -> Iterator[bytes]:
        yield b"a part\n"
        try:
            raise LookupError("found in the middle")
        except LookupError:
            start_response("500 Internal Server Error", TEXT, sys.exc_info())

    start_response("200 OK", TEXT)
    return Closing(chunks())


def _file(environ: Environ, query: dict[str, str], start_response: StartResponse) -> Iterable[bytes]:
    del query
    start_response("200 OK", TEXT)
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](open(__file__, "rb"), 1024)  # noqa: PTH123, SIM115
    return wrapped


def _nested(environ: Environ, query: dict[str, str], start_response: StartResponse) -> Iterable[bytes]:
    """Run an event loop of one's own, as Flask's async views and Django's async_to_sync do."""
    del environ, query

    async def inner() -> bytes:
        await asyncio.sleep(0)
        return b"from a nested loop\n"

    start_response("200 OK", TEXT)
    return [asyncio.run(inner())]


def _busy(environ: Environ, query: dict[str, str], start_response: StartResponse) -> Iterable[bytes]:
    """Compute for `seconds`."""
    del environ
    end = time.monotonic() + float(query.get("seconds", "0.1"))
    while time.monotonic() < end:
        pass
    start_response("200 OK", TEXT)
    return [b"computed\n"]


ROUTES = {
    "/environ": _environ,
    "/length": _length,
    "/upload": _length,
    "/big": _big,
    "/stream": _stream,
    "/written": _written,
    "/replaced": _replaced,
    "/broken": _broken,
    "/file": _file,
    "/nested": _nested,
    "/busy": _busy,
}

app = application
