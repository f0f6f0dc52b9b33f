"""The drain: finish what is in flight, take nothing new, and let no client notice.

Idle connections go to a sibling (`svc.worker.handover`), busy ones as soon as their answer is out: the
client keeps its connection. Where no sibling takes them the worker is a lame duck: from then on each answer
says `Connection: close`, and a connection on which nothing happens stays open for a grace period, so that
a request already on the wire is answered.
"""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from svc.worker import moving
from svc.worker.farewell import Farewell
from svc.worker.handover import Meeting, Siblings
from svc.worker.log import Journal
from svc.worker.uvicorn_seam import Http

GRACE_SECONDS = 1.0  # measured: with 0.5 to 1 s no client of four servers saw a failed request
LOOK_SECONDS = 0.02  # how often connections are looked at while draining
LOOK_SHARE = 10  # with very many connections, less often: a tenth of the time at most
SEEK_SECONDS = 0.25  # between two looks for siblings that have started meanwhile
TURN = 8  # connections given before those that are busy have their turn: less than a millisecond
WEBSOCKETS_SHARE = 0.5  # of the drain: by then every WebSocket has been told
LAST_WORDS_SECONDS = 0.5  # for cancelled requests to end and say so


class Adopts(Protocol):
    """Takes connections over; `pending` are those that are not yet known to `Http`."""

    def adopt(self, connection: socket.socket) -> None: ...
    @property
    def pending(self) -> int: ...


