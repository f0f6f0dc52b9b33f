"""An application, as ASGI and as WSGI, that remembers which whole requests each client got through to it."""

import asyncio
import gc
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

SEEN: dict[str, list[tuple[str, str, str]]] = {}


def _answer(port: str, method: str, target: str, body: bytes) -> bytes:
    """What /seen/PORT and /state tell; any other request is remembered."""
    if target.startswith("/seen/"):
        return json.dumps(SEEN.pop(target.removeprefix("/seen/"), [])).encode()
    if target == "/state":
        SEEN.clear()  # of clients that left and were not asked for
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
        fds = len(list(Path("/proc/self/fd").iterdir()))
        state = {"fds": fds, "resident": pages * os.sysconf("SC_PAGE_SIZE"), "pid": os.getpid()}
        gc.collect()
        state["protocols"] = sum(isinstance(one, asyncio.Protocol) for one in gc.get_objects())
        return json.dumps(state).encode()
    SEEN.setdefault(port, []).append((method, target, body.decode("latin-1")))
    return b"seen\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI one."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1000})
    else:
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        query = scope["query_string"].decode("latin-1")
        target = scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
        content = _answer(str((scope["client"] or ["", 0])[1]), scope["method"], target, bytes(body))
        headers = [(b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """The WSGI one."""
    query = environ["QUERY_STRING"]
    target = environ["PATH_INFO"] + (f"?{query}" if query else "")
    body = environ["wsgi.input"].read()
    content = _answer(environ.get("REMOTE_PORT", ""), environ["REQUEST_METHOD"], target, body)
    start_response("200 OK", [("Content-Length", str(len(content)))])
    return [content]
