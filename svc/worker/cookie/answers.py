"""The side that answers: sets the cookie, and lets a client go that belongs elsewhere."""

from collections.abc import Callable
from typing import Any

from svc.worker.answering import CLOSE
from svc.worker.cookie.head import header, named_by
from svc.worker.middleware import Asgi

_STARTS = ("http.response.start", "websocket.accept")


def sticky(app: Asgi, name: bytes, slot: str, is_there: Callable[[str], bool]) -> Asgi:
    """`app`, whose clients come to know by the cookie `name` that they belong to the worker of `slot`.

    The surge worker, whose slot is no number, takes nobody as its own: it will be gone in a moment.
    """
    ours = header(name, slot) if slot.isdecimal() else None

    async def call(scope: Any, receive: Any, send: Any) -> None:
        kind = scope["type"]
        named = _named(scope["headers"], name) if kind != "lifespan" else slot
        if named == slot:
            await app(scope, receive, send)
            return
        more = ours
        if named and is_there(named):
            more = CLOSE if kind == "http" else None
        if more is None:
            await app(scope, receive, send)
            return

        async def send_with(message: Any) -> None:
            if message["type"] in _STARTS:
                message = {**message, "headers": [*message.get("headers", ()), more]}
            await send(message)

        await app(scope, receive, send_with)

    return call


def _named(headers: Any, name: bytes) -> str:
    for field, value in headers:
        if field == b"cookie" and (slot := named_by(value, name)):
            return slot
    return ""
