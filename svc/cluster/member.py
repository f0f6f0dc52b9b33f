"""The process as a member of its app's cluster: all that the functions of `svc.cluster` need.

A worker of svc has its place before it loads the application, and becomes a member when that first asks. In
any other process, a laptop's server or a unit test, the first call makes it the only member of a cluster of
its own.
"""

import asyncio
import atexit
import contextlib
import functools
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from svc.cluster import alone, place, scoreboard
from svc.cluster.bus import wire
from svc.cluster.bus.begin import Beginner
from svc.cluster.bus.handlers import Handlers
from svc.cluster.bus.inbox import TURN, Inbox
from svc.cluster.bus.plain import PlainPost
from svc.cluster.bus.post import Post
from svc.cluster.bus.receivers import Receivers
from svc.cluster.errors import ClusterError
from svc.cluster.jobs import Jobs
from svc.cluster.leader import Leadership
from svc.cluster.place import Place
from svc.cluster.schedule import Job
from svc.cluster.slots import Slot

if TYPE_CHECKING:
    from svc.cluster.bus.message import Message
    from svc.cluster.hosts.configured import Hosts
    from svc.cluster.hosts.everywhere import Everywhere

_NO_BUS = "this app has no messages: [cluster] bus is false, or its workers were started before svc had them"

_DEEPEST = 32
"""The most plain handlers that may lie upon each other in the stack, each waiting for an answer."""


class Member:
    """One member, in its place. An event loop carries it from `attach` to `detach`."""

    def __init__(self, where: Place) -> None:
        self.place = where
        self._reads = where is not _of_parent
        self.hosts = _other_hosts(where)
        self.handlers = Handlers()
        self.handlers.outside = where.outside
        self.jobs = Jobs(Leadership(where.directory, where.slot), self.hosts.office() if self.hosts else None)
        self._own_loop: Jobs | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread: int | None = None
        self._pumping = threading.RLock()
        self._deep = 0
        self._inbox: Inbox | None = None
        self.everywhere: Everywhere | None = None
        if where.queue is not None:
            self._open(where.queue)

    def _open(self, queue: socket.socket) -> None:
        where, chance = self.place, random.SystemRandom()
        self._inbox = Inbox(queue, where.record.words, self.handlers.take)
        self.handlers.refuse = self._inbox.refuse
        number = wire.number_of(where.slot)
        folder, receivers = Path(queue.getsockname()).parent, Receivers(where.slots, where.record)

        def header() -> bytes:
            return wire.header(number, chance.getrandbits(64))

        self._post = Post(folder, header(), receivers, where.record, self._prepare)
        self._plain = PlainPost(folder, header(), receivers, where.record)
        if self.hosts is not None:
            self.everywhere = self.hosts.everywhere(
                lambda header: PlainPost(folder, header, receivers, where.record)
            )

    @property
    def inbox(self) -> Inbox:
        """Its messages. Raises ClusterError in an app without them."""
        if self._inbox is None:
            raise ClusterError(_NO_BUS)
        return self._inbox

    # -- its life in an event loop ------------------------------------------------------------

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let `loop` carry this member from now on: it reads the queue, and does the jobs."""
        if self.loop is loop:
            return
        self.detach()
        self.loop, self.thread = loop, threading.get_ident()
        self.handlers.beginner = Beginner(loop)
        if self._inbox is not None:
            self._post.outbox.use(loop)
            loop.add_reader(self._inbox.sock, self._inbox.readable)
        self.jobs.attach(loop)
        if self.everywhere is not None:
            self.everywhere.begin()

    def detach(self) -> None:
        """Leave the loop: what comes stays in the queue."""
        loop, self.loop, self.thread = self.loop, None, None
        if loop is not None and not loop.is_closed():
            if self._inbox is not None:
                loop.remove_reader(self._inbox.sock)
            if self.handlers.beginner is not None:
                self.handlers.beginner.close()
        self.handlers.beginner = None
        self.jobs.detach()

    async def leave(self, timeout: float) -> None:
        """End: what still comes stays in the queue, what was begun has `timeout` seconds to end."""
        deadline = time.monotonic() + timeout
        if self.loop is not None and self._inbox is not None:
            self.loop.remove_reader(self._inbox.sock)
        if self.everywhere is not None:
            self.everywhere.end()
        begun = self.handlers.beginner.tasks if self.handlers.beginner else ()
        if work := {*begun, *self.jobs.tasks()}:
            await asyncio.wait(work, timeout=timeout)
        if self._inbox is not None:
            await self._post.outbox.flush(max(0.0, deadline - time.monotonic()))
            self._post.outbox.close()
        self.detach()

    def close(self) -> None:
        """Close all connections, at the end of the process."""
        if self._inbox is not None:
            self._post.outbox.close()
            self._plain.close()
        if self.everywhere is not None:
            self.everywhere.close()

    # -- messages -----------------------------------------------------------------------------

    @property
    def post(self) -> Post:
        """What sends for coroutines. Raises ClusterError in an app without messages."""
        if self._inbox is None:
            raise ClusterError(_NO_BUS)
        return self._post

    def _prepare(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send from `loop`. Where svc does not run it, it carries all."""
        if self.place.alone:
            self.attach(loop)
        else:
            self._post.outbox.use(loop)

    def broadcast(self, data: Any, include_self: bool, timeout: float) -> None:
        """See `svc.cluster.blocking.broadcast`."""
        post = self._plain_post()
        if self.everywhere is None:
            post.broadcast(data, include_self, timeout)
            self._pump_alone()
        else:
            self.everywhere.broadcast_now(data, lambda: post.broadcast(data, include_self, timeout), timeout)

    def send(self, slot: Slot, data: Any, timeout: float) -> None:
        """See `svc.cluster.blocking.send`."""
        self._plain_post().send(slot, data, timeout)
        self._pump_alone()

    def request(self, slot: Slot, data: Any, timeout: float) -> Any:
        """See `svc.cluster.blocking.request`."""
        post = self._plain_post()
        in_the_loop = self.thread == threading.get_ident()
        may_read = self._reads and self.handlers.plain and (self.thread is None or in_the_loop)
        may_read = may_read and self._deep < _DEEPEST
        if slot == self.place.slot and in_the_loop and not may_read:
            raise ClusterError(
                "a worker cannot wait in its event loop for what it asks itself: await the async form"
            )
        return post.request(slot, data, timeout, self.inbox.sock.fileno() if may_read else None, self._pump)

    def _plain_post(self) -> PlainPost:
        if self._inbox is None:
            raise ClusterError(_NO_BUS)
        return self._plain

    def _pump(self) -> None:
        with self._pumping:
            self._deep += 1
            try:
                self.inbox.read(TURN)
            finally:
                self._deep -= 1

    def _pump_alone(self) -> None:
        """Where no event loop reads the queue, the one who sent does."""
        if self.place.alone and self.loop is None:
            self._pump()

    # -- jobs ---------------------------------------------------------------------------------

    def add_job(self, function: Callable[[], Any], seconds: float, *, blocking: bool) -> None:
        """See `svc.cluster.every`."""
        name = _name(function)
        job = Job(function, seconds, name, blocking)
        if self.place.alone and self.loop is None:
            with contextlib.suppress(RuntimeError):
                self.attach(asyncio.get_running_loop())
            if blocking and self.loop is None:
                self._jobs_without_loop().add(job)
                return
        self.jobs.add(job)

    def _jobs_without_loop(self) -> Jobs:
        """Return what does plain jobs where no event loop runs at all: a development server of Flask or
        Django.
        """
        if self._own_loop is None:
            loop = asyncio.new_event_loop()
            self._own_loop = Jobs(self.jobs.leadership)
            threading.Thread(target=loop.run_forever, daemon=True).start()
            loop.call_soon_threadsafe(self._own_loop.attach, loop)
        return self._own_loop

    @property
    def locks(self) -> Path:
        """Where the named locks are."""
        folder = self.place.directory / "locks"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder


