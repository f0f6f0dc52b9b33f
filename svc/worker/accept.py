"""The fair line: all workers wait on the same listeners, and each connection wakes one of them.

The kernel wakes the first waiter in line that is in epoll_wait (EPOLLEXCLUSIVE, epoll_ctl(2)). A
worker that took a connection leaves the line, and joins it again at the back when the request that came with
it has had its turn. That is an exact round robin without a master, and a worker that is busy, hung or dead is
simply not in the line.

With several listeners a worker is in several lines. In which of them it stands at a time is for
its `Helping` to say (`svc.worker.helping`). It stands in none while it has no room (`svc.worker.room`).
"""

import asyncio
import errno
import math
import os
import select
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from svc.worker import loops
from svc.worker.accepted import accept
from svc.worker.listeners import Listener
from svc.worker.log import Journal
from svc.worker.loop_server import LoopServer

SWEEP_SECONDS = 0.5  # a wake-up can die with the worker that got it, so look now and then without one
# Two connections within this time are a burst. The siblings have been woken too, but where CPUs are
# few they do not run yet, and one worker would take all: 60 of 60, where 18 to 23 are a fair third.
BURST_SECONDS = 0.002
PAUSE_SECONDS = 1.0  # after running out of descriptors or memory
COMPLAIN_SECONDS = 60.0  # between two lines in the journal about that
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Helping(Protocol):
    """Decides which of the listeners that are not its own a worker serves now."""

    def joins(self, line: "FairLine") -> None:
        """The worker is about to stand in all lines."""

    def joined(self) -> None:
        """It stands in them, but for those from which `stand_aside` keeps it."""

    def may_take(self, listener: Listener) -> bool:
        """Whether a connection that waits at `listener` is for this worker."""

    def accepted(self, listener: Listener, client: Any) -> None:
        """The worker was woken and took a connection at `listener` from this address."""

    def left(self) -> None:
        """The worker accepts nothing more."""


