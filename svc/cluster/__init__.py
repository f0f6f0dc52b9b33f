"""The cluster API: what the workers of an app tell each other, and what only one of them does.

    from svc import cluster

    cluster.worker.slot, cluster.worker.generation      # who am I
    cluster.workers()                                   # who else runs
    await cluster.broadcast({"users": 25})              # to every worker
    await cluster.send(3, {"hello": "worker 3"})
    reply = await cluster.request(3, {"op": "stats"}, timeout=1.0)

    @cluster.on_message
    async def received(message): ...                    # message.data, message.sender, message.id

    @cluster.every(10)                                  # in exactly one worker at a time
    async def refresh(): ...

    async with cluster.lock("nightly"): ...
    cluster.owner("user:4711")                          # the slot that owns this key

`svc.cluster.blocking` has the same names as plain functions, for WSGI applications and threads. Outside
svc, on a laptop or in a unit test, all of it works in one process, which is worker 0 of 1.

Slots are 0 to N-1; "surge", "surge-2", … are extra workers that serve while a rollout replaces the others.
Messages have the format of `svc.cluster.bus.wire`; values are what JSON has, and bytes.
"""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from svc.cluster.errors import (
    CacheError,
    ClusterError,
    LockLost,
    NoSuchSlot,
    QueueFull,
    RequestFailed,
    ServerAway,
    ServerRefused,
)

if TYPE_CHECKING:
    from types import TracebackType

    from svc.cluster.bus.message import Message
    from svc.cluster.caching import Cache
    from svc.cluster.hosts.entering import Inside
    from svc.cluster.member import Member
    from svc.cluster.scoreboard import Worker
    from svc.cluster.slots import Slot
    from svc.cluster.ticket import Ticket

    cache: Cache

__all__ = [
    "CacheError",
    "ClusterError",
    "LockLost",
    "Message",
    "NoSuchSlot",
    "QueueFull",
    "RequestFailed",
    "ServerAway",
    "ServerRefused",
    "Worker",
    "broadcast",
    "cache",
    "every",
    "lock",
    "on_message",
    "owner",
    "request",
    "send",
    "worker",
    "workers",
]

TIMEOUT = 5.0
"""How long a full queue is waited for, in seconds, unless the call says otherwise."""

_Handler = TypeVar("_Handler", bound="Callable[[Message], Any]")
_Job = TypeVar("_Job", bound="Callable[[], Any]")


class _Self:
    """The worker that this process is."""

    @property
    def slot(self) -> "Slot":
        """Its number, from 0 on; "surge", "surge-2", … for the extra workers of a rollout; 0 outside svc."""
        return _member().place.slot

    @property
    def generation(self) -> str:
        """Which version of the app it runs ($SVC_GENERATION), "" when nobody said."""
        return _member().place.generation

    def __repr__(self) -> str:
        return f"<worker {self.slot}>"


worker = _Self()


def workers() -> "list[Worker]":
    """Return the workers that run now, this one included, by slot.

    Each has slot, pid, state ("starting", "ready", "draining"), generation, in_flight (requests in
    progress, as of the last second) and more, see `svc.cluster.scoreboard.Worker`.
    """
    from svc.cluster.scoreboard import read

    return list(read(_member().place.directory))


def broadcast(data: Any, *, include_self: bool = True, timeout: float = TIMEOUT) -> Coroutine[Any, Any, None]:
    """Send `data` to every worker, or to every other one.

    Workers that were stopped by hand do not count. A worker whose queue is full is waited for, `timeout`
    seconds at most. Raises QueueFull (a TimeoutError), which says who has not got it: all others have.

    With [cluster] url it goes to the workers of all hosts, and raises ServerAway when only those of this one
    have it. On other hosts message.sender is None.
    """
    me = _member()
    local = me.post.broadcast(data, include_self, timeout)
    return local if me.everywhere is None else me.everywhere.broadcast(data, local, timeout)


def send(slot: "Slot", data: Any, *, timeout: float = TIMEOUT) -> Coroutine[Any, Any, None]:
    """Send `data` to one worker. While that one restarts it waits for it.

    Raises NoSuchSlot, and QueueFull (a TimeoutError) when its queue has had no room for `timeout` seconds.
    """
    return _member().post.send(slot, data, timeout)


