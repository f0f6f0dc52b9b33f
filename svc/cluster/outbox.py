"""Messages on their way out: one connected socket for each worker that is written to.

The first message of a turn of the event loop goes out at once. What follows in the same turn is gathered, and
goes out together at its end at the latest. Where a queue is full, its senders wait.
"""

import asyncio
import itertools
import logging
import os
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from svc.cluster.errors import NoSuchSlot, QueueFull
from svc.cluster.slots import Slot

GATHERED = 32768
"""The most bytes that one datagram gathers from several messages."""

_log = logging.getLogger("svc.cluster")
_RIGHTS = struct.Struct("@i")


class Line:
    """The way to one worker. Raises NoSuchSlot where that has no socket."""

    __slots__ = ("blocked", "gathered", "loop", "path", "size", "slot", "sock", "turn", "waiting")

    def __init__(self, path: Path, slot: Slot) -> None:
        self.path = str(path)
        self.slot = slot
        self.sock: socket.socket | None = None
        self.turn = -1
        self.gathered: list[bytes] = []
        self.size = 0
        self.blocked = False
        self.loop: asyncio.AbstractEventLoop | None = None  # that watches the socket while it is blocked
        self.waiting: deque[tuple[bytes, Sequence[int], asyncio.Future[None]]] = deque()

    def push(self, datagram: bytes, fds: Sequence[int] = ()) -> bool:
        """Put a datagram into the worker's queue; False when that is full."""
        for fresh in (False, True):
            if self.sock is None:
                fresh = True  # noqa: PLW2901 - one try is enough on a new connection
                self.sock = self._connect()
            try:
                if fds:
                    rights = b"".join(map(_RIGHTS.pack, fds))
                    self.sock.sendmsg([datagram], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
                else:
                    self.sock.send(datagram)
            except BlockingIOError:
                return False
            except ConnectionError:
                # The socket that we knew was closed, with the app or by hand; there may be a new one.
                self.close()
                if fresh:
                    break
            else:
                return True
        raise NoSuchSlot(f"worker {self.slot} was stopped")

    def gather(self, message: bytes) -> None:
        """Keep a message for the next datagram."""
        self.gathered.append(message)
        self.size += len(message)

    def close(self) -> None:
        """Forget the connection."""
        if self.sock is not None:
            if self.loop is not None and self.blocked:
                self.loop.remove_writer(self.sock)
            self.sock.close()
            self.sock = None

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.connect(self.path)
        except OSError as error:
            sock.close()
            raise NoSuchSlot(f"there is no worker {self.slot} ({self.path}: {error.strerror})") from None
        return sock


class Outbox:
    """All ways out, for the event loop. Not for threads."""

    def __init__(self, folder: Path, header: bytes) -> None:
        self._folder = folder
        self._header = header
        self._lines: dict[Slot, Line] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = 0
        self._touched: list[Line] = []

    def use(self, loop: asyncio.AbstractEventLoop) -> None:
        """Work with `loop` from now on."""
        if loop is not self._loop:
            self.close()
            self._loop = loop

    def line(self, slot: Slot) -> Line:
        """Return the way to a worker."""
        found = self._lines.get(slot)
        if found is None:
            found = self._lines[slot] = Line(self._folder / str(slot), slot)
        return found

    def offer(self, line: Line, message: bytes, fds: Sequence[int] = ()) -> "asyncio.Future[None] | None":
        """Send a message; when the queue is full, return the future of its being sent.

        Cancelling that future takes the message back. The descriptors stay the caller's, who must keep them
        open until then. Raises NoSuchSlot.
        """
        if not line.blocked:
            if line.turn != self._turn:
                line.turn = self._turn
                if not self._touched:
                    self._begin_turn()
                self._touched.append(line)
                if self._flush(line) and line.push(self._header + message, fds):
                    return None
            elif not fds and line.size + len(message) <= GATHERED:
                line.gather(message)
                return None
            elif self._flush(line):
                if not fds and len(message) <= GATHERED:
                    line.gather(message)
                    return None
                if line.push(self._header + message, fds):
                    return None
            self._block(line)
        assert self._loop is not None
        sent: asyncio.Future[None] = self._loop.create_future()
        line.waiting.append((message, fds, sent))
        return sent

    def _begin_turn(self) -> None:
        assert self._loop is not None
        self._loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._turn += 1
        touched, self._touched = self._touched, []
        for line in touched:
            if line.gathered and not line.blocked:
                try:
                    if not self._flush(line):
                        self._block(line)
                except NoSuchSlot as error:
                    self._lose(line, error)

    def _flush(self, line: Line) -> bool:
        """Send what was gathered; False when the queue is full."""
        if line.gathered:
            if not line.push(self._header + b"".join(line.gathered)):
                return False
            line.gathered.clear()
            line.size = 0
        return True

    def _block(self, line: Line) -> None:
        assert self._loop is not None
        assert line.sock is not None
        line.blocked = True
        line.loop = self._loop
        self._loop.add_writer(line.sock, self._writable, line)

    def _unblock(self, line: Line) -> None:
        assert self._loop is not None
        if line.sock is not None:
            self._loop.remove_writer(line.sock)
        line.blocked = False

    def _writable(self, line: Line) -> None:
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

    def _go_on(self, line: Line) -> bool:
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

    def _lose(self, line: Line, error: NoSuchSlot) -> None:
        if line.gathered:
            _log.warning("%d messages are lost: %s", len(line.gathered), error)
            line.gathered.clear()
            line.size = 0

    async def flush(self, timeout: float) -> None:
        """Send what is gathered, before the end. What finds no room until then is lost, and the log says
        so.
        """
        assert self._loop is not None
        self._end_turn()
        deadline = self._loop.time() + timeout
        while (
            full := [line for line in self._lines.values() if line.gathered]
        ) and self._loop.time() < deadline:
            await asyncio.sleep(0.01)
        for line in full:
            self._lose(line, NoSuchSlot(f"the queue of worker {line.slot} is full, and this one ends"))

    def close(self) -> None:
        """Close all connections."""
        for line in self._lines.values():
            line.close()
        self._lines.clear()
        self._touched.clear()


class BlockingOutbox:
    """All ways out, for plain calls: from any thread, each waits by itself."""

    def __init__(self, folder: Path, header: bytes) -> None:
        self._folder = folder
        self._header = header
        self._lines: dict[Slot, tuple[Line, threading.Lock]] = {}
        self._numbers = itertools.count(1)

    def send(
        self,
        slot: Slot,
        message: Callable[[int], tuple[bytes, list[int]]],
        deadline: float,
        fds: Sequence[int] = (),
    ) -> None:
        """Send a message, waiting for room until `deadline` (time.monotonic()). Raises QueueFull, NoSuchSlot.

        It is made here, from its number: for one receiver numbers must be in the order of sending.
        """
        line, lock = self._lines.setdefault(slot, (Line(self._folder / str(slot), slot), threading.Lock()))
        if not lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise QueueFull([slot])
        own: list[int] = []
        try:
            made, own = message(next(self._numbers))
            while not line.push(self._header + made, [*own, *fds]):
                assert line.sock is not None
                poll = select.poll()
                poll.register(line.sock, select.POLLOUT)
                if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                    raise QueueFull([slot])
        finally:
            lock.release()
            for fd in own:
                os.close(fd)


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
