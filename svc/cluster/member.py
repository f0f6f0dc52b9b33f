"""The process as a member of its app's cluster: all that the functions of `svc.cluster` need.

A worker of svc becomes a member before it loads the application (`join`). In any other process, a
laptop's server or a unit test, the first call makes it the only member of a cluster of its own.
"""

import asyncio
import contextlib
import itertools
import os
import random
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from svc.cluster import exchange, memfd, scoreboard, values, wire
from svc.cluster.begin import Beginner
from svc.cluster.errors import ClusterError, NoSuchSlot, QueueFull
from svc.cluster.handlers import Handlers
from svc.cluster.inbox import Inbox
from svc.cluster.leader import Leadership
from svc.cluster.outbox import BlockingOutbox, Outbox, settled
from svc.cluster.schedule import Job, Schedule
from svc.cluster.scoreboard import Record
from svc.cluster.slots import SURGE_NAMES, Slot, on_the_wire, parse, surge_number

TURN = 256
"""The most messages that are begun before requests get their turn again."""

GONE_SECONDS = 60.0
"""How long a worker must have been away until a broadcast leaves it out, if its queue is full."""

_NO_BUS = "this app has no messages: [cluster] bus is false, or its workers were started before svc had them"


class Member:
    """One member. `directory` is where the app's workers meet, `bus` where their sockets are."""

    def __init__(
        self, slot: Slot, slots: int, directory: Path, sock: socket.socket | None, *, alone: bool = False
    ) -> None:
        self.slot = slot
        self.slots = slots
        self.generation = os.environ.get("SVC_GENERATION", "")
        self.directory = directory
        self.alone = alone
        self.pid = os.getpid()
        self.handlers = Handlers()
        self.jobs: list[Job] = []
        if sock is not None and surge_number(slot):
            _empty(sock)
        self.record = Record(directory, slot, self.generation)
        self.leadership = Leadership(directory, slot)
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread: int | None = None
        self._schedule: Schedule | None = None
        self._leading: asyncio.Task[None] | None = None
        self._pumping = threading.RLock()
        self.inbox: Inbox | None = None
        self._numbers = itertools.count(1)
        self._random = random.SystemRandom()
        number = on_the_wire(slot)
        if sock is not None:
            self.bus = Path(sock.getsockname()).parent
            words = self.record.words
            self.inbox = Inbox(sock, words, scoreboard.MARK_INCARNATION, scoreboard.REFUSED, self._take)
            self.handlers.refuse = self.inbox.refuse
            self.outbox = Outbox(self.bus, wire.header(number, self._random.getrandbits(64)))
            # A sender of its own, whose messages count by themselves: it does not wait for the event loop.
            self.blocking = BlockingOutbox(self.bus, wire.header(number, self._random.getrandbits(64)))

    # -- life ---------------------------------------------------------------------------------

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let `loop` carry this member from now on: it reads the queue, and does the jobs."""
        if self.loop is loop:
            return
        self.detach()
        self.loop, self.thread = loop, threading.get_ident()
        self.handlers.beginner = Beginner(loop)
        if self.inbox is not None:
            self.outbox.use(loop)
            loop.add_reader(self.inbox.sock, self.inbox.read, TURN)
        self.look_for_jobs()

    def ready(self, loop: asyncio.AbstractEventLoop) -> None:
        """The application has started: messages may come, and jobs be done."""
        self.record.state("ready")
        self.attach(loop)

    def use(self, loop: asyncio.AbstractEventLoop) -> None:
        """Prepare to send from `loop`. Where svc does not run the loop, it is the one that carries all."""
        if self.inbox is None:
            raise ClusterError(_NO_BUS)
        if self.alone:
            self.attach(loop)
        else:
            self.outbox.use(loop)

    def detach(self) -> None:
        """Leave the loop: what comes stays in the queue."""
        loop, self.loop, self.thread = self.loop, None, None
        if loop is not None and not loop.is_closed():
            if self.inbox is not None:
                loop.remove_reader(self.inbox.sock)
            if self.handlers.beginner is not None:
                self.handlers.beginner.close()
        self.handlers.beginner = None
        self._schedule = self._leading = None

    def look_for_jobs(self) -> None:
        """Start the schedule, when there are jobs and a loop to do them in."""
        if self.loop is None or not self.jobs or surge_number(self.slot):
            return
        if self._schedule is not None:
            self._schedule.stop()
        self._schedule = Schedule(self.jobs, self.directory, self.leadership)
        self._leading = self.loop.create_task(self._schedule.run())

    def drain(self) -> None:
        """Leave the jobs to another worker, after the ones that run. Messages still come and go."""
        self.record.state("draining")
        if self._schedule is not None:
            self._schedule.stop()

    async def leave(self, timeout: float) -> None:
        """End: what still comes stays in the queue, what was begun has `timeout` seconds to end."""
        beginner = self.handlers.beginner
        if self.loop is not None and self.inbox is not None:
            self.loop.remove_reader(self.inbox.sock)
        work = {*(beginner.tasks if beginner else ()), *([self._leading] if self._leading else ())}
        deadline = time.monotonic() + timeout
        if work:
            await asyncio.wait(work, timeout=timeout)
        if self.inbox is not None:
            await self.outbox.flush(max(0.0, deadline - time.monotonic()))
            self.outbox.close()
        self.leadership.give_up()
        self.detach()

    def close(self) -> None:
        """Give up what is left, at the end of the process."""
        self.leadership.give_up()
        if self.inbox is not None:
            self.inbox.sock.close()
        self.record.close()

    # -- messages -----------------------------------------------------------------------------

    def targets(self, *, include_self: bool) -> list[Slot]:
        """Return the workers that a broadcast goes to."""
        found: list[Slot] = [*range(self.slots)]
        found += filter(self.record.says, SURGE_NAMES)
        if not include_self and self.slot in found:
            found.remove(self.slot)
        return found

    def _gone(self, slot: Slot) -> bool:
        """Say whether a worker whose queue is full has been away for so long that nobody waits for it."""
        return self.record.away(slot) > GONE_SECONDS

    def check(self, slot: Slot) -> None:
        """Raise NoSuchSlot unless the app has this slot."""
        if not surge_number(slot) and not (isinstance(slot, int) and 0 <= slot < self.slots):
            raise NoSuchSlot(f"there is no worker {slot!r}: the slots are 0 to {self.slots - 1}")

    async def broadcast(self, data: Any, include_self: bool, timeout: float) -> None:
        """See `svc.cluster.broadcast`."""
        self.use(asyncio.get_running_loop())
        message, fds = self._pack(wire.MESSAGE, data)
        full: dict[asyncio.Future[None], Slot] = {}
        outbox = self.outbox
        try:
            for slot in self.targets(include_self=include_self):
                try:
                    sent = outbox.offer(outbox.line(slot), message, fds)
                except NoSuchSlot:
                    continue  # stopped by hand, or not started yet
                if sent is None:
                    continue
                if self._gone(slot):
                    sent.cancel()
                else:
                    full[sent] = slot
            if full:
                slots = await settled(full, timeout)
                for sent in full:
                    if not sent.cancelled():
                        sent.exception()  # stopped while we waited
                if slots:
                    raise QueueFull(slots)
        finally:
            for fd in fds:
                os.close(fd)
        self.record.words[scoreboard.SENT] += 1

    async def send(self, slot: Slot, data: Any, timeout: float) -> None:
        """See `svc.cluster.send`."""
        self.use(asyncio.get_running_loop())
        self.check(slot)
        message, fds = self._pack(wire.MESSAGE, data)
        try:
            await self._send(slot, message, fds, timeout)
        finally:
            for fd in fds:
                os.close(fd)

    async def _send(self, slot: Slot, message: bytes, fds: list[int], timeout: float) -> None:
        sent = self.outbox.offer(self.outbox.line(slot), message, fds)
        if sent is not None:
            if await settled({sent: slot}, timeout):
                raise QueueFull([slot])
            sent.result()
        self.record.words[scoreboard.SENT] += 1

    async def request(self, slot: Slot, data: Any, timeout: float) -> Any:
        """See `svc.cluster.request`."""
        loop = asyncio.get_running_loop()
        self.use(loop)
        self.check(slot)
        deadline = loop.time() + timeout
        message, fds = self._pack(wire.REQUEST, data)
        ours, theirs = exchange.pair()
        with ours:
            try:
                with theirs:
                    await self._send(slot, message, [*fds, theirs.fileno()], timeout)
            finally:
                for fd in fds:
                    os.close(fd)
            return await exchange.answer(loop, ours, deadline - loop.time(), slot)

    def _pack(self, what: int, data: Any) -> tuple[bytes, list[int]]:
        kind, value = values.encode(data)
        return self._frame(kind, what, value, next(self._numbers))

    @staticmethod
    def _frame(kind: int, what: int, value: bytes, number: int) -> tuple[bytes, list[int]]:
        if len(value) <= wire.INLINE:
            return wire.frame(kind, what, number, value), []
        return wire.large(kind, what, number, len(value)), [memfd.seal(value)]

    # -- the plain forms ----------------------------------------------------------------------

    def broadcast_now(self, data: Any, include_self: bool, timeout: float) -> None:
        """See `svc.cluster.blocking.broadcast`."""
        self._needs_bus()
        kind, value = values.encode(data)
        deadline = time.monotonic() + timeout
        full: list[Slot] = []
        for slot in self.targets(include_self=include_self):
            try:
                self._post(slot, wire.MESSAGE, kind, value, 0 if self._gone(slot) else deadline)
            except NoSuchSlot:
                continue
            except QueueFull:
                if not self._gone(slot):
                    full.append(slot)
        self._pump_alone()
        if full:
            raise QueueFull(full)

    def send_now(self, slot: Slot, data: Any, timeout: float) -> None:
        """See `svc.cluster.blocking.send`."""
        self._needs_bus()
        self.check(slot)
        kind, value = values.encode(data)
        self._post(slot, wire.MESSAGE, kind, value, time.monotonic() + timeout)
        self._pump_alone()

    def request_now(self, slot: Slot, data: Any, timeout: float) -> Any:
        """See `svc.cluster.blocking.request`."""
        self._needs_bus()
        self.check(slot)
        kind, value = values.encode(data)
        deadline = time.monotonic() + timeout
        may_read = self.handlers.plain and self.thread in (None, threading.get_ident())
        if slot == self.slot and not may_read and self.thread == threading.get_ident():
            raise ClusterError(
                "a worker cannot wait in its event loop for what it asks itself: await the async form"
            )
        ours, theirs = exchange.pair()
        with ours:
            with theirs:
                self._post(slot, wire.REQUEST, kind, value, deadline, theirs.fileno())
            assert self.inbox is not None
            watched = self.inbox.sock.fileno() if may_read else None
            return exchange.answer_now(ours, deadline, slot, watched, self._pump)

    def _post(self, slot: Slot, what: int, kind: int, value: bytes, deadline: float, *more: int) -> None:
        def numbered(number: int) -> tuple[bytes, list[int]]:
            return self._frame(kind, what, value, number)

        self.blocking.send(slot, numbered, deadline, more)
        self.record.words[scoreboard.SENT] += 1

    def _pump(self) -> None:
        assert self.inbox is not None
        with self._pumping:
            self.inbox.read(TURN)

    def _pump_alone(self) -> None:
        """Where no event loop reads the queue, the one who sent does."""
        if self.alone and self.loop is None:
            self._pump()

    def _needs_bus(self) -> None:
        if self.inbox is None:
            raise ClusterError(_NO_BUS)

    def _take(self, slot: int, incarnation: int, frame: wire.Frame, fds: list[int]) -> None:
        self.record.words[scoreboard.RECEIVED] += 1
        self.handlers.take(slot, incarnation, frame, fds)

    # -- jobs ---------------------------------------------------------------------------------

    def add_job(self, function: Callable[[], Any], seconds: float, *, blocking: bool) -> None:
        """See `svc.cluster.every`."""
        name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', repr(function))}"
        if any(job.name == name for job in self.jobs):
            raise ValueError(f"there is a job {name} already: give the function another name")
        self.jobs.append(Job(function, seconds, name, blocking))
        if self.alone:
            with contextlib.suppress(RuntimeError):
                self.attach(asyncio.get_running_loop())
            if blocking and self.loop is None:
                threading.Thread(target=self._repeat_alone, args=(self.jobs.pop(),), daemon=True).start()
                return
        self.look_for_jobs()

    def _repeat_alone(self, job: Job) -> None:
        """Do a plain job where no event loop runs at all: a development server of Flask or Django."""
        asyncio.run(Schedule([job], self.directory, Leadership(self.directory, self.slot)).run())

    @property
    def locks(self) -> Path:
        """Where the named locks are."""
        folder = self.directory / "locks"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder


def _empty(sock: socket.socket) -> None:
    """Throw away what came for the surge worker of an earlier rollout, after that had ended."""
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.recv(1, socket.MSG_DONTWAIT)


_member: Member | None = None


def join(
    slot: str,
    slots: int,
    directory: Path,
    sock: socket.socket | None,
    outside: Callable[[], AbstractContextManager[None]],
) -> Member:
    """Make this process a worker of its app: called by svc.worker, before the application is loaded.

    `outside` lets plain handlers run as if no event loop ran in their thread.
    """
    global _member  # noqa: PLW0603 - a process is one member, as it is one process
    _member = Member(parse(slot), slots, directory, sock)
    _member.handlers.outside = outside
    return _member


def current() -> Member:
    """Return this process as a member; outside svc it becomes the only one of a cluster of its own."""
    if _member is None or (_member.alone and _member.pid != os.getpid()):
        return _alone()
    return _member


def _alone() -> Member:
    import atexit

    global _member  # noqa: PLW0603
    folder = Path(tempfile.mkdtemp(prefix="svc-alone-"))
    (folder / "bus").mkdir()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(folder / "bus" / "0"))
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # not a child that was forked
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    _member = Member(0, 1, folder, sock, alone=True)
    return _member
