"""Jobs that one worker does for all: the leader, for as long as it is that."""

import asyncio
import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING

from svc.cluster.errors import ClusterError
from svc.cluster.leader import LOOK_SECONDS, Leadership
from svc.cluster.schedule import Job, Stamp
from svc.cluster.slots import surge_number

if TYPE_CHECKING:
    from svc.cluster.hosts.office import Office

_log = logging.getLogger("svc.cluster")


class Jobs:
    """The jobs of one worker, carried by an event loop from `attach` to `detach`. With `office` it has to be
    the leader of its host and then of all hosts.
    """

    def __init__(self, leadership: Leadership, office: "Office | None" = None) -> None:
        self.leadership = leadership
        self._office = office
        self._jobs: dict[str, Job] = {}
        self._doing: dict[str, asyncio.Task[None]] = {}
        self._leading: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._over = asyncio.Event()  # the term, or all
        self._stopped = False
        self._elected = False
        self._complained = False

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
        self._loop, self._thread = loop, threading.get_ident()
        self._over, self._stopped, self._elected = asyncio.Event(), False, False
        self._begin()

    def detach(self) -> None:
        """Forget the loop. A lock that is still held stays so to the end of the process: what runs may run
        on.
        """
        self._loop = self._leading = None
        self._doing.clear()

    def stop(self) -> None:
        """Begin no more: another worker takes over as soon as those that run have ended."""
        self._stopped = True
        self._over.set()

    def tasks(self) -> "list[asyncio.Task[None]]":
        """Return what is to be waited for after `stop`."""
        return [self._leading] if self._leading is not None else []

    def _begin(self) -> None:
        """Begin what has not begun yet, when there is something."""
        if self._loop is None or not self._jobs or surge_number(self.leadership.slot) or self._stopped:
            return
        if self._leading is None:
            self._leading = self._loop.create_task(self._lead())
        elif self._elected:
            self._begin_all()

    async def _lead(self) -> None:
        """Become the leader as soon as nobody else is, and do the jobs until `stop`."""
        while not self._takes():
            if await self._over_within(LOOK_SECONDS):
                return
        if self._office is None:
            await self._serve()
        else:
            await self._run_for(self._office)
        self.leadership.give_up()  # not when this is cancelled: a thread may run on

    def _takes(self) -> bool:
        try:
            taken = self.leadership.take()
        except OSError as error:  # too many files are open, or /run is full
            if not self._complained:
                self._complained = True
                _log.error("No job can be done (cluster.every): %s", error)
            return False
        self._complained = False
        return taken

    async def _run_for(self, office: "Office") -> None:
        """Be the leader of all hosts whenever no other host's is, until `stop`."""
        while not self._stopped:
            if not await office.take(self._lost):
                await self._over_within(LOOK_SECONDS)
                continue
            await self._serve()
            await office.give_up()
            if not self._stopped:
                self._over = asyncio.Event()

    def _lost(self) -> None:
        """End this term: another host may have begun one. What can be cancelled is."""
        self._over.set()
        for name, task in self._doing.items():
            if not self._jobs[name].blocking:
                task.cancel()

    async def _serve(self) -> None:
        """Do the jobs until the end of this term."""
        self._elected = True
        self._begin_all()
        await self._over.wait()
        self._elected = False
        if self._doing:
            await asyncio.wait(self._doing.values())
        self._doing.clear()
        self.leadership.announce(())

    def _begin_all(self) -> None:
        self.leadership.announce((job.seconds, job.name) for job in self._jobs.values())
        for name, job in self._jobs.items():
            if name not in self._doing:
                assert self._loop is not None
                self._doing[name] = self._loop.create_task(self._repeat(job))

    async def _repeat(self, job: Job) -> None:
        while not self._over.is_set():
            try:
                wait = await self._noted(job)
                if wait:
                    if await self._over_within(wait):
                        return
                    continue
            except (OSError, ClusterError) as error:
                # Without the note of its beginning another worker could do it again.
                _log.error("The job %s cannot begin: %s", job.name, error)
                if await self._over_within(max(job.seconds, 1.0)):
                    return
            else:
                await self._do(job)

    async def _noted(self, job: Job) -> float:
        """Return the seconds until the job is due; 0.0 when it is, and its beginning has been noted."""
        if self._office is not None:
            return await self._office.begin(job)
        return Stamp(self.leadership.directory, job.name).begin(job.seconds, time.monotonic())

    async def _do(self, job: Job) -> None:
        try:
            if job.blocking:
                await asyncio.to_thread(job.function)
            else:
                waits_for = job.function()
                if waits_for is not None:
                    await waits_for
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            _log.exception("What the job %s waited for was cancelled:", job.name)
        except Exception:
            _log.exception("The job %s failed; it is done again when its time comes:", job.name)

    async def _over_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)
        return self._over.is_set()
