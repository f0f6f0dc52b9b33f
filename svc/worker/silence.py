"""Connections whose client has not sent a whole request head: they may be neither old nor many.

They take no room (`svc.worker.room`), but memory and descriptors. Such a connection may be a browser's that
opened it in advance, a slow phone's, or an attacker's who opens thousands and sends a byte now and then
("Slowloris"). All of them cost nothing here until a look at all connections, now and then; so neither an
accept nor a request pays for it.

A connection that is idle after an answer is something else: uvicorn closes it after its keep-alive time.

Like `svc.worker.uvicorn_seam` this knows uvicorn's protocols from 0.17.6 to the newest.
"""

import select
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from svc.worker import moving
from svc.worker.log import Journal
from svc.worker.uvicorn_seam import Http

# With so many in one worker, those that are silent for longest are closed before their time. To stop
# accepting instead would shut everybody out, as the attacker wants; and a client with a request is silent
# only for a moment. A few KiB each, so a few MiB in all.
MOST = 1024
LONG = 30.0  # seconds; where heads may take any time, looks are as for this one
LOOKS = 4  # in the time that a head may take: a connection is closed at most a quarter later
COMPLAIN_SECONDS = 60.0  # between two lines in the journal about too many
CHECK_SECONDS = 1.0  # between two checks whether there can be more than MOST

# RFC 9110, section 15.5.9. Only where a part of a head has come: browsers have shown it to people for a
# connection that was opened in advance and not used.
TIMEOUT_ANSWER = (
    b"HTTP/1.1 408 Request Timeout\r\n"
    b"content-type: text/plain; charset=utf-8\r\n"
    b"content-length: 15\r\n"
    b"connection: close\r\n\r\n"
    b"Request Timeout"
)


@dataclass(slots=True)
class Silence:
    """Watches `http`'s connections; a head may take `seconds`, 0 for any time. `look` does it."""

    http: Http
    seconds: float
    now: Callable[[], float]
    journal: Journal
    most: int = MOST
    _since: dict[Any, tuple[float, Any]] = field(default_factory=dict)  # the longest silent first
    _looked: float = float("-inf")
    _complained: float = float("-inf")
    _others: int = 0  # connections that were not silent at the last look

    @property
    def period(self) -> float:
        """How often to call `look`, in seconds."""
        return min(CHECK_SECONDS, self._pause)

    @property
    def _pause(self) -> float:
        return (self.seconds or LONG) / LOOKS

    def look(self) -> None:
        """Close what is silent for too long. Costs nothing to speak of, but for now and then."""
        now = self.now()
        if now - self._looked >= self._pause or len(self.http.connections) - self._others > self.most:
            self._looked = now
            self._look(now)

    def _look(self, now: float) -> None:
        # Idle connections are the many, and known by uvicorn's timer; a WebSocket has none.
        silent = {
            protocol
            for protocol in self.http.connections
            if getattr(protocol, "timeout_keep_alive_task", protocol) is None and self._is_silent(protocol)
        }
        self._others = len(self.http.connections) - len(silent)
        before, self._since = self._since, {}
        for protocol, (since, cycle) in before.items():
            if protocol in silent and protocol.cycle is cycle:
                self._since[protocol] = since, cycle
        for protocol in silent - self._since.keys():
            self._since[protocol] = now, protocol.cycle
        surplus = len(self._since) - self.most
        closing = [
            protocol
            for number, (protocol, (since, _)) in enumerate(self._since.items())
            if number < surplus or (self.seconds and now - since >= self.seconds)
        ]
        if surplus > 0 and now - self._complained >= COMPLAIN_SECONDS:
            self._complained = now
            self.journal.warning(
                f"{len(self._since)} connections without a request so far; closing the oldest until "
                f"{self.most} are left (an attack, perhaps: limits.head says how long each may stay)"
            )
        if closing:
            self._close(closing)

    def _is_silent(self, protocol: Any) -> bool:
        """Whether a client owes us a request's head, or the rest of it."""
        if protocol.transport is None or protocol.transport.is_closing():
            return False
        cycle = protocol.cycle
        return cycle is None or (cycle.response_complete and self.http.is_busy(protocol))

    def _close(self, protocols: Iterable[Any]) -> None:
        for protocol in _unheard(protocols):
            del self._since[protocol]
            if self.http.is_busy(protocol):  # with a part of a head
                protocol.transport.write(TIMEOUT_ANSWER)
            protocol.transport.close()


def _unheard(protocols: Iterable[Any]) -> list[Any]:
    """Those without bytes in the kernel that we have not read, because the application kept us busy."""
    poll = select.poll()
    by_fd = {moving.socket_of(protocol).fileno(): protocol for protocol in protocols}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    for fd, _ in poll.poll(0):
        del by_fd[fd]
    return list(by_fd.values())
