"""The event loop: the fastest one installed whose epoll instance we may register listeners with.

Both asyncio and uvloop register a listener without EPOLLEXCLUSIVE, which wakes every worker for
each connection. So the worker finds the loop's own epoll instance and registers the descriptor
again, itself (`svc.worker.accept`). That leans on how a loop looks a ready descriptor up, which
is why it is proven on a socket pair before the first listener is entrusted to it.
"""

import asyncio
import os
import select
import selectors
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from svc.worker.log import Journal

PROOF_SECONDS = 2.0  # generous: a loop that works needs milliseconds
TURNS = 100  # of the loop, for what needs one or two
EXCLUSIVE = select.EPOLLIN | select.EPOLLEXCLUSIVE


class LoopUnfit(Exception):
    """The loop cannot carry the fair line; the text says why."""


@dataclass(frozen=True, slots=True)
class Loop:
    """An event loop, and its epoll instance by a descriptor of our own."""

    name: str
    loop: asyncio.AbstractEventLoop
    epoll: select.epoll

    @property
    def settling_turns(self) -> int:
        """In which turn after the one that took a connection the application has the request in it.

        If that came with the connection, as with DeferAcceptSec= in the socket unit.
        """
        return 2 if self.name == "uvloop" else 3


def choose(journal: Journal, wanted: str = "auto") -> Loop:
    """The fastest loop that passes the proof; `wanted` may name one ("uvloop", "asyncio").

    Says in the journal why a faster one was not taken. Raises LoopUnfit when none is left, which
    cannot happen as long as asyncio has a selector on epoll.
    """
    makers: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"uvloop": _uvloop, "asyncio": _asyncio}
    names = [wanted] if wanted != "auto" else list(makers)
    if "asyncio" not in names:
        names.append("asyncio")
    reason = ""
    for name in names:
        try:
            loop = makers[name]()
        except ImportError:
            continue  # not installed, which is a choice and no fault
        try:
            epoll = loop.run_until_complete(asyncio.wait_for(prove(loop), PROOF_SECONDS))
        except (LoopUnfit, OSError, TimeoutError) as error:
            loop.close()
            reason = f"{name} cannot carry the fair line ({error or type(error).__name__})"
            journal.warning(f"{reason}; falling back to the next event loop")
        else:
            return Loop(name, loop, epoll)
    raise LoopUnfit(reason)


def _uvloop() -> asyncio.AbstractEventLoop:
    import uvloop

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _asyncio() -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop(selectors.EpollSelector())


async def prove(loop: asyncio.AbstractEventLoop) -> select.epoll:
    """Find the loop's epoll instance, and show that a descriptor registered there by us is still served.

    Two rounds of "readable, called, to the back of the line", then removal. Raises LoopUnfit.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        called = asyncio.Event()
        loop.add_reader(ours, called.set)
        try:
            epoll = await _appears(ours.fileno())
            for _ in range(2):
                reregister(epoll, ours.fileno())
                theirs.send(b".")
                await called.wait()
                ours.recv(1)
                called.clear()
            leave(epoll, ours.fileno())
        finally:
            loop.remove_reader(ours)
        theirs.send(b".")
        for _ in range(3):
            await asyncio.sleep(0)
        if called.is_set() or _watching(epoll.fileno(), ours.fileno()):
            raise LoopUnfit("a descriptor that was removed is still watched")
    return epoll


async def _appears(fd: int) -> select.epoll:
    # libuv hands new descriptors to the kernel at its next turn, asyncio at once.
    for _ in range(TURNS):
        for number in _epolls():
            if _watching(number, fd):
                return select.epoll.fromfd(os.dup(number))  # ours to close
        await asyncio.sleep(0)
    raise LoopUnfit("its epoll instance is not to be found in /proc/self/fd")


def _epolls() -> Iterator[int]:
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if str(entry.readlink()) == "anon_inode:[eventpoll]":
                yield int(entry.name)
        except OSError:
            continue  # closed since the directory was read


def _watching(epoll: int, fd: int) -> bool:
    try:
        lines = Path(f"/proc/self/fdinfo/{epoll}").read_text().splitlines()
    except OSError:
        return False
    return any(line.split()[:2] == ["tfd:", str(fd)] for line in lines)


async def registered(chosen: Loop, fd: int, what: str) -> None:
    """Wait until the loop has handed `fd` to the kernel, a turn or two. Raises LoopUnfit, about `what`."""
    for _ in range(TURNS):
        if _watching(chosen.epoll.fileno(), fd):
            return
        await asyncio.sleep(0)
    raise LoopUnfit(f"{chosen.name} does not register {what}")


def reregister(epoll: select.epoll, fd: int) -> None:
    """Put `fd` at the back of the kernel's line of waiters. MOD cannot set EPOLLEXCLUSIVE, epoll_ctl(2)."""
    epoll.unregister(fd)
    epoll.register(fd, EXCLUSIVE)


def enter(epoll: select.epoll, fd: int) -> None:
    """Put `fd` into the line again, at its back, after `leave`."""
    epoll.register(fd, EXCLUSIVE)


def leave(epoll: select.epoll, fd: int) -> None:
    """Take `fd` out of the line. The loop still believes that it watches it."""
    try:  # noqa: SIM105 - for each connection, and suppress() is three calls more
        epoll.unregister(fd)
    except FileNotFoundError:
        pass  # out already


def close(chosen: Loop) -> None:
    """Close the loop and our descriptor of its epoll instance."""
    chosen.epoll.close()
    chosen.loop.close()
