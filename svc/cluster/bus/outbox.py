"""Messages on their way out of an event loop.

A message goes out at once, unless one went to the same worker just before: then it is gathered with what
follows, and goes out at the end of the loop's turn at the latest. Where a queue is full, its senders wait.
"""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from svc.cluster.bus.line import Line
from svc.cluster.errors import NoSuchSlot
from svc.cluster.slots import Slot

GATHERED = 32768
"""The most bytes that one datagram gathers from several messages."""

APART = 0.0001
"""Messages that are further apart, in seconds, go out at once: to learn of a turn's end costs a turn."""

_log = logging.getLogger("svc.cluster")


class Way(Line):
    """A line with what waits for it."""

    __slots__ = ("blocked", "gathered", "loop", "pushed", "size", "waiting")

    def __init__(self, folder: Path, slot: Slot) -> None:
        super().__init__(folder, slot)
        self.pushed = -math.inf  # when a message left at once, time.monotonic()
        self.gathered: list[bytes] = []
        self.size = 0
        self.blocked = False
        self.loop: asyncio.AbstractEventLoop | None = None  # that watches the socket while it is blocked
        self.waiting: deque[tuple[bytes, Sequence[int], asyncio.Future[None]]] = deque()

    def gather(self, message: bytes) -> None:
        """Keep a message for the next datagram."""
        self.gathered.append(message)
        self.size += len(message)

    def close(self) -> None:
        """Forget the connection."""
        if self.sock is not None and self.loop is not None and self.blocked and not self.loop.is_closed():
            self.loop.remove_writer(self.sock)
        super().close()


