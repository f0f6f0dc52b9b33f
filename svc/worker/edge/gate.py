"""What comes between the parser and the application: requests that HTTP lets nobody serve, and their size.

The parsers differ in what they let pass, and a proxy in front may read the same bytes in another way: then
one client's request would hide in another's (RFC 9112, section 11.2). What no two servers agree on is refused
here, for each parser and each version of uvicorn alike. A plain request passes with a few look-ups.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from svc.worker.edge.old import speaking_old
from svc.worker.edge.refusal import LINGER_SECONDS

TARGET = "svc.target"  # in the scope: the target as it was sent, where a parser hides that it is not a path
KNOWN_HOSTS = 256  # values of Host that were seen to be valid and need no second look

Asgi = Callable[[Any, Any, Any], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

# RFC 3986, section 3.2.2, without the user that HTTP forbids; a port may follow.
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.vV]+\])(?::[0-9]*)?")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]+)([^?#]*)(?:\?[^#]*)?")
_LENGTH = re.compile(rb"[0-9]+")


def guard(app: Asgi, body: int = 0) -> Asgi:
    """`app`, behind what refuses; `body` is how many bytes a request may carry, 0 for any number."""
    glance = Glance()

    def call(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        if scope["type"] == "http":
            if scope["http_version"] == "1.0":
                send = speaking_old(receive, send)
            fields = dict(scope["headers"])
            status = glance.fault(scope, fields, body)
            if status:
                return refuse(status, receive, send)
            if body and b"transfer-encoding" in fields:
                return _bounded(app, body, scope, receive, send)
        return app(scope, receive, send)

    return call


class Glance:
    """`fault` at the price of a few look-ups for a plain request, which most are."""

    __slots__ = ("_hosts",)

    def __init__(self) -> None:
        self._hosts: set[bytes | None] = set()

    def fault(self, scope: Any, fields: dict[bytes, bytes], body: int = 0) -> int:
        """The same; `fields` are the headers, of those with one name any one."""
        path = scope["raw_path"]
        if (
            fields.get(b"host") in self._hosts
            and len(fields) == len(scope["headers"])
            and scope["http_version"] == "1.1"
            and path[:1] == b"/"
            and b"#" not in path
            and TARGET not in scope
            and b"transfer-encoding" not in fields
            and not (body and b"content-length" in fields)
        ):
            return 0
        status = fault(scope, body)
        if not status and b"host" in fields and len(self._hosts) < KNOWN_HOSTS:
            self._hosts.add(fields[b"host"])
        return status


def fault(scope: Any, body: int = 0) -> int:
    """The status with which a request is to be refused, 0 for one that may pass. Pure.

    The target of a request in absolute form is put right in `scope`, as RFC 9112, section 3.2.2, wants it.
    """
    version, headers = scope["http_version"], scope["headers"]
    if version not in ("1.1", "1.0"):
        return 505
    return _host_fault(scope, version, headers) or _framing_fault(version, headers, body)


def _host_fault(scope: Any, version: str, headers: Headers) -> int:
    hosts = _values(headers, b"host")
    if len(hosts) > 1 or (version == "1.1" and not hosts):
        return 400  # RFC 9112, section 3.2
    if hosts and not _HOST.fullmatch(hosts[0]):
        return 400
    target = scope.pop(TARGET, scope["raw_path"])
    if target.startswith(b"/"):
        return 400 if b"#" in target else 0
    if target == b"*":
        return 0 if scope["method"] == "OPTIONS" else 400
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or not _HOST.fullmatch(absolute[1]):
        return 400
    scope["headers"] = [field for field in headers if field[0] != b"host"] + [(b"host", absolute[1])]
    if not scope["raw_path"].startswith(b"/"):  # h11 takes the whole for a path
        from urllib.parse import unquote

        scope["raw_path"] = absolute[2] or b"/"
        scope["path"] = unquote(scope["raw_path"].decode("ascii"))
    return 0


def _framing_fault(version: str, headers: Headers, body: int) -> int:
    lengths, codings = _values(headers, b"content-length"), _values(headers, b"transfer-encoding")
    if codings:
        if lengths or version == "1.0":
            return 400  # the mark of smuggling: RFC 9112, section 6.1
        coding = b",".join(codings).strip(b" \t").lower()
        if coding != b"chunked":
            return 501 if len(codings) == 1 and coding.endswith(b"chunked") else 400
    if lengths:
        if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
            return 400
        if body and int(lengths[0]) > body:
            return 413
    return 0


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for field, value in headers if field == name]


async def refuse(status: int, receive: Any, send: Any) -> None:
    """Answer with `status`, let the client read it, and close the connection.

    The answer is out at once. To close while the client still sends its body would reset the connection, and
    the answer be lost: so what comes is thrown away until it ends, for a while.
    """
    text = b"%d %s\n" % (status, HTTPStatus(status).phrase.encode())
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(text)),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text, "more_body": True})
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            message = await receive()
            while message["type"] == "http.request" and message.get("more_body", False):
                message = await receive()
    except TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _bounded(app: Asgi, body: int, scope: Any, receive: Any, send: Any) -> None:
    """Call `app` with a request whose length nobody knows yet: 413 when it becomes too long.

    The application sees its client leave. When its answer has begun, the connection is closed in the middle.
    """
    left, begun = body, False

    async def counted() -> Any:
        nonlocal left
        if left < 0:
            return {"type": "http.disconnect"}
        message = await receive()
        left -= len(message.get("body", b""))
        return {"type": "http.disconnect"} if left < 0 else message

    async def sending(message: Any) -> None:
        nonlocal begun
        if left >= 0 or begun:
            begun = True
            await send(message)

    try:
        await app(scope, counted, sending)
    except Exception:
        if left >= 0 or begun:
            raise
    if left < 0 and not begun:
        await refuse(413, receive, send)