@dataclass(slots=True)
class Drain:
    """One drain of `http`'s connections, at most `seconds` long. Without `meeting` there are no siblings."""

    http: Http
    journal: Journal
    seconds: float
    adopts: Adopts
    meeting: Meeting | None = None
    _siblings: Siblings | None = None
    _lame: bool = False
    _scheduled: bool = False
    _began: float = 0.0
    _sought: float = 0.0
    _idle: dict[Any, None] = field(default_factory=dict)  # to be given, in this order
    _answered: dict[Any, None] = field(default_factory=dict)  # the same at once; they do not read meanwhile
    _active: dict[Any, float] = field(default_factory=dict)  # when a connection was last busy or heard
    _held: set[Any] = field(default_factory=set)  # they do not read while a pipeline is answered
    _followed: set[Any] = field(default_factory=set)

    async def run(self) -> None:
        """Drain. Returns when no connection is left, or, after the deadline, when the rest was cut off."""
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        if self.meeting is not None:
            self._siblings = Siblings(loop, self.meeting, self.adopts.adopt, self._schedule)
            self._seek(self._began)
        farewell = Farewell(self.http, self.seconds * WEBSOCKETS_SHARE)
        leaving = loop.create_task(farewell.run())
        try:
            while True:
                began = loop.time()
                self._look(began)
                if not self._is_any_left():
                    return
                if began - self._began >= self.seconds:
                    await self._cut_off(farewell.tasks)
                    return
                await asyncio.sleep(max(LOOK_SECONDS, (loop.time() - began) * LOOK_SHARE))
        finally:
            leaving.cancel()
            if self._siblings is not None:
                # What a hung sibling still has in its queue after the deadline is its own, if it wakes up.
                self._siblings.close(take_back=False)
                if given := self._siblings.given:
                    self.journal.info(f"handed {given} connections over to siblings")

    def _is_any_left(self) -> bool:
        on_their_way = self._siblings.waiting if self._siblings is not None else 0
        return bool(self.http.connections or self.http.tasks or self.adopts.pending or on_their_way)

    def _look(self, now: float) -> None:
        if now - self._sought >= SEEK_SECONDS:
            self._seek(now)
        if not self._siblings and not self._lame:
            self._become_lame()
        for protocol in list(self.http.connections):
            if not self.http.is_websocket(protocol) and (self._lame or protocol not in self._idle):
                self._look_at(protocol, now)
        for gone in self._followed - self.http.connections:
            self._followed.discard(gone)
            self._active.pop(gone, None)
            self._held.discard(gone)
        if self._idle or self._answered:
            self._schedule()

    def _look_at(self, protocol: Any, now: float) -> None:
        if self.http.is_busy(protocol) or moving.is_sending(protocol):
            self._follow(protocol)
            self._active[protocol] = now
            return
        movable = moving.is_movable(protocol)
        if movable and self._siblings and protocol not in self._answered:
            self._idle[protocol] = None
        if self._lame or not movable:
            self._follow(protocol)
            if now - self._active.setdefault(protocol, now) >= GRACE_SECONDS:
                protocol.shutdown()

    def _follow(self, protocol: Any) -> None:
        """Hear of what the connection receives, and of each answer."""
        if protocol in self._followed:
            return
        self._followed.add(protocol)
        loop = asyncio.get_running_loop()

        def heard() -> None:
            self._active[protocol] = loop.time()

        self.http.listen_in(protocol, heard, lambda: self._has_answered(protocol))

    # With siblings

    def _seek(self, now: float) -> None:
        self._sought = now
        if self._siblings is not None:
            self._siblings.seek()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._give_some)

    def _has_answered(self, protocol: Any) -> None:
        """Now is the moment: a client in a hurry sends its next request before the next look."""
        if not self._siblings or not self._siblings.ready():
            self._read_again(protocol)
        elif not self.http.is_busy(protocol):
            # What comes from now on is for the sibling to read. In the next turn the answer has been
            # written; in this one uvloop still keeps it.
            moving.pause(protocol)
            self._answered[protocol] = None
            self._schedule()
        elif self.http.is_between_requests(protocol):
            # A pipeline: a client that always has a request waiting would stay until the deadline.
            moving.pause(protocol)
            self._held.add(protocol)

    def _read_again(self, protocol: Any) -> None:
        if protocol in self._held:
            self._held.discard(protocol)
            moving.resume(protocol)

    def _give_some(self) -> None:
        self._scheduled = False
        for protocol in list(self._answered):
            waits = protocol in self.http.connections and moving.is_sending(protocol) and self._siblings
            if waits:
                continue  # for a client that reads slowly; the next look tries again
            del self._answered[protocol]
            if not self._give(protocol):
                moving.resume(protocol)
        for protocol in list(islice(self._idle, TURN)):
            if not self._give(protocol) and self._is_movable(protocol):
                return  # there is no room: the next report of a sibling schedules us again
            del self._idle[protocol]
        if self._idle:
            self._schedule()

    def _give(self, protocol: Any) -> bool:
        if not self._siblings or not self._is_movable(protocol):
            return False
        if not self._siblings.give(moving.socket_of(protocol)):
            return False
        moving.let_go(protocol)
        return True

    def _is_movable(self, protocol: Any) -> bool:
        return (
            protocol in self.http.connections
            and not self.http.is_busy(protocol)
            and moving.is_movable(protocol)
        )

    # Without

    def _become_lame(self) -> None:
        self._lame = True
        self.http.announce_close()
        self._idle.clear()
        self._active.clear()  # only now are clients told
        # Not before what has come meanwhile is read: to close a connection with bytes unread is to reset it.
        for protocol in self._held & self.http.connections:
            self.http.spare(protocol)
            self._read_again(protocol)
        self._schedule()  # those that were about to be given read again

    async def _cut_off(self, closing: Sequence["asyncio.Task[None]"]) -> None:
        """Name what is left, one line each, and end it."""
        waited = f"after {self.seconds:g} s of drain"
        for protocol in list(self.http.connections):
            doing = self.http.look(protocol)
            what = f"{doing.method} {doing.path}" if doing.busy and doing.method else "no complete request"
            self.journal.warning(f"cut off {waited}: {what} from {doing.client}")
        if not self.http.connections and self.http.tasks:
            self.journal.warning(
                f"cut off {waited}: {len(self.http.tasks)} background tasks of answered requests"
            )
        tasks = [*self.http.tasks, *closing]
        for task in tasks:
            task.cancel("the drain has reached its deadline")
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_WORDS_SECONDS)
        for protocol in list(self.http.connections):
            if protocol.transport is not None:
                protocol.transport.close()