def _name(function: Any) -> str:
    """Return the name of a job, the same in every process: no address, which most repr() have."""
    if isinstance(function, functools.partial):
        given = map(repr, (*function.args, *function.keywords.items()))
        return f"{_name(function.func)}({', '.join(one for one in given if ' at 0x' not in one)})"
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{getattr(named, '__module__', '')}.{named.__qualname__}"


def _other_hosts(where: Place) -> "Hosts | None":
    """Return the hosts that act as one cluster with this one. Raises ClusterError."""
    if where.alone or not os.environ.get("SVC_CLUSTER_URL"):
        return None
    from svc.cluster.hosts.configured import connected

    return connected(where.directory)


_member: Member | None = None
_joining = threading.Lock()
_of_parent: Place | None = None


def _in_child() -> None:
    """A child that was forked sends as another: its parent goes on counting. The queue is its parent's."""
    global _member, _joining, _of_parent
    _member, _joining, _of_parent = None, threading.Lock(), place.here


os.register_at_fork(after_in_child=_in_child)


def is_stranger() -> bool:
    """Say whether a worker has started this process: it has a worker's environment, but no place."""
    return place.here is None and "SVC_APP" in os.environ


def add_handler(handler: "Callable[[Message], Any]", *, blocking: bool) -> None:
    """Register what takes messages. A process without a place gets none, but may import the application."""
    if not is_stranger():
        current().handlers.add(handler, blocking=blocking)


def add_job(function: Callable[[], Any], seconds: float, *, blocking: bool) -> None:
    """Register a job, in the same way."""
    if not is_stranger():
        current().add_job(function, seconds, blocking=blocking)


def current() -> Member:
    """Return this process as a member: of its app's cluster, or else of one of its own."""
    if _member is not None and _member.place is place.here and not _member.place.alone:
        return _member
    with _joining:
        return _join()


def _join() -> Member:
    global _member  # noqa: PLW0603 - a process is one member, as it is one process
    where = place.here
    if is_stranger():
        # Alone, each such process would have every lock, and nobody would notice.
        raise ClusterError(
            f"this process has the environment of a worker of {os.environ['SVC_APP']}, which has started it, "
            "but no place among the workers"
        )
    if where is None or (where.alone and where.record.words[scoreboard.PID] != os.getpid()):
        where, _member = alone.take_place(), None
    if _member is None or _member.place is not where:
        _member = Member(where)
        if where.alone:
            atexit.register(_member.close)
        if where.joined is not None and where is not _of_parent:
            where.joined(_member)
    return _member
