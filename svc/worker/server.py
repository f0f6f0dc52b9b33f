"""The life of a worker, from the loaded application to the exit status."""

import asyncio
import contextlib
import math
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from svc import gentle
from svc.worker import silence
from svc.worker.accept import FairLine, Helping, Room
from svc.worker.canary import Canary
from svc.worker.connections import Adopter
from svc.worker.cookie.router import Router
from svc.worker.drain import Drain
from svc.worker.handover import Door, Meeting
from svc.worker.lifespan import Lifespan
from svc.worker.limits import CHECK_SECONDS, Recycling
from svc.worker.listeners import Listener
from svc.worker.log import Journal, WorkerError, adopt_access_logger, adopt_logger
from svc.worker.loop_server import LoopServer, proven
from svc.worker.loops import Loop
from svc.worker.membership import Membership
from svc.worker.notify import Notify
from svc.worker.pauses import Pauses
from svc.worker.steering import Program, steer
from svc.worker.uvicorn_seam import Http

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
STATUS_SECONDS = 5.0
DATE_SECONDS = 1.0
MESSAGES_SECONDS = 1.0  # for messages and jobs that still run when the drain has used up its time
SHUTDOWN_SECONDS = 2.5  # for the application's shutdown after the drain: systemd's limit is 5 s after it


