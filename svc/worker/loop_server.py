"""The loop's own way to accept, where it can be trusted with the fair line.

Uvloop accepts in C, without a Python socket and without a coroutine for each connection: of a request that
comes on a new connection that saves a fifth. Its server may have the line's listener if it takes one
connection each time it is woken, as uvloop 0.18 does and newer ones; older ones, and asyncio, take all that
wait. So it is proven first, as the loop's epoll instance is.

Two things that our own way sees are not told here, and are kept from happening. Out of descriptors, libuv
would accept and close whatever waits (`uv__emfile_trick`): so the worker joins the line only with one to
spare, and looks each half second whether it still has. An application that opens a 16th of its limit between
two looks, all that are left, could not be helped. And a factory of protocols that raises would stop the
listener for ever.
"""

import asyncio
import os
import resource
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from svc.worker import loops
from svc.worker.listeners import Listener
from svc.worker.log import Journal

SHARE = 16  # one descriptor in so many is kept for what the application opens while the worker is in line
FEWEST = 256  # descriptors; with fewer than these our own way is better, which sees it when there are none
TURNS = 10  # of the loop, for what needs two
PROOF_SECONDS = 2.0

Make = Callable[[], asyncio.Protocol]


@dataclass(slots=True)
class LoopServer:
    """Accepts from one listener, whose socket is its own from `open` to `close`, and closed then."""

    loop: asyncio.AbstractEventLoop
    make: Make
    journal: Journal
    _server: asyncio.Server | None = None
    _most: int = 0  # the first descriptor of those that are kept

    async def open(self, listener: Listener, accepted: Callable[[], None]) -> None:
        """Begin. `accepted` is called for each connection when it has been accepted, before it is read."""

        def make() -> asyncio.Protocol:
            try:
                accepted()
                return self.make()
            except Exception as error:
                self.journal.exception("A connection could not be taken over:", error)
                return _Dropped()

        limit = descriptors()
        self._most = limit - limit // SHARE
        self._server = await self.loop.create_server(make, sock=listener.sock, backlog=backlog(listener.sock))

    def close(self) -> None:
        """End. What waits in the kernel's queue is for those who have the listener, too."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def is_short(self) -> bool:
        """Whether there is no descriptor for a next connection, or but for those that are kept.

        To be asked before each: the kernel gives the lowest that is free, to us now and to libuv then.
        """
        try:
            lowest = os.dup(0)
        except OSError:
            return True
        os.close(lowest)
        return lowest >= self._most


class _Dropped(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        transport.abort()


def descriptors() -> int:
    """How many descriptors this process may have, getrlimit(2)."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 30 if soft == resource.RLIM_INFINITY else soft


def backlog(listener: socket.socket) -> int:
    """How many connections may wait at a TCP listener: to give it to a loop is to call listen(2) again.

    In the tcp_info of a listening socket (tcp(7)) it is in the field tcpi_sacked: tcp_get_info() in the
    kernel's net/ipv4/tcp.c.
    """
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
    return int(struct.unpack_from("=I", info, 28)[0])


async def proven(chosen: loops.Loop, make: Make, journal: Journal) -> LoopServer | None:
    """A server of this loop, or None where it would take more than one connection each time it is woken."""
    if chosen.name != "uvloop" or descriptors() < FEWEST:
        return None
    try:
        fits = await asyncio.wait_for(_Proof(chosen).fits(), PROOF_SECONDS)
    except (loops.LoopUnfit, OSError, TimeoutError):
        fits = False
    return LoopServer(chosen.loop, make, journal) if fits else None


@dataclass(slots=True)
class _Proof:
    """Two connections at once, to a listener that leaves the line with the first one."""

    chosen: loops.Loop
    taken: int = 0
    sock: socket.socket = field(default_factory=lambda: socket.socket(socket.AF_UNIX))

    async def fits(self) -> bool:
        with self.sock, socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as other:
            self.sock.bind("")  # an abstract name that the kernel chooses, unix(7)
            server = await self.chosen.loop.create_unix_server(self._made, sock=self.sock)
            try:
                await loops.registered(self.chosen, self.sock.fileno(), "the listener of a proof")
                loops.reregister(self.chosen.epoll, self.sock.fileno())
                one.connect(self.sock.getsockname())
                other.connect(self.sock.getsockname())
                if await self._happens(lambda: self.taken > 1) or self.taken != 1:
                    return False
                loops.enter(self.chosen.epoll, self.sock.fileno())
                return await self._happens(lambda: self.taken == 2)
            finally:
                server.close()

    def _made(self) -> asyncio.Protocol:
        self.taken += 1
        loops.leave(self.chosen.epoll, self.sock.fileno())
        return _Dropped()

    async def _happens(self, what: Callable[[], bool]) -> bool:
        for _ in range(TURNS):
            if what():
                return True
            await asyncio.sleep(0)
        return what()
