"""An ASGI application with everything a worker has to carry: lifespan, slow answers, streams, WebSockets."""

import asyncio
import os
import sys
import time
from typing import Any
from urllib.parse import parse_qs

STARTUP_FAILS = os.environ.get("STARTUP_FAILS", "")


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Route by path; the last part of a query such as ?seconds=2 says how long."""
    if scope["type"] == "lifespan":
        await _lifespan(scope, receive, send)
    elif scope["type"] == "websocket":
        await _echo(receive, send)
    else:
        query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
        await ROUTES.get(scope["path"], _hello)(scope, query, receive, send)


async def _lifespan(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    print("start-up", file=sys.stderr, flush=True)
    if STARTUP_FAILS == "raise":
        raise LookupError("the database is not there")
    if STARTUP_FAILS == "message":
        await send({"type": "lifespan.startup.failed", "message": "no licence found"})
        return
    if STARTUP_FAILS == "hang":
        await asyncio.Event().wait()
    scope.get("state", {})["greeting"] = "hello from the start-up"
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("shutdown", file=sys.stderr, flush=True)
    await send({"type": "lifespan.shutdown.complete"})


async def _echo(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            print(f"websocket left: {message.get('code')}", file=sys.stderr, flush=True)
            return
        await send({"type": "websocket.send", "text": message.get("text") or ""})


async def _answer(send: Any, body: bytes, status: int = 200) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _hello(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    del query, receive
    greeting = scope.get("state", {}).get("greeting", "hello")
    await _answer(send, f"{greeting}, process {os.getpid()}\n".encode())


async def _slow(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    del scope, receive
    await asyncio.sleep(float(query.get("seconds", "1")))
    await _answer(send, b"slow, but here\n")


async def _stream(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    """Send `chunks` chunks, `seconds` apart."""
    del scope, receive
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for number in range(int(query.get("chunks", "3"))):
        await send({"type": "http.response.body", "body": b"chunk %d\n" % number, "more_body": True})
        await asyncio.sleep(float(query.get("seconds", "0.1")))
    await send({"type": "http.response.body", "body": b"end\n"})


async def _upload(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    """Answer with the number of bytes received."""
    del scope, query
    length = 0
    while True:
        message = await receive()
        length += len(message.get("body", b""))
        if not message.get("more_body", False):
            break
    await _answer(send, b"%d bytes\n" % length)


async def _early(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    """Answer before the body has arrived."""
    del scope, query, receive
    await _answer(send, b"seen enough\n")


async def _big(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    """Answer with so many bytes in one piece."""
    del scope, receive
    await _answer(send, b"x" * int(query.get("bytes", "10000000")))


async def _hang(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    """Block the event loop itself, as a forgotten blocking call would."""
    del scope, receive
    end = time.monotonic() + float(query.get("seconds", "1"))
    while time.monotonic() < end:
        pass
    await _answer(send, b"back again\n")


async def _crash(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    del scope, receive, send
    os._exit(int(query.get("status", "1")))


_kept: list[int] = []


async def _eat(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    """Take all descriptors that are left."""
    del scope, query, receive
    try:
        while True:
            _kept.append(os.dup(1))
    except OSError:
        await _answer(send, b"%d taken\n" % len(_kept))


async def _give_back(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    del scope, query, receive
    while _kept:
        os.close(_kept.pop())
    await _answer(send, b"given back\n")


async def _fail(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    del scope, query, receive, send
    raise RuntimeError("this request always fails")


ROUTES = {
    "/slow": _slow,
    "/stream": _stream,
    "/upload": _upload,
    "/early": _early,
    "/big": _big,
    "/hang": _hang,
    "/crash": _crash,
    "/fail": _fail,
    "/eat": _eat,
    "/give-back": _give_back,
}

app = application
