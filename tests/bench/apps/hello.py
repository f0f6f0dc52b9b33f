"""The smallest application in every interface: what is left is the server's own work."""

from collections.abc import Callable, Iterable
from typing import Any

BODY = b"hello, world\n"
TYPE, LENGTH = "text/plain", str(len(BODY))
HEADERS = [(b"content-type", TYPE.encode()), (b"content-length", LENGTH.encode())]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """Answer in ASGI."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


async def _lifespan(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer in WSGI."""
    del environ
    start_response("200 OK", [("Content-Type", TYPE), ("Content-Length", LENGTH)])
    return [BODY]