@dataclass(slots=True)
class Server:
    """One worker's server: starts the application, accepts, drains at SIGTERM."""

    http: Http
    loop: Loop
    listeners: Sequence[Listener]
    journal: Journal
    notify: Notify
    drain_seconds: float
    watchdog: float | None = None
    meeting: Meeting | None = None
    helping: Helping | None = None
    member: Membership | None = None
    recycling: Recycling | None = None
    program: Callable[[int], Program] | None = None
    route: Callable[[Callable[[socket.socket], None]], Router] | None = None
    canary: Canary | None = None
    room: Room | None = None
    head_seconds: float = 0.0
    pause_seconds: float = 0.0
    alone: bool = False
    _state: str = ""
    _replaced: bool = False

    async def serve(self) -> bool:
        """Run until SIGTERM or SIGINT, or a limit, and drained. Raises WorkerError when the start-up fails.

        True when it has reached a limit and its successor shall start.
        """
        stop = asyncio.Event()
        self._on_signal(stop)
        lifespan = Lifespan(self.http.app, self.http.lifespan_state, self.journal)
        if not await _unless(stop, lifespan.startup()):
            self.notify.stopping("stopped while starting")
            lifespan.cancel()
            return False
        adopt_logger("uvicorn.error", self.journal)  # now, because a start-up may configure logging
        adopt_access_logger(self.journal)
        adopted = Adopter(self.http, self.loop.loop, self.journal)
        if self.canary is not None and not await self._prove(self.canary, stop, adopted, lifespan):
            return False
        accepting = await self._accept(adopted)
        names = ", ".join(str(listener) for listener in self.listeners)
        self.journal.info(f"ready on {names}, with {self.loop.name} and {self.http.parser}")
        if self.member is not None:
            self.member.ready(self.loop.loop)
        gentle.process.end(self.loop.loop.call_later)
        self.notify.ready(self._status())
        with contextlib.ExitStack() as ticking:
            self._start_ticking(ticking, stop)
            await stop.wait()
            accepting.close()
            await self._drain(adopted)
            await self.http.end_lingering()
            await self._shut_down(lifespan)
        return self._replaced

    async def _accept(self, adopted: Adopter) -> contextlib.ExitStack:
        """Take connections, until what is returned is closed."""
        accepting = contextlib.ExitStack()
        router = self.route(adopted.adopt) if self.route is not None else None
        if router is not None:
            accepting.callback(router.close)
        for listener in self.listeners:
            accepting.callback(listener.sock.close)  # of an address that is given up it may be the last
        take = router.take if router is not None else adopted.adopt
        server = await self._loop_server() if router is None and self.helping is None else None
        line = FairLine(
            self.loop, self.listeners, take, self.journal, self.helping, self.alone, self.room, server
        )
        await line.join()
        accepting.callback(line.leave)
        if self.program is not None:
            steer(self.listeners, self.program, self.journal)
        door = self._open_door(adopted)
        if door is not None:
            accepting.callback(door.close)
        if router is not None:
            router.open()
            accepting.callback(router.withdraw)
            self._tick(accepting, silence.CHECK_SECONDS, partial(self._close_silent, router))
        return accepting

    async def _loop_server(self) -> LoopServer | None:
        """Who accepts in our place, where there is one TCP listener, and it is served to all alike."""
        if len(self.listeners) != 1 or not self.listeners[0].is_tcp:
            return None
        return await proven(self.loop, self.http.make_protocol, self.journal)

    def _start_ticking(self, ticking: contextlib.ExitStack, stop: asyncio.Event) -> None:
        self._tick(ticking, DATE_SECONDS, self.http.refresh_headers)
        self._tick(ticking, DATE_SECONDS, self.notify.flush)
        self._tick(ticking, DATE_SECONDS, self._write_figures)
        watch = silence.Silence(self.http, self.head_seconds, self.loop.loop.time, self.journal)
        self._tick(ticking, watch.period, watch.look)
        if self.pause_seconds:
            pauses = Pauses(self.http, self.pause_seconds, self.loop.loop.time)
            self._tick(ticking, pauses.period, pauses.look)
        self._tick(ticking, STATUS_SECONDS, lambda: self.notify.status(self._status()))
        if self.watchdog is not None:
            self._tick(ticking, self.watchdog, self.notify.watchdog)
        if self.recycling is not None:
            self._tick(ticking, CHECK_SECONDS, partial(self._recycle, self.recycling, stop))

    def _close_silent(self, router: Router) -> None:
        before = self.loop.loop.time() - self.head_seconds if self.head_seconds else -math.inf
        router.close_silent(before, silence.MOST)

    async def _drain(self, adopted: Adopter) -> None:
        """Finish what is in progress, or hand it over."""
        self._state = "draining, "
        self.notify.stopping(self._status())
        if self.member is not None:
            self.member.drain()
        end = self.loop.loop.time() + self.drain_seconds
        await adopted.settled()
        await Drain(self.http, self.journal, self.drain_seconds, adopted, self.meeting).run()
        if self.member is not None:
            await self.member.leave(max(end - self.loop.loop.time(), MESSAGES_SECONDS))

    async def _prove(self, canary: Canary, stop: asyncio.Event, adopted: Adopter, lifespan: Lifespan) -> bool:
        """Pass the canary; False when the worker was stopped meanwhile. Raises WorkerError."""
        try:
            if await _unless(stop, canary.sing(adopted.adopt_own)):
                self.journal.info(f"the canary {canary.url} was answered")
                return True
        except WorkerError:
            await self._shut_down(lifespan)
            raise
        self.notify.stopping("stopped while starting")
        await self._shut_down(lifespan)
        return False

    def _open_door(self, adopted: Adopter) -> Door | None:
        """Take connections that siblings hand over."""
        if self.meeting is None:
            return None
        door = Door(
            self.loop.loop,
            self.meeting,
            adopted.adopt_idle,
            lambda: len(self.http.connections) + adopted.pending,
            self.journal,
        )
        door.open()
        return door

    def _on_signal(self, stop: asyncio.Event) -> None:
        """Set `stop` at SIGTERM and SIGINT; a second signal changes nothing.

        Not by the loop's own add_signal_handler: while a WSGI application computes its answer the loop
        stands still, but where no sibling takes connections over that answer shall already say
        `Connection: close`.
        """

        def stopped(_number: int, _frame: object) -> None:
            self._replaced = False  # who stops it decides what comes after
            self._announce_close()
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self.loop.loop.call_soon_threadsafe(stop.set)

        for number in STOP_SIGNALS:
            signal.signal(number, stopped)
        os.register_at_fork(after_in_child=_forget_signals)

    def _announce_close(self) -> None:
        if self.meeting is None or not self.meeting.others():
            self.http.announce_close()

    def _recycle(self, recycling: Recycling, stop: asyncio.Event) -> None:
        """Stop when a limit is reached, as SIGTERM does."""
        if not stop.is_set() and recycling.is_due(self.http.answered, self.loop.loop.time()):
            self._replaced = True
            self._announce_close()
            stop.set()

    async def _shut_down(self, lifespan: Lifespan) -> None:
        try:
            await asyncio.wait_for(lifespan.shutdown(), SHUTDOWN_SECONDS)
        except TimeoutError:
            self.journal.error(
                f"the application's shutdown took longer than {SHUTDOWN_SECONDS:g} s; leaving it"
            )
            lifespan.cancel()

    def _status(self) -> str:
        http = self.http
        counts = f"{len(http.connections)} connections, {len(http.tasks)} requests in progress"
        return f"{self._state}{counts}, {http.answered} answered"

    def _write_figures(self) -> None:
        if self.member is not None:
            http = self.http
            self.member.record.figures(len(http.connections), len(http.tasks), http.answered)

    def _tick(self, ticking: contextlib.ExitStack, seconds: float, call: Callable[[], object]) -> None:
        """Call `call` every `seconds` from the event loop, the first time at once, until `ticking` closes."""
        timer: asyncio.TimerHandle | None = None

        def again() -> None:
            nonlocal timer
            timer = self.loop.loop.call_later(seconds, again)
            call()

        again()
        ticking.callback(lambda: timer.cancel() if timer else None)


def _forget_signals() -> None:
    """Let SIGTERM end a child that the application has forked: multiprocessing's Pool counts on that."""
    signal.set_wakeup_fd(-1)  # it is the loop's
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Run `work` to its end, or until `stop` is set; True when it came to its end."""
    loop = asyncio.get_running_loop()
    working, stopping = loop.create_task(work), loop.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        working.result()
        return True
    finally:
        working.cancel()
        stopping.cancel()
