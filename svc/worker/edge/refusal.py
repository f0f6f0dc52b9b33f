"""To refuse what cannot be read: in its turn, and so that the client comes to read the answer."""

import asyncio
from http import HTTPStatus
from typing import Any

from svc.worker import pipelines

LINGER_SECONDS = 2.0  # how long a refused client may go on sending, so that it comes to read the answer


def refuse(protocol: Any, status: int, *, within_body: bool) -> None:
    """Read no more from this client; answer what came before, then with `status` where that makes sense.

    `within_body` says whether the head was read already, so that the application may be at work.
    """
    transport, cycle = protocol.transport, protocol.cycle
    if within_body:
        waiting = getattr(protocol, "pipeline", ())
        if not waiting:
            started = cycle.response_started
            cycle.disconnected = True  # the application hears that its client left
            cycle.message_event.set()
            cycle.waiting_for_100_continue = False  # nothing more may be written for it
            if started:
                transport.close()  # in an answer there is no room for another
            else:
                _answer(protocol, status)
            return
        waiting.popleft()  # it was not begun yet
        cycle = waiting[0][0] if waiting else pipelines.running(protocol, protocol.tasks)
    if cycle is None or cycle.response_complete:
        _answer(protocol, status)
        return
    cycle.keep_alive = False  # the last of those that came before: its answer closes the connection
    transport.set_protocol(_Deaf(protocol))


def _answer(protocol: Any, status: int) -> None:
    phrase = HTTPStatus(status).phrase
    text = f"{status} {phrase}\n"
    dates = [value.decode() for name, value in protocol.server_state.default_headers if name == b"date"]
    lines = [
        f"HTTP/1.1 {status} {phrase}",
        *(f"date: {date}" for date in dates),
        "content-type: text/plain; charset=utf-8",
        f"content-length: {len(text)}",
        "connection: close",
    ]
    transport = protocol.transport
    transport.write("\r\n".join([*lines, "", text]).encode())
    # To close now would reset the connection when the client has sent more, and the answer be lost.
    transport.write_eof()
    transport.set_protocol(_Deaf(protocol, LINGER_SECONDS))
    protocol.connections.discard(protocol)  # nothing that a drain would have to care for
    protocol.flow.resume_reading()


class _Deaf(asyncio.Protocol):
    """Throws away what the client still sends, for `seconds` at most where that is given."""

    def __init__(self, protocol: Any, seconds: float | None = None) -> None:
        self._protocol = protocol
        self._timer = protocol.loop.call_later(seconds, protocol.transport.close) if seconds else None
        if seconds:
            protocol.server_state.lingering.add(protocol.transport)

    def pause_writing(self) -> None:
        """As before."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """As before."""
        self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """As before."""
        if self._timer is not None:
            self._timer.cancel()
        self._protocol.server_state.lingering.discard(self._protocol.transport)
        self._protocol.connection_lost(exc)
