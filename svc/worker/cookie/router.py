"""The side that accepts: looks whose client it is, and hands the connection over where it is another's."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from svc.worker.cookie.head import END, named_in
from svc.worker.handover import Meeting, Siblings
from svc.worker.presence import Presence

HEAD_BYTES = 16384  # the longest head that is looked at; browsers and servers agree on 8 to 16 KiB
HEAD_SECONDS = 1.0  # for a head to arrive, from its first byte on; then its client is anybody's
# What was peeked at stays readable, so the loop cannot tell of more: look again after so many seconds.
AGAIN_SECONDS = 0.002
AGAIN_SLOWLY = 0.05
# A worker that died is known at once by its closed socket, and one that hangs is killed by its watchdog.
# Whoever is only busy takes its clients when it can, so no connection is taken back for being late.
PATIENCE_SECONDS = 86400.0
RETRY_SECONDS = 0.05  # for a sibling that takes no more at the moment


@dataclass(slots=True)
class Router:
    """Takes accepted connections; gives each to its worker, or to `adopt` where that is ourselves."""

    loop: asyncio.AbstractEventLoop
    name: bytes
    slot: str
    meeting: Meeting
    presence: Presence
    adopt: Callable[[socket.socket], None]
    _buffer: bytearray = field(default_factory=lambda: bytearray(HEAD_BYTES))
    _siblings: Siblings | None = None
    # Those that have not sent a byte, and since when: the longest silent first.
    _silent: dict[int, tuple[socket.socket, float]] = field(default_factory=dict)
    _speaking: dict[socket.socket, asyncio.TimerHandle] = field(default_factory=dict)  # a part of the head
    _waiting: dict[str, deque[socket.socket]] = field(default_factory=dict)  # for room at a sibling
    _retry: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Begin: from now on siblings may count on us."""
        self._siblings = Siblings(self.loop, self.meeting, self.adopt, self._offer, PATIENCE_SECONDS)
        if self.slot.isdecimal():
            self.presence.announce()

    def withdraw(self) -> None:
        """Tell siblings that we take no more."""
        self.presence.withdraw()

    def close(self) -> None:
        """Keep all that is still here."""
        if self._siblings is not None:
            self._siblings.close()
            self._siblings = None
        if self._retry is not None:
            self._retry.cancel()
        for fd in self._silent:
            self.loop.remove_reader(fd)
        for timer in self._speaking.values():
            timer.cancel()
        left = [
            *(connection for connection, _ in self._silent.values()),
            *self._speaking,
            *(one for queue in self._waiting.values() for one in queue),
        ]
        for kept in (self._silent, self._speaking, self._waiting):
            kept.clear()
        for connection in left:
            self.adopt(connection)
        self.presence.close()

    def take(self, connection: socket.socket) -> None:
        """Route a connection that was just accepted."""
        connection.setblocking(False)
        self._look(connection, self.loop.time() + HEAD_SECONDS, AGAIN_SECONDS)

    def close_silent(self, before: float, most: int) -> None:
        """Close those that have been silent since `before`, a time of the loop, and more than `most`."""
        while self._silent and (len(self._silent) > most or self._first_since() <= before):
            fd, (connection, _) = next(iter(self._silent.items()))
            try:
                connection.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                self.loop.remove_reader(fd)
                del self._silent[fd]
                connection.close()
            except OSError:
                self._speaks(fd)
            else:
                self._speaks(fd)  # while the application kept us busy

    def _first_since(self) -> float:
        return next(iter(self._silent.values()))[1]

    def _look(self, connection: socket.socket, deadline: float, again: float) -> None:
        self._speaking.pop(connection, None)
        try:
            size = connection.recv_into(self._buffer, HEAD_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            self._silent[connection.fileno()] = connection, self.loop.time()
            self.loop.add_reader(connection.fileno(), self._speaks, connection.fileno())
            return
        except OSError:
            size = 0
        head = bytes(memoryview(self._buffer)[:size])
        now = self.loop.time()
        if END in head or not 0 < size < HEAD_BYTES or now >= deadline:
            self._route(connection, named_in(head, self.name))
            return
        self._speaking[connection] = self.loop.call_later(
            again, self._look, connection, deadline, min(2 * again, AGAIN_SLOWLY)
        )

    def _speaks(self, fd: int) -> None:
        self.loop.remove_reader(fd)
        self.take(self._silent.pop(fd)[0])

    def _route(self, connection: socket.socket, slot: str) -> None:
        if slot in ("", self.slot) or not self.presence.is_there(slot):
            self.adopt(connection)
            return
        queue = self._waiting.setdefault(slot, deque())
        queue.append(connection)
        self._offer_to(slot, queue)

    def _offer(self) -> None:
        """There may be room at a sibling, or it has gone."""
        for slot, queue in list(self._waiting.items()):
            self._offer_to(slot, queue)

    def _offer_to(self, slot: str, queue: "deque[socket.socket]") -> None:
        while queue:
            if self._siblings is not None and self._siblings.give(queue[0], slot):
                queue.popleft().close()
            elif not self.presence.is_there(slot):
                self.adopt(queue.popleft())
            else:
                if self._retry is None:
                    self._retry = self.loop.call_later(RETRY_SECONDS, self._retry_now)
                return
        self._waiting.pop(slot, None)

    def _retry_now(self) -> None:
        self._retry = None
        self._offer()
