"""Jobs that one worker does for all: the leader, for as long as it is that."""

import asyncio
import contextlib
import logging
import threading
import time

from svc.cluster.leader import LOOK_SECONDS, Leadership
from svc.cluster.schedule import Job, Stamp, next_due
from svc.cluster.slots import surge_number

_log = logging.getLogger("svc.cluster")


class Jobs:
    """The jobs of one worker, carried by an event loop from `attach` to `detach`."""

    def __init__(self, leadership: Leadership) -> None:
        self.leadership = leadership
        self._jobs: dict[str, Job] = {}
        self._doing: dict[str, asyncio.Task[None]] = {}
        self._leading: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._stop = asyncio.Event()

    def add(self, job: Job) -> None:
        """Do one more, from any thread. Raises ValueError when its name is taken."""
        if job.name in self._jobs:
            raise ValueError(f"there is a job {job.name} already: give the function another name")
        self._jobs[job.name] = job
        if self._loop is None:
            return
        if self._thread == threading.get_ident():
            self._begin()
        else:
            self._loop.call_soon_threadsafe(self._begin)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Do them in `loop`, which runs in this thread."""
        self.detach()
        self._loop, self._thread, self._stop = loop, threading.get_ident(), asyncio.Event()
        self._begin()

    def detach(self) -> None:
        """Forget the loop. A lock that is still held stays so to the end of the process: what runs may run
        on.
        """
        self._loop = self._leading = None
        self._doing.clear()

    def stop(self) -> None:
        """Begin no more: another worker takes over as soon as those that run have ended."""
        self._stop.set()

    def tasks(self) -> "list[asyncio.Task[None]]":
        """Return what is to be waited for after `stop`."""
        return [self._leading] if self._leading is not None else []

    def _begin(self) -> None:
        """Begin what has not begun yet, when there is something."""
        if self._loop is None or not self._jobs or surge_number(self.leadership.slot) or self._stop.is_set():
            return
        if self._leading is None:
            self._leading = self._loop.create_task(self._lead())
        elif self.leadership.held:
            self._begin_all()

    async def _lead(self) -> None:
        """Become the leader as soon as nobody else is, and do the jobs until `stop`."""
        while not self.leadership.take():
            if await self._stopped_within(LOOK_SECONDS):
                return
        self._begin_all()
        await self._stop.wait()
        if self._doing:
            await asyncio.wait(self._doing.values())
        self.leadership.give_up()

    def _begin_all(self) -> None:
        self.leadership.announce((job.seconds, job.name) for job in self._jobs.values())
        for name, job in self._jobs.items():
            if name not in self._doing:
                assert self._loop is not None
                self._doing[name] = self._loop.create_task(self._repeat(job))

    async def _repeat(self, job: Job) -> None:
        while True:
            try:
                stamp = Stamp(self.leadership.directory, job.name)
                now = time.monotonic()
                due = next_due(stamp.read(), job.seconds, now)
                if due > now and await self._stopped_within(due - now):
                    return
                if time.monotonic() < due:
                    continue
                if self._stop.is_set():
                    return
                stamp.write(due)
            except OSError as error:
                # Without the note of its beginning another worker could do it again.
                _log.error("The job %s cannot begin: %s", job.name, error)
                if await self._stopped_within(max(job.seconds, 1.0)):
                    return
            else:
                await self._do(job)

    async def _do(self, job: Job) -> None:
        try:
            if job.blocking:
                await asyncio.to_thread(job.function)
            else:
                waits_for = job.function()
                if waits_for is not None:
                    await waits_for
        except Exception:
            _log.exception("The job %s failed; it is done again when its time comes:", job.name)

    async def _stopped_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)
        return self._stop.is_set()
