"""The worker as a member of its app's cluster. It becomes one when the application asks, or when a message
comes: for an application that does neither it costs a record on the scoreboard.
"""

import asyncio
import socket
import threading
from contextlib import AbstractContextManager, nullcontext

from svc.cluster import place
from svc.cluster.place import Place
from svc.worker.runtime import runtime_directory
from svc.worker.wsgi import outside_the_loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from svc.cluster.member import Member


class Membership:
    """One worker's, from before it loads its application to its end."""

    def __init__(self, where: Place) -> None:
        self.record = where.record
        self._place = where
        self._member: Member | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        where.outside = _outside
        where.joined = self._joined

    def ready(self, loop: asyncio.AbstractEventLoop) -> None:
        """The application has started: messages may come, and jobs be done, in `loop`, which runs in this
        thread.
        """
        self.record.state("ready")
        self._loop, self._thread = loop, threading.get_ident()
        if self._member is not None:
            self._member.attach(loop)
        elif self._place.queue is not None:
            loop.add_reader(self._place.queue, _join)

    def drain(self) -> None:
        """Leave the jobs to another worker, after the ones that run. Messages still come and go."""
        self.record.state("draining")
        if self._member is not None:
            self._member.jobs.stop()

    async def leave(self, timeout: float) -> None:
        """End: what still comes stays in the queue, what was begun has `timeout` seconds to end."""
        loop, self._loop = self._loop, None
        if self._member is not None:
            await self._member.leave(timeout)
        elif loop is not None and self._place.queue is not None:
            loop.remove_reader(self._place.queue)

    def close(self) -> None:
        """Give up what is left, at the end of the process."""
        if self._member is not None:
            self._member.close()
        self._place.close()

    def _joined(self, member: "Member") -> None:
        """Be told, in any thread."""
        self._member = member
        loop = self._loop
        if loop is None:
            return  # not ready yet, or about to end
        if threading.get_ident() == self._thread:
            self._attach()
        else:
            loop.call_soon_threadsafe(self._attach)

    def _attach(self) -> None:
        if self._loop is not None and self._member is not None:
            if self._place.queue is not None:
                self._loop.remove_reader(self._place.queue)
            self._member.attach(self._loop)


def take_place(name: str, slot: str, workers: int, bus: socket.socket | None) -> Membership | None:
    """Take the place of worker `slot` of the app `name`, whose queue of messages is `bus`. To be called
    before the application is loaded, because that asks who it is.

    None where systemd made no runtime directory (it was started by hand): then `svc.cluster` works in this
    process alone.
    """
    directory = runtime_directory(name)
    if directory is not None:
        return Membership(place.take(slot, workers, directory, bus))
    from svc.cluster import alone

    alone.take_place()
    return None


def _join() -> None:
    """Become a member, because a first message has come."""
    from svc.cluster.member import current

    current()


def _outside() -> AbstractContextManager[None]:
    # A WSGI application that waits for an answer, and takes messages meanwhile, is outside already.
    return nullcontext() if asyncio._get_running_loop() is None else outside_the_loop()
