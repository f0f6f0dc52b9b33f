"""The cluster API as plain functions, for WSGI applications and threads: `from svc.cluster import blocking
as cluster`.

The names are those of `svc.cluster`, which says more about each. Handlers and jobs are plain functions: a
handler runs where requests do, between two of them; a job runs in a thread of its own.
"""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from svc.cluster import TIMEOUT, _member, owner, worker, workers
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
    from svc.cluster.caching import BlockingCache
    from svc.cluster.hosts.lease import Lease
    from svc.cluster.slots import Slot
    from svc.cluster.ticket import Ticket

    cache: BlockingCache

__all__ = [
    "CacheError",
    "ClusterError",
    "LockLost",
    "NoSuchSlot",
    "QueueFull",
    "RequestFailed",
    "ServerAway",
    "ServerRefused",
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

_Handler = TypeVar("_Handler", bound="Callable[[Message], Any]")
_Job = TypeVar("_Job", bound="Callable[[], Any]")


def broadcast(data: Any, *, include_self: bool = True, timeout: float = TIMEOUT) -> None:
    """Send `data` to every worker, or to every other one. Raises QueueFull."""
    _member().broadcast(data, include_self, timeout)


def send(slot: "Slot", data: Any, *, timeout: float = TIMEOUT) -> None:
    """Send `data` to one worker. Raises NoSuchSlot, QueueFull."""
    _member().send(slot, data, timeout)


def request(slot: "Slot", data: Any, *, timeout: float = TIMEOUT) -> Any:
    """Send `data` to one worker and return its answer. Raises RequestFailed, NoSuchSlot, TimeoutError.

    Where the caller is the worker's only thread, messages that come meanwhile are handled: two workers may
    ask each other.
    """
    return _member().request(slot, data, timeout)


def on_message(handler: _Handler) -> _Handler:
    """Have `handler(message)` called for each message, in the worker's main thread."""
    from svc.cluster.member import add_handler

    add_handler(handler, blocking=True)
    return handler


def every(seconds: float) -> Callable[[_Job], _Job]:
    """Have a function called every `seconds` seconds, in exactly one worker at a time, in a thread."""
    if not seconds > 0:
        raise ValueError(f"every({seconds}): a period is longer than nothing")

    def register(function: _Job) -> _Job:
        from svc.cluster.member import add_job

        add_job(function, seconds, blocking=True)
        return function

    return register


class lock:
    """`with cluster.lock(name):` only one worker, and one thread in it, is inside at a time. Raises
    TimeoutError.

    With [cluster] url also ServerAway, and LockLost at the end when the lease was lost inside: a thread
    cannot be cancelled. `token` is then this thread's number, which grows with each holder.
    """

    def __init__(self, name: str, *, timeout: float | None = None) -> None:
        self.name = name
        self.timeout = timeout
        self._mine = threading.local()

    @property
    def token(self) -> int | None:
        """The token of the lease that this thread holds; None within a host."""
        lease: Lease | None = getattr(self._mine, "lease", None)
        return lease.token if lease is not None else None

    def __enter__(self) -> None:
        from svc.cluster.ticket import Ticket, pauses

        end = None if self.timeout is None else time.monotonic() + self.timeout
        ticket, lease = Ticket(_member().locks, self.name), None
        try:
            for pause in pauses():
                if ticket.has_it():
                    break
                if end is not None and time.monotonic() >= end:
                    raise TimeoutError(f"the lock {self.name!r} was not free for {self.timeout:g} s")
                time.sleep(pause if end is None else min(pause, max(0.0, end - time.monotonic())))
            if (hosts := _member().hosts) is not None:
                from svc.cluster.hosts.entering import enter_now

                lease = enter_now(hosts, self.name, end, self.timeout)
        except BaseException:
            ticket.leave()
            raise
        self._mine.ticket, self._mine.lease = ticket, lease

    def __exit__(
        self, kind: "type[BaseException] | None", error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        ticket: Ticket = self._mine.ticket
        lease: Lease | None = self._mine.lease
        del self._mine.ticket, self._mine.lease
        try:
            if lease is not None:
                from svc.cluster.hosts.entering import leave_now

                leave_now(lease, self.name, error)
        finally:
            ticket.leave()


def __getattr__(name: str) -> Any:
    if name == "cache":
        from importlib import import_module

        found = globals()["cache"] = import_module("svc.cluster.caching").blocking_cache
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
