"""Clients of HTTP/1.0, to whom uvicorn's protocol on httptools would speak HTTP/1.1."""

from collections.abc import Awaitable, Callable
from typing import Any

LENGTH, CODING = b"content-length", b"transfer-encoding"


def speaking_old(receive: Any, send: Any) -> Callable[[Any], Awaitable[None]]:
    """`send` for such a client, which knows neither 100 Continue nor chunks: RFC 9110, section 10.1.1, and
    RFC 9112, section 6.1. Where an answer says no length, its body ends with the connection.
    """
    cycle = receive.__self__
    cycle.waiting_for_100_continue = False
    endless = False

    async def sending(message: Any) -> None:
        nonlocal endless
        if message["type"] == "http.response.start":
            fields = [field for field in message.get("headers", ()) if field[0].lower() != CODING]
            if not any(field[0].lower() == LENGTH for field in fields):
                endless, cycle.chunked_encoding = True, False
            message = {**message, "headers": fields}
        elif endless:
            cycle.expected_content_length = len(message.get("body", b""))  # which uvicorn checks
        await send(message)

    return sending