class Room(Protocol):
    """Knows whether the worker has room for more requests; where it has none it steps out of the line."""

    def joined(self, line: "FairLine") -> None:
        """The worker stands in line from now on."""

    def accepted(self) -> None:
        """It was woken and took a connection."""


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
    helping: Helping | None = None
    alone: bool = False  # no siblings, or but for a moment: there is no line to keep in order
    room: Room | None = None  # None where it never ends
    server: LoopServer | None = None  # accepts in our place what the only listener wakes us for
    _out: bool = False
    _aside: set[int] = field(default_factory=set)
    _settling: bool = False  # a request is about to begin, and another must not wait behind it
    _afterwards: Callable[[], object] | None = None  # what waits for that
    _sweeper: asyncio.TimerHandle | None = None
    _paused: dict[int, asyncio.TimerHandle] = field(default_factory=dict)
    _last: float = -math.inf
    _yields: bool = False  # before it joins the line again
    _complained: float = -math.inf

    async def join(self) -> None:
        """Register every listener; when this returns the worker is in line. Raises LoopUnfit."""
        if self.helping is not None:
            self.helping.joins(self)
        for listener in self.listeners:
            if self.server is not None:
                await self.server.open(listener, self._server_took)
            else:
                self.loop.loop.add_reader(listener.sock, self._woken, listener)
        for listener in self.listeners:
            # Registering too early would end in libuv's own epoll_ctl failing, and that aborts.
            await loops.registered(self.loop, listener.sock.fileno(), f"listener {listener.name}")
            if self._in_line(listener.sock.fileno()):
                loops.reregister(self.loop.epoll, listener.sock.fileno())
            else:
                loops.leave(self.loop.epoll, listener.sock.fileno())
        self._sweeper = self.loop.loop.call_later(SWEEP_SECONDS, self._sweep)
        if self.helping is not None:
            self.helping.joined()
        if self.room is not None:
            self.room.joined(self)

    def leave(self) -> None:
        """Stop accepting. What waits in the kernel's queue is for the siblings.

        But a wake-up that has already been given to this worker would be lost, and with it up to
        SWEEP_SECONDS for the connection that it was for: one last look at each listener.
        """
        if self.helping is not None:
            self.helping.left()
        for listener in self.listeners:
            if self._in_line(listener.sock.fileno()):
                self._accept(listener)
            loops.leave(self.loop.epoll, listener.sock.fileno())
            if self.server is not None:
                self.server.close()
            else:
                self.loop.loop.remove_reader(listener.sock)
        self._aside.clear()
        for timer in self._paused.values():
            timer.cancel()
        self._paused.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    def stand_aside(self, listeners: Iterable[Listener]) -> None:
        """Leave the lines of some listeners, until `stand_in`."""
        for listener in listeners:
            fd = listener.sock.fileno()
            if fd not in self._aside:
                self._aside.add(fd)
                loops.leave(self.loop.epoll, fd)

    def stand_in(self, listeners: Iterable[Listener]) -> None:
        """Join the lines of some listeners again, at the back. What waits there already is seen."""
        for listener in listeners:
            fd = listener.sock.fileno()
            if fd in self._aside:
                self._aside.remove(fd)
                self._enter(fd)

    def step_out(self) -> None:
        """Leave all lines, until `step_in`: what comes meanwhile is for the siblings."""
        if not self._out and self._sweeper is not None:
            self._out = True
            for listener in self.listeners:
                loops.leave(self.loop.epoll, listener.sock.fileno())

    def step_in(self) -> None:
        """Join the lines again, at the back. What waits there already is seen."""
        if self._out and self._sweeper is not None:
            self._out = False
            for listener in self.listeners:
                self._enter(listener.sock.fileno())

    def take_though_out(self) -> None:
        """Take one connection that waits, if there is one, without a place in line."""
        if self._sweeper is None:
            return
        for listener in _with_connections(self.listeners):
            fd = listener.sock.fileno()
            if fd in self._paused or fd in self._aside:
                continue
            if self.helping is not None and not self.helping.may_take(listener):
                continue
            if self._accept(listener) is not None:
                return

    def when_settled(self, call: Callable[[], object]) -> None:
        """Call at once, or when the request that came last has had its turn: before the worker is in line
        again, so that it is not put off from one connection to the next.
        """
        if self._settling:
            self._afterwards = call
        else:
            call()

    def take_one(self, listeners: Sequence[Listener]) -> Listener | None:
        """Take one connection from the first of `listeners` that has one, and say from which."""
        waiting = _with_connections(listeners) if not self._out else []
        return next(
            (one for one in waiting if one.sock.fileno() not in self._paused and self._take(one) is not None),
            None,
        )

    def look(self) -> None:
        """See whether a connection waits for us, without a wake-up."""
        if self._out or self._settling:
            return
        # By a plain look: rejoining would disturb the line's order.
        for listener in _with_connections(self.listeners):
            self._woken(listener)

    def _in_line(self, fd: int) -> bool:
        return not (self._out or self._settling or fd in self._paused or fd in self._aside)

    def _enter(self, fd: int) -> None:
        """Stand in a line again after one reason not to has gone, unless there is another."""
        if self._in_line(fd):
            loops.enter(self.loop.epoll, fd)

    def _woken(self, listener: Listener) -> None:
        fd = listener.sock.fileno()
        if self._sweeper is None:
            return  # it still joins, and what it did now could take a listener away from that
        if fd in self._paused or fd in self._aside:
            return  # an event that was on its way when the worker left this line
        # One that stepped out in this turn takes what it was woken for, because nobody else was.
        if self._settling and not self._out:
            return  # one connection, then its request: it is still there afterwards
        if self.helping is not None and not self.helping.may_take(listener):
            return
        if not self.alone and self._is_burst():
            os.sched_yield()
        client = self._take(listener)
        if client is not None and self.helping is not None:
            self.helping.accepted(listener, client)
        # A worker that found nothing, because a sibling was faster, keeps its place in line.

    def _is_burst(self) -> bool:
        """Whether the worker was woken just before, too."""
        now = self.loop.loop.time()
        before, self._last = self._last, now
        return now - before < BURST_SECONDS

    def _server_took(self) -> None:
        """The loop was woken and has accepted a connection: what `_woken` and `_take` do around that."""
        if self._sweeper is None:
            return  # it still joins
        if self.room is not None:
            self.room.accepted()
        if self.alone:
            self._mind_descriptors()
        else:
            self._yields = self._is_burst()
            self._begin_to_settle()

    def _take(self, listener: Listener) -> Any:
        """Accept, and leave the line until the request that came with the connection has had its turn."""
        client = self._accept(listener)
        if client is not None:
            if self.room is not None:
                self.room.accepted()
            if not self.alone:
                self._begin_to_settle()
        return client

    def _begin_to_settle(self) -> None:
        if self._settling:
            return
        for listener in self.listeners:
            loops.leave(self.loop.epoll, listener.sock.fileno())
        self._settling = True
        self.loop.loop.call_soon(self._settle, self.loop.settling_turns)

    def _settle(self, turns: int) -> None:
        if turns:
            self.loop.loop.call_soon(self._settle, turns - 1)
            return
        self._settling = False
        afterwards, self._afterwards = self._afterwards, None
        if self._sweeper is None:
            return
        if afterwards is not None:
            afterwards()
        if self._yields:
            self._yields = False
            os.sched_yield()
        self._mind_descriptors()
        for listener in self.listeners:
            self._enter(listener.sock.fileno())

    def _sweep(self) -> None:
        self._sweeper = self.loop.loop.call_later(SWEEP_SECONDS, self._sweep)
        for listener in self.listeners:
            # O_NONBLOCK belongs to the socket that all holders share: a program that cleared it would
            # make the next accept() hang.
            listener.sock.setblocking(False)
        self._mind_descriptors()
        self.look()

    def _accept(self, listener: Listener) -> Any:
        """Take one connection, and return its client's address; None when there was none to take."""
        try:
            connection, client = accept(listener.sock)
        except (BlockingIOError, InterruptedError, ConnectionError):
            return None  # a sibling was faster, or the client is gone already
        except OSError as error:
            if error.errno in EXHAUSTED:
                self._pause(listener, error)
            else:
                # accept(2): errors that belong to one connection's network are to be retried.
                self.journal.warning(f"accept on listener {listener}: {error.strerror}")
            return None
        self.adopt(connection)
        return client

    def _mind_descriptors(self) -> None:
        """Do what `_accept` does when there are none left, before the loop's own server may notice it."""
        if self.server is not None and not self._paused and self.server.is_short():
            self._pause(self.listeners[0], OSError(errno.EMFILE, os.strerror(errno.EMFILE)))

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
        self._mind_descriptors()
        self._enter(fd)


def _with_connections(listeners: Sequence[Listener]) -> list[Listener]:
    """Those of `listeners` that have a connection to take: one call for all, where accept() is one each."""
    poll = select.poll()
    by_fd = {listener.sock.fileno(): listener for listener in listeners}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    return [by_fd[fd] for fd, _ in poll.poll(0)]
