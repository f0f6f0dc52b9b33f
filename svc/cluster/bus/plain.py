"""Sending, for plain functions, in any thread: each waits by itself.

A plain sender has numbers of its own: it does not wait for the event loop.
"""

import itertools
import os
import select
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from svc.cluster import scoreboard
from svc.cluster.bus import exchange, values, wire
from svc.cluster.bus.line import Line
from svc.cluster.bus.packing import pack
from svc.cluster.bus.receivers import Receivers
from svc.cluster.errors import NoSuchSlot, QueueFull
from svc.cluster.scoreboard import Record
from svc.cluster.slots import Slot


class PlainPost:
    """What `svc.cluster.blocking` does with messages. `header` is that of all its datagrams."""

    def __init__(self, folder: Path, header: bytes, receivers: Receivers, record: Record) -> None:
        self._folder = folder
        self._header = header
        self._receivers = receivers
        self._record = record
        self._lines: dict[Slot, tuple[Line, threading.Lock]] = {}
        self._numbers = itertools.count(1)

    def broadcast(self, data: Any, include_self: bool, timeout: float) -> None:
        """See `svc.cluster.blocking.broadcast`."""
        kind, value = values.encode(data)
        self.broadcast_encoded(kind, value, include_self, timeout)

    def broadcast_encoded(
        self, kind: int, value: bytes, include_self: bool, timeout: float, hopeless: Collection[Slot] = ()
    ) -> None:
        """Broadcast what is encoded already. Nobody waits for the full queues of those who are `hopeless`."""
        deadline = time.monotonic() + timeout
        # First to all that have room: those must not wait for one that has none.
        full = self._try(self._receivers.all(include_self=include_self), kind, value, 0.0)
        full = [slot for slot in full if not self._receivers.gone(slot)]
        left = self._try([slot for slot in full if slot not in hopeless], kind, value, deadline)
        left += [slot for slot in full if slot in hopeless]
        if left:
            raise QueueFull(left)

    def _try(self, slots: list[Slot], kind: int, value: bytes, deadline: float) -> list[Slot]:
        """Send a message to each; return those whose queue has no room until `deadline`."""
        full = []
        for slot in slots:
            try:
                self._send(slot, wire.MESSAGE, kind, value, deadline)
            except NoSuchSlot:
                continue
            except QueueFull:
                full.append(slot)
        return full

    def send(self, slot: Slot, data: Any, timeout: float) -> None:
        """See `svc.cluster.blocking.send`."""
        self._receivers.check(slot)
        kind, value = values.encode(data)
        self._send(slot, wire.MESSAGE, kind, value, time.monotonic() + timeout)

    def request(
        self, slot: Slot, data: Any, timeout: float, inbox: int | None, pump: Callable[[], None]
    ) -> Any:
        """See `svc.cluster.blocking.request`, and `exchange.answer_now` for `inbox` and `pump`."""
        self._receivers.check(slot)
        kind, value = values.encode(data)
        deadline = time.monotonic() + timeout
        ours, theirs = exchange.pair()
        with ours:
            with theirs:
                self._send(slot, wire.REQUEST, kind, value, deadline, theirs.fileno())
            return exchange.answer_now(ours, deadline, slot, inbox, pump)

    def close(self) -> None:
        """Close all connections."""
        for line, lock in self._lines.values():
            with lock:
                line.close()

    def _send(self, slot: Slot, what: int, kind: int, value: bytes, deadline: float, *fds: int) -> None:
        """Send a message, waiting for room until `deadline` (time.monotonic()).

        Raises QueueFull, NoSuchSlot.
        """
        line, lock = self._lines.setdefault(slot, (Line(self._folder, slot), threading.Lock()))
        if not lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise QueueFull([slot])
        own: list[int] = []
        try:
            # Numbered under the lock: for one receiver numbers must be in the order of sending.
            frame, own = pack(kind, what, next(self._numbers), value)
            while not line.push(self._header + frame, [*own, *fds]):
                assert line.sock is not None
                poll = select.poll()
                poll.register(line.sock, select.POLLOUT)
                if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                    raise QueueFull([slot])
        finally:
            lock.release()
            for fd in own:
                os.close(fd)
        self._record.words[scoreboard.SENT] += 1