class Outbox:
    """All ways out, for the event loop. Not for threads."""

    def __init__(self, folder: Path, header: bytes) -> None:
        self._folder = folder
        self._header = header
        self._lines: dict[Slot, Way] = {}
        self.loop: asyncio.AbstractEventLoop | None = None
        self._gathering: list[Way] = []

    def use(self, loop: asyncio.AbstractEventLoop) -> None:
        """Work with `loop` from now on."""
        if loop is not self.loop:
            self.close()
            self.loop = loop

    def way(self, slot: Slot) -> Way:
        """Return the way to a worker."""
        found = self._lines.get(slot)
        if found is None:
            found = self._lines[slot] = Way(self._folder, slot)
        return found

    def offer_all(self, slots: Sequence[Slot], message: bytes) -> list[Slot]:
        """Send a message to those whose way is free; return the others, each of whom `offer` is for.

        What most messages need and nothing more: the last worker has its message when all were sent.
        """
        datagram, now = self._header + message, time.monotonic()
        lines, others = self._lines, []
        for slot in slots:
            line = lines.get(slot)
            if (
                line is None
                or line.sock is None
                or line.blocked
                or line.gathered
                or now - line.pushed <= APART
            ):
                others.append(slot)
                continue
            try:
                line.sock.send(datagram)
            except OSError:
                others.append(slot)  # who learns there what it is
            else:
                line.pushed = now
        return others

    def offer(self, line: Way, message: bytes, fds: Sequence[int] = ()) -> "asyncio.Future[None] | None":
        """Send a message; when the queue is full, return the future of its being sent.

        Cancelling that future takes the message back. The descriptors stay the caller's, who must keep them
        open until then. Raises NoSuchSlot.
        """
        if not line.blocked:
            if fds or len(message) > GATHERED:
                if self._flush(line) and line.push(self._header + message, fds):
                    return None
            elif not line.gathered and (now := time.monotonic()) - line.pushed > APART:
                line.pushed = now
                if line.push(self._header + message):
                    return None
            elif line.size + len(message) <= GATHERED or self._flush(line):
                self._gather(line, message)
                return None
            self._block(line)
        assert self.loop is not None
        sent: asyncio.Future[None] = self.loop.create_future()
        # A queue that nobody reads would gather for ever what was taken back.
        while line.waiting and line.waiting[0][2].done():
            line.waiting.popleft()
        line.waiting.append((message, fds, sent))
        return sent

    def _gather(self, line: Way, message: bytes) -> None:
        """Keep a message for the next datagram, which leaves at the end of the loop's turn at the latest."""
        if not line.gathered:
            if not self._gathering:
                assert self.loop is not None
                self.loop.call_soon(self._end_turn)
            self._gathering.append(line)
        line.gather(message)

    def _end_turn(self) -> None:
        gathering, self._gathering = self._gathering, []
        for line in gathering:
            if line.gathered and not line.blocked:
                try:
                    if not self._flush(line):
                        self._block(line)
                except NoSuchSlot as error:
                    self._lose(line, error)

    def _flush(self, line: Way) -> bool:
        """Send what was gathered; False when the queue is full."""
        if line.gathered:
            if not line.push(self._header + b"".join(line.gathered)):
                return False
            line.gathered.clear()
            line.size = 0
        return True

    def _block(self, line: Way) -> None:
        assert self.loop is not None
        assert line.sock is not None
        line.blocked = True
        line.loop = self.loop
        self.loop.add_writer(line.sock, self._writable, line)

    def _unblock(self, line: Way) -> None:
        assert self.loop is not None
        if line.sock is not None:
            self.loop.remove_writer(line.sock)
        line.blocked = False

    def _writable(self, line: Way) -> None:
        """The queue has room: first what was gathered, then those who wait, in their order."""
        before = line.sock
        try:
            if self._go_on(line):
                self._unblock(line)
        except NoSuchSlot as error:
            self._unblock(line)
            self._lose(line, error)
            while line.waiting:
                _, _, sent = line.waiting.popleft()
                if not sent.done():
                    sent.set_exception(error)
        if line.blocked and line.sock is not before:
            self._block(line)  # the worker's socket is a new one

    def _go_on(self, line: Way) -> bool:
        """Send what waits; False when the queue is full again."""
        while self._flush(line):
            while line.waiting and line.waiting[0][2].done():
                line.waiting.popleft()  # taken back
            if not line.waiting:
                return True
            message, fds, sent = line.waiting[0]
            if not fds and len(message) <= GATHERED:
                while (
                    line.waiting
                    and not line.waiting[0][1]
                    and line.size + len(line.waiting[0][0]) <= GATHERED
                ):
                    message, _, sent = line.waiting.popleft()
                    if not sent.done():
                        line.gather(message)
                        sent.set_result(None)
            elif line.push(self._header + message, fds):
                line.waiting.popleft()
                sent.set_result(None)
            else:
                return False
        return False

    def _lose(self, line: Way, error: NoSuchSlot) -> None:
        if line.gathered:
            _log.warning("%d messages are lost: %s", len(line.gathered), error)
            line.gathered.clear()
            line.size = 0

    async def flush(self, timeout: float) -> None:
        """Send what is gathered, before the end. What finds no room until then is lost, and the log says
        so.
        """
        assert self.loop is not None
        self._end_turn()
        deadline = self.loop.time() + timeout
        while (
            full := [line for line in self._lines.values() if line.gathered]
        ) and self.loop.time() < deadline:
            await asyncio.sleep(0.01)
        for line in full:
            self._lose(line, NoSuchSlot(f"the queue of worker {line.slot} is full, and this one ends"))

    def close(self) -> None:
        """Close all connections. What is gathered is sent, or lost, which the log says: the turn that was to
        send it may be another loop's.
        """
        for line in self._lines.values():
            try:
                if not self._flush(line):
                    self._lose(line, NoSuchSlot(f"the queue of worker {line.slot} is full"))
            except NoSuchSlot as error:
                self._lose(line, error)
            line.close()
        self._lines.clear()
        self._gathering.clear()
        self.loop = None


async def settled(waiting: "Mapping[asyncio.Future[None], Slot]", timeout: float) -> list[Slot]:
    """Wait for messages to find room; return the workers that have none. Those messages are taken back.

    Errors are left in the futures.
    """
    try:
        await asyncio.wait(waiting, timeout=timeout)
    finally:
        for future in waiting:
            future.cancel()  # does nothing to one that is done
    return [slot for future, slot in waiting.items() if future.cancelled()]
