"""`cluster.lock` across hosts: who is first in this host's line asks for the lease."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from svc.cluster.errors import LockLost
from svc.cluster.hosts.configured import Hosts
from svc.cluster.hosts.lease import Lease

T = TypeVar("T")


class Inside:
    """One time inside, for a task. A lost lease cancels it, as asyncio.timeout() does."""

    def __init__(self, hosts: Hosts, name: str) -> None:
        self._hosts = hosts
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._cancelling = self._task.cancelling() if self._task is not None else 0
        self._lost = False
        self._left = False
        self.lease = hosts.lease("lock", name, self._tell)

    async def enter(self, end: float | None, timeout: float | None) -> int:
        """Get the lease, and return its token. `end` is loop.time(). Raises TimeoutError and ServerAway."""
        try:
            for pause in pauses():
                if await in_thread(self._hosts, self.lease.acquire):
                    return self.lease.token
                if end is not None and self._loop.time() >= end:
                    raise _timeout(self._name, timeout)
                await asyncio.sleep(pause if end is None else min(pause, max(0.0, end - self._loop.time())))
        except BaseException:
            self._left = True
            await in_thread(self._hosts, self.lease.release)
            raise
        raise AssertionError("pauses never end")

    async def leave(self, error: BaseException | None) -> None:
        """Give the lease back. Raises LockLost when it was lost, in place of the cancellation."""
        lost, self._left = self._lost or not self.lease.held, True
        await in_thread(self._hosts, self.lease.release)
        if self._lost and self._task is not None and self._task.uncancel() > self._cancelling:
            return  # another has cancelled it as well, and that goes on
        if lost and (error is None or (isinstance(error, asyncio.CancelledError) and self._lost)):
            raise _lost(self._name) from None

    def _tell(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if not self._left and self._task is not None:
            self._lost = True
            self._task.cancel()


def enter_now(hosts: Hosts, name: str, end: float | None, timeout: float | None) -> Lease:
    """Get the lease, in a thread that may wait. `end` is time.monotonic()."""
    lease = hosts.lease("lock", name)
    try:
        for pause in pauses():
            if lease.acquire():
                break
            if end is not None and time.monotonic() >= end:
                raise _timeout(name, timeout)
            time.sleep(pause if end is None else min(pause, max(0.0, end - time.monotonic())))
    except BaseException:
        lease.release()
        raise
    return lease


def leave_now(lease: Lease, name: str, error: BaseException | None) -> None:
    """Give it back. Raises LockLost when it was lost, unless the block has failed anyway."""
    lost = not lease.held
    lease.release()
    if lost and error is None:
        raise _lost(name)


async def in_thread(hosts: Hosts, work: Callable[[], T]) -> T:
    """Do what may wait for the server outside the event loop. A cancellation waits for it to be over: else it
    would happen after what comes next.
    """
    task = asyncio.ensure_future(asyncio.get_running_loop().run_in_executor(hosts.threads, work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                continue
        if not task.cancelled():
            task.exception()
        raise


def pauses() -> Iterator[float]:
    """Yield the seconds between two questions to the server."""
    pause = 0.005
    while True:
        yield pause
        pause = min(pause * 2, 0.1)


def _timeout(name: str, timeout: float | None) -> TimeoutError:
    return TimeoutError(f"the lock {name!r} was not free for {timeout:g} s")


def _lost(name: str) -> LockLost:
    return LockLost(f"the lease of the lock {name!r} ran out: another host may have been inside meanwhile")
