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

from svc.worker.edge.strict import FRAMING
from svc.worker.late import is_late
from svc.worker.middleware import Asgi

Respond = Callable[[Any, int, Iterable[tuple[bytes, bytes]], bytes], bool]

COPIED = 65536  # bytes; a longer body is not copied behind its head
LINES = 1024  # lines of heads that are remembered
BODILESS = {204, 304}  # statuses; what follows such a head is the next answer: RFC 9112, section 6.3
MEANINGFUL = {b"content-length", b"transfer-encoding", b"connection"}
CLOSE = (b"connection", b"close")
# What a header may mean that says no length; NOT_OURS leaves the answer to uvicorn.
PLAIN, CLOSES, NOT_OURS = -1, -2, -3
LONGEST_LENGTH = 18  # digits
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
        return running  # by another language, or a class of its own: we cannot see when it waits

    return call


class _Joined:
    """Keeps the head of one answer until its body comes."""

    __slots__ = ("_bodiless", "_head", "_respond", "_send", "keeps")

    def __init__(self, send: Any, respond: Respond) -> None:
        self._send = send
        self._respond = respond
        self._head: Any = None
        self._bodiless = False
        self.keeps = False  # but while the application's own coroutine runs, see `_observed`

    async def send(self, message: Any) -> None:
        """ASGI's send."""
        head = self._head
        if self._bodiless:
            message = {**message, "body": b""}
        if head is None:
            if message["type"] == "http.response.start" and not self._send.__self__.response_started:
                if message["status"] in BODILESS:
                    self._bodiless = True
                    fields = [one for one in message.get("headers", ()) if one[0].lower() not in FRAMING]
                    message = {**message, "headers": fields}
                if self.keeps:
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
    joined.keeps = True
    while True:
        try:
            waits = step(value)
        except StopIteration as end:
            if joined._head is not None:
                joined.flush()
            return end.value
        except Exception as error:
            joined.flush()
            if is_late(joined._send.__self__, error):
                return None
            raise
        except BaseException:
            joined.flush()
            raise
        joined.keeps = False  # another task may send the head, and we cannot see when that one waits
        try:
            if joined._head is not None:
                joined.flush()
            value = yield waits
            step = running.send
        except GeneratorExit:
            running.close()
            raise
        except BaseException as error:  # also about a header, as if send() had raised it
            step, value = running.throw, error
        joined.keeps = True


class _Lines(dict[tuple[bytes, bytes], tuple[bytes, int]]):
    """Of each header the line that is written, and what it means: a length, or one of the constants above."""

    def __init__(self, bad_name: Callable[[bytes], object], bad_value: Callable[[bytes], object]) -> None:
        super().__init__()
        self._bad_name = bad_name
        self._bad_value = bad_value

    def __missing__(self, header: tuple[bytes, bytes]) -> tuple[bytes, int]:
        name, value = header
        lower = name.lower()
        if self._bad_name(name) or self._bad_value(value):
            meaning = NOT_OURS
        elif lower not in MEANINGFUL:
            meaning = PLAIN
        elif lower == b"content-length" and value.isdigit() and len(value) <= LONGEST_LENGTH:
            meaning = int(value)
        else:
            meaning = CLOSES if (lower, value) == CLOSE else NOT_OURS
        if len(self) >= LINES:
            self.clear()
        line = self[header] = b"".join((lower, b": ", value, b"\r\n")), meaning
        return line


def responder(protocol_class: Any) -> Respond | None:
    """A whole answer in one step, as uvicorn's protocol on httptools would write it in two.

    None for another protocol.
    """
    module = sys.modules[protocol_class.__module__]
    if not hasattr(protocol_class, "on_message_begin") or not all(hasattr(module, name) for name in NEEDED):
        return None
    lines_of = _Lines(module.HEADER_RE.search, module.HEADER_VALUE_RE.search)
    status_lines: dict[int, bytes] = module.STATUS_LINE
    # An older uvicorn looks for it in the request only now.
    asks_to_close = getattr(module, "CLOSE_HEADER", None)

    def respond(cycle: Any, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bool:
        """Answer, and True; or False, and nothing was done, when it has to be done in uvicorn's own way."""
        if (
            cycle.disconnected
            or cycle.flow.write_paused
            or cycle.access_log
            or type(body) is not bytes
            or len(body) > COPIED
            or not isinstance(headers, (list, tuple))  # an iterator could be read only once
            or (asks_to_close is not None and asks_to_close in cycle.scope["headers"])
        ):
            return False
        length, closes = -1, False
        lines = [status_lines[status]]
        for header in map(tuple, (*cycle.default_headers, *headers)):
            try:
                line, meaning = lines_of[header]
            except TypeError:
                return False  # uvicorn takes more than bytes
            if meaning != PLAIN:
                if meaning == NOT_OURS or (closes if meaning == CLOSES else length >= 0):
                    return False
                if meaning == CLOSES:
                    closes = True
                else:
                    length = meaning
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
