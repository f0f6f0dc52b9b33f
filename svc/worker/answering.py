"""Head and body of an answer in one write, and in one step.

Uvicorn writes the two one by one, as the application sends them: twice the way through the kernel, and two
packets. Most answers are known as a whole when their body is sent, for the head of an answer that has not
been sent does not leave before (ASGI's own rule); but an application that lets its client wait for the body
shall not let it wait for the head.
"""

import contextlib
import sys
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from typing import Any

from svc.worker.middleware import Asgi

Respond = Callable[[Any, int, Iterable[tuple[bytes, bytes]], bytes], bool]

COPIED = 65536  # bytes; a longer body is not copied behind its head
LINES = 1024  # lines of heads that are remembered
MEANINGFUL = {b"content-length", b"transfer-encoding", b"connection"}
NEEDED = ("HEADER_RE", "HEADER_VALUE_RE", "STATUS_LINE", "RequestResponseCycle")


def answering(app: Asgi, respond: Respond) -> Asgi:
    """`app`, whose answers are written by `respond` where that can."""

    def call(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        if scope["type"] != "http":
            return app(scope, receive, send)
        joined = _Joined(send, respond)
        running = app(scope, receive, joined.send)
        if isinstance(running, types.CoroutineType):
            return _observed(running, joined)
        joined.keeps = False  # by another language, or a class of its own: we cannot see when it waits
        return running

    return call


class _Joined:
    """Keeps the head of one answer until its body comes."""

    __slots__ = ("_head", "_respond", "_send", "keeps")

    def __init__(self, send: Any, respond: Respond) -> None:
        self._send = send
        self._respond = respond
        self._head: Any = None
        self.keeps = True

    async def send(self, message: Any) -> None:
        """ASGI's send."""
        head = self._head
        if head is None:
            is_head = message["type"] == "http.response.start" and not self._send.__self__.response_started
            if is_head and self.keeps:
                self._head = message
                return
        else:
            self._head = None
            if (
                message["type"] == "http.response.body"
                and not message.get("more_body", False)
                and self._respond(
                    self._send.__self__, head["status"], head.get("headers", ()), message.get("body", b"")
                )
            ):
                return
            await self._send(head)
        await self._send(message)

    def flush(self) -> None:
        """Send the head that waits, if there is one, unless it would have to wait for the client."""
        cycle = self._send.__self__
        if self._head is not None and not cycle.flow.write_paused:
            head, self._head = self._head, None
            with contextlib.suppress(StopIteration):
                self._send(head).send(None)


@types.coroutine
def _observed(running: Coroutine[Any, Any, Any], joined: _Joined) -> Generator[Any, Any, Any]:
    """`running`, as it is, but the head leaves whenever it waits."""
    step: Callable[[Any], Any] = running.send
    value: Any = None
    while True:
        try:
            waits = step(value)
        except StopIteration as end:
            if joined._head is not None:
                joined.flush()
            return end.value
        except BaseException:
            joined.flush()
            raise
        if joined._head is not None:
            joined.flush()
        try:
            value = yield waits
            step = running.send
        except GeneratorExit:
            running.close()
            raise
        except BaseException as error:
            step, value = running.throw, error


def responder(protocol_class: Any) -> Respond | None:
    """A whole answer in one step, as uvicorn's protocol on httptools would write it in two.

    None for another protocol.
    """
    module = sys.modules[protocol_class.__module__]
    if not hasattr(protocol_class, "on_message_begin") or not all(hasattr(module, name) for name in NEEDED):
        return None
    bad_name, bad_value = module.HEADER_RE.search, module.HEADER_VALUE_RE.search
    status_lines: dict[int, bytes] = module.STATUS_LINE
    known: dict[Any, bytes] = {}
    close = getattr(module, "CLOSE_HEADER", None)  # an older uvicorn looks for it in the request only now

    def line_of(header: tuple[bytes, bytes]) -> bytes | None:
        """A header as it is written. None for those that mean something, and for those to be refused."""
        name, value = header
        lower = name.lower()
        if lower in MEANINGFUL or bad_name(name) or bad_value(value):
            return None
        if len(known) >= LINES:
            known.clear()
        line = known[header] = b"".join((lower, b": ", value, b"\r\n"))
        return line

    def respond(cycle: Any, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bool:
        """Answer, and True; or False, and nothing was done, when it has to be done in uvicorn's own way."""
        if (
            cycle.disconnected
            or cycle.flow.write_paused
            or cycle.access_log
            or type(body) is not bytes
            or len(body) > COPIED
            or (close is not None and close in cycle.scope["headers"])
        ):
            return False
        length, closes = -1, False
        lines = [status_lines[status]]
        for header in map(tuple, (*cycle.default_headers, *headers)):
            try:
                line = known.get(header) or line_of(header)
            except TypeError:
                return False  # uvicorn takes more than bytes
            if line is None:
                name, value = header[0].lower(), header[1]
                if name == b"content-length" and length < 0 and value.isdigit():
                    length = int(value)
                elif name == b"connection" and value == b"close" and not closes:
                    closes = True
                else:
                    return False
                line = b"".join((name, b": ", value, b"\r\n"))
            lines.append(line)
        if cycle.scope["method"] == "HEAD":
            body = b""
        elif length != len(body):
            return False
        if closes:
            cycle.keep_alive = False
        elif not cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        lines += b"\r\n", body
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = cycle.chunked_encoding = False
        cycle.transport.write(b"".join(lines))
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
        return True

    return respond
