"""The smallest application: says which worker answered."""

import os
from typing import Any

SLOT = os.environ.get("SVC_SLOT", "0")
WORKER = str(int(SLOT) + 1) if SLOT.isdigit() else SLOT  # people count from 1; "surge" is no number


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request with the worker's number and process id."""
    del receive
    if scope["type"] != "http":
        raise RuntimeError("only http")
    body = f"Handled by worker {WORKER}, process {os.getpid()}\n".encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


app = application