def request(slot: "Slot", data: Any, *, timeout: float = TIMEOUT) -> Coroutine[Any, Any, Any]:
    """Send `data` to one worker and return what its handler returns, or says by message.reply().

    Raises RequestFailed when its handler raised, when it has none, and as soon as that worker ends before
    it has answered; TimeoutError after `timeout` seconds; NoSuchSlot.
    """
    return _member().post.request(slot, data, timeout)


def on_message(handler: _Handler) -> _Handler:
    """Have `handler(message)` called for each message: a plain function or a coroutine function.

    message.data is what was sent, message.sender the slot of the sender (None: not a worker), message.id a
    text that no other message has. Handlers begin in the order in which their sender sent; one that waits
    does not hold up the next. What it returns answers a request.
    """
    from svc.cluster.member import add_handler

    add_handler(handler, blocking=False)
    return handler


def every(seconds: float) -> Callable[[_Job], _Job]:
    """Have a function called every `seconds` seconds, in exactly one worker at a time.

    Another worker takes over within a second when that one ends, and the period goes on. A call that takes
    longer than its period delays the next: they never overlap.
    """
    if not seconds > 0:
        raise ValueError(f"every({seconds}): a period is longer than nothing")

    def register(function: _Job) -> _Job:
        from svc.cluster.member import add_job

        add_job(function, seconds, blocking=False)
        return function

    return register


class lock:
    """`async with cluster.lock(name):` only one worker, and one task in it, is inside at a time.

    They get in in the order in which they came. A worker that ends is out, however it ended. Raises
    TimeoutError when it takes longer than `timeout` seconds to get in.

    With [cluster] url it holds across hosts, and has a lease that is renewed: `token` is then a number that
    grows with each holder. Raises ServerAway when the server does not answer; when the lease is lost,
    what runs inside is cancelled, and LockLost comes out.
    """

    def __init__(self, name: str, *, timeout: float | None = None) -> None:
        self.name = name
        self.timeout = timeout
        self.token: int | None = None
        self._ticket: Ticket | None = None
        self._inside: Inside | None = None

    async def __aenter__(self) -> None:
        import asyncio

        from svc.cluster.ticket import Ticket, pauses

        if self._ticket is not None:
            raise RuntimeError(f"this lock {self.name!r} is in use: make one for each `async with`")
        loop = asyncio.get_running_loop()
        end = None if self.timeout is None else loop.time() + self.timeout
        ticket = Ticket(_member().locks, self.name)
        try:
            for pause in pauses():
                if ticket.has_it():
                    break
                if end is not None and loop.time() >= end:
                    raise TimeoutError(f"the lock {self.name!r} was not free for {self.timeout:g} s")
                await asyncio.sleep(pause if end is None else min(pause, max(0.0, end - loop.time())))
            if (hosts := _member().hosts) is not None:
                from svc.cluster.hosts.entering import Inside

                self._inside = Inside(hosts, self.name)
                self.token = await self._inside.enter(end, self.timeout)
        except BaseException:
            ticket.leave()
            raise
        self._ticket = ticket

    async def __aexit__(
        self, kind: "type[BaseException] | None", error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        inside, self._inside, self.token = self._inside, None, None
        ticket, self._ticket = self._ticket, None
        try:
            if inside is not None:
                await inside.leave(error)
        finally:
            if ticket is not None:
                ticket.leave()


def owner(key: "str | bytes") -> int:
    """Return the slot that owns `key`: the same in every worker, and few keys move when their number
    changes.
    """
    from svc.cluster import rendezvous

    return rendezvous.owner(key, _member().place.slots)


def _member() -> "Member":
    # Imported at the first call: an application that only imports this module pays for nothing.
    global _member  # noqa: PLW0603
    from svc.cluster.member import current

    _member = current
    return current()


def __getattr__(name: str) -> Any:
    if module := _LATER.get(name):
        from importlib import import_module

        found = globals()[name] = getattr(import_module(module), name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_LATER = {
    "Message": "svc.cluster.bus.message",
    "Worker": "svc.cluster.scoreboard",
    "cache": "svc.cluster.caching",
}
"""What is imported when it is first asked for."""
