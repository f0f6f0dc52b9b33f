"""The application of the parts that watch clients: answers with its process id, at several speeds.

`STARTUP` is how many seconds its import takes; with `CRASH` each process exits at a random moment
within so many seconds from its start; it says so on standard error, and in the folder `CRASHES`.
"""

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

SLOW_SECONDS = 2.0
WORK_SECONDS = 0.005
BLOCK_SECONDS, LONG_BLOCK_SECONDS = 0.005, 0.1

time.sleep(float(os.environ.get("STARTUP", "0")))


def _crash() -> None:
    time.sleep(random.uniform(0, float(os.environ["CRASH"])))
    if folder := os.environ.get("CRASHES"):
        with open(f"{folder}/crashes", "ab") as file:  # noqa: PTH123
            file.write(b".")
    os.write(2, b"crashing now\n")
    os._exit(1)


def _compute() -> None:
    """5 ms of CPU time: so that what hyperthreads share does not count against a server."""
    end = time.thread_time() + WORK_SECONDS
    while time.thread_time() < end:
        pass


BLOCKING: dict[str, Callable[[], None]] = {
    "/work": _compute,
    "/block": lambda: time.sleep(BLOCK_SECONDS),
    "/long-block": lambda: time.sleep(LONG_BLOCK_SECONDS),
}

_crashing = False


def _process() -> bytes:
    """The process id; forked servers import the application before or after they fork, so ask each time."""
    global _crashing  # noqa: PLW0603
    if not _crashing and "CRASH" in os.environ:
        _crashing = True
        threading.Thread(target=_crash, daemon=True).start()
    return b"%d\n" % os.getpid()


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """Answer in ASGI."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["type"] == "websocket":
        await _echo(receive, send)
    else:
        path = scope["path"]
        if path == "/slow":
            await asyncio.sleep(SLOW_SECONDS)
        elif path in BLOCKING:
            BLOCKING[path]()
        elif scope["method"] == "POST":
            while (await receive()).get("more_body", False):
                pass
        body = _process()
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Any, send: Any) -> None:
    await receive()
    _process()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def _echo(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message.get("text") or ""})


def wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer in WSGI."""
    path = environ["PATH_INFO"]
    if path == "/slow":
        time.sleep(SLOW_SECONDS)
    elif path in BLOCKING:
        BLOCKING[path]()
    elif environ["REQUEST_METHOD"] == "POST":
        while environ["wsgi.input"].read(65536):
            pass
    body = _process()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
