"""The example app: says which worker answers."""

import os
from collections.abc import Awaitable, Callable
from typing import Any

_SLOT = os.environ.get("SVC_SLOT", "0")
_WORKER = str(int(_SLOT) + 1) if _SLOT.isdigit() else _SLOT
_BODY = f"Handled by worker {_WORKER}, process {os.getpid()}\n".encode()


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],  # noqa: ARG001
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer every request with the number and the process of the worker."""
    if scope["type"] != "http":
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(_BODY)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _BODY})
