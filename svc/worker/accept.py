"""The fair line: all workers wait on the same listeners, and each connection wakes one of them.

The kernel wakes the first waiter in line that is in epoll_wait (EPOLLEXCLUSIVE, epoll_ctl(2)). A
worker that took a connection leaves the line and joins it again at the back. That is an exact
round robin without a master, and a worker that is busy, hung or dead is simply not in the line.
"""

import asyncio
import errno
import math
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from svc.worker import loops
from svc.worker.listeners import Listener
from svc.worker.log import Journal

SWEEP_SECONDS = 0.5  # a wake-up can die with the worker that got it, so look now and then without one
# Two connections within this time are a burst. The siblings have been woken too, but where CPUs are
# few they do not run yet, and one worker would take all: 60 of 60, where 18 to 23 are a fair third.
BURST_SECONDS = 0.002
PAUSE_SECONDS = 1.0  # after running out of descriptors or memory
COMPLAIN_SECONDS = 60.0  # between two lines in the journal about that
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


@dataclass(slots=True)
class FairLine:
    """Accepts from `listeners`, one connection a wake-up, and hands each to `adopt`.

    `join` and `leave` are the whole life; the sockets are the caller's, and are never shut down,
    because siblings go on accepting from them.
    """

    loop: loops.Loop
    listeners: Sequence[Listener]
    adopt: Callable[[socket.socket], None]
    journal: Journal
    _sweeper: asyncio.TimerHandle | None = None
    _paused: dict[int, asyncio.TimerHandle] = field(default_factory=dict)
    _last: float = -math.inf
    _complained: float = -math.inf

    async def join(self) -> None:
        """Register every listener; when this returns the worker is in line. Raises LoopUnfit."""
        for listener in self.listeners:
            self.loop.loop.add_reader(listener.sock, self._woken, listener)
        for listener in self.listeners:
            # Registering too early would end in libuv's own epoll_ctl failing, and that aborts.
            for _ in range(100):
                if loops.watched(self.loop.epoll, listener.sock.fileno()):
                    break
                await asyncio.sleep(0)
            else:
                raise loops.LoopUnfit(f"{self.loop.name} does not register listener {listener.name}")
            loops.reregister(self.loop.epoll, listener.sock.fileno())
        self._sweeper = self.loop.loop.call_later(SWEEP_SECONDS, self._sweep)

    def leave(self) -> None:
        """Stop accepting. What waits in the kernel's queue is for the siblings.

        But a wake-up that has already been given to this worker would be lost, and with it up to
        SWEEP_SECONDS for the connection that it was for: one last look at each listener.
        """
        for listener in self.listeners:
            if listener.sock.fileno() not in self._paused:
                self._accept(listener)
            loops.leave(self.loop.epoll, listener.sock.fileno())
            self.loop.loop.remove_reader(listener.sock)
        for timer in self._paused.values():
            timer.cancel()
        self._paused.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    def _woken(self, listener: Listener) -> None:
        if listener.sock.fileno() in self._paused:
            return  # an event that was on its way when the pause began
        now = self.loop.loop.time()
        if now - self._last < BURST_SECONDS:
            os.sched_yield()
        self._last = now
        if self._accept(listener):
            loops.reregister(self.loop.epoll, listener.sock.fileno())
        # A worker that found nothing, because a sibling was faster, keeps its place in line.

    def _sweep(self) -> None:
        self._sweeper = self.loop.loop.call_later(SWEEP_SECONDS, self._sweep)
        for listener in self.listeners:
            # O_NONBLOCK belongs to the socket that all holders share: a program that cleared it would
            # make the next accept() hang. By a plain accept: rejoining would disturb the line's order.
            listener.sock.setblocking(False)
            self._woken(listener)

    def _accept(self, listener: Listener) -> bool:
        """Take one connection; False when there was none to take."""
        try:
            connection, _ = listener.sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return False  # a sibling was faster, or the client is gone already
        except OSError as error:
            if error.errno in EXHAUSTED:
                self._pause(listener, error)
            else:
                # accept(2): errors that belong to one connection's network are to be retried.
                self.journal.warning(f"accept on listener {listener}: {error.strerror}")
            return False
        connection.setblocking(False)
        self.adopt(connection)
        return True

    def _pause(self, listener: Listener, error: OSError) -> None:
        fd = listener.sock.fileno()
        loops.leave(self.loop.epoll, fd)
        self._paused[fd] = self.loop.loop.call_later(PAUSE_SECONDS, self._resume, fd)
        now = self.loop.loop.time()
        if now - self._complained >= COMPLAIN_SECONDS:
            self._complained = now
            self.journal.error(
                f"accept on listener {listener}: {error.strerror}; pausing for {PAUSE_SECONDS:g} s "
                "at a time, siblings take what waits (if this returns, raise LimitNOFILE= in [service])"
            )

    def _resume(self, fd: int) -> None:
        del self._paused[fd]
        loops.enter(self.loop.epoll, fd)
