"""Jobs that one worker does for all: when they are due, and that none is done twice.

A job's last beginning is kept in the runtime directory, so that its period goes on when another
worker takes over.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from svc.cluster.leader import LOOK_SECONDS, Leadership
from svc.cluster.names import file_name

_log = logging.getLogger("svc.cluster")


@dataclass(frozen=True, slots=True)
class Job:
    """A function and its period in seconds. A blocking one runs in a thread."""

    function: Callable[[], Any]
    seconds: float
    name: str
    blocking: bool


class Schedule:
    """Does the jobs for as long as this worker is the leader."""

    def __init__(self, jobs: Iterable[Job], directory: Path, leadership: Leadership) -> None:
        self._jobs = tuple(jobs)
        self._folder = directory / "every"
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._leadership = leadership
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Become the leader as soon as nobody else is, and do the jobs until `stop`."""
        while not self._stop.is_set():
            if self._leadership.take():
                try:
                    await asyncio.gather(*(self._repeat(job) for job in self._jobs))
                finally:
                    self._leadership.give_up()
            else:
                await self._sleep(LOOK_SECONDS)

    def stop(self) -> None:
        """Begin no more jobs: `run` returns, and another worker takes over, when those that run have
        ended.
        """
        self._stop.set()

    async def _repeat(self, job: Job) -> None:
        stamp = self._folder / file_name(job.name)
        while True:
            now = time.monotonic()
            due = next_due(_last(stamp), job.seconds, now)
            if due > now:
                await self._sleep(due - now)
            if self._stop.is_set():
                return
            if time.monotonic() < due:
                continue
            _write(stamp, due)
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

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)


def next_due(last: float | None, period: float, now: float) -> float:
    """Return when a job is due that last began at `last`: periods that have passed are not made up for."""
    if last is None or last > now:  # the clock of this host began anew
        return now
    due = last + period
    if due < now - period:
        due += (now - due) // period * period
    return due


def _last(stamp: Path) -> float | None:
    try:
        return float(stamp.read_text())
    except (OSError, ValueError):
        return None


def _write(stamp: Path, due: float) -> None:
    new = stamp.with_name(f"{stamp.name}.new")
    new.write_text(repr(due))
    new.replace(stamp)  # a crash leaves the old one or the new one
