"""Limits of a worker's life: it replaces itself after so many requests, at a size or at an age."""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from svc import turn
from svc.worker.listeners import TURN
from svc.worker.log import Journal
from svc.worker.notify import Notify

CHECK_SECONDS = 1.0
JITTER = 0.1  # workers that start together, and have equal shares, shall not all be due together
PATIENCE = 60.0  # seconds after which a worker says that it waits for its turn


@dataclass(frozen=True, slots=True)
class Limits:
    """When a worker is due; 0 for never. `memory` in bytes, `lifetime` in seconds."""

    requests: int = 0
    memory: int = 0
    lifetime: float = 0.0

    def with_jitter(self, share: Callable[[], float] = random.random) -> "Limits":
        """The limits of one worker: requests and lifetime up to a tenth lower."""
        return Limits(
            round(self.requests * (1 - JITTER * share())),
            self.memory,
            self.lifetime * (1 - JITTER * share()),
        )

    def reached(self, requests: int, memory: Callable[[], int], age: float) -> str:
        """Which limit a worker has reached, for the journal; empty when none. `memory` is read at need."""
        if self.requests and requests >= self.requests:
            return f"limits.requests: {requests} answered"
        if self.lifetime and age >= self.lifetime:
            return f"limits.lifetime: {age:.0f} s old"
        if self.memory and (size := memory()) >= self.memory:
            return f"limits.memory: {mebibytes(size)} resident"
        return ""


def resident() -> int:
    """The resident size of this process in bytes, proc_pid_statm(5)."""
    pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def mebibytes(size: int) -> str:
    """A size for the journal."""
    return f"{size / 2**20:.0f} MiB"


class Inherited:
    """The turn that the predecessor left with systemd, if it did, by its descriptors."""

    def __init__(self, fds: tuple[int, ...] = ()) -> None:
        self._fds = fds

    def __bool__(self) -> bool:
        return bool(self._fds)

    def give_back(self) -> None:
        """Let it be the next one's turn, because this worker is ready."""
        fds, self._fds = self._fds, ()
        for fd in fds:
            turn.give_back(fd)

    def share(self) -> None:
        """Let a rollout go on, which may mend what kept this worker from becoming ready."""
        fds, self._fds = self._fds, ()
        for fd in fds:
            turn.share(fd)
            os.close(fd)


class Recycling:
    """Lets a worker that is due replace itself when it is its turn.

    `folder` is where the workers of the app meet, None when this one was started by hand: then it stays.
    """

    def __init__(
        self,
        limits: Limits,
        folder: Path | None,
        notify: Notify,
        journal: Journal,
        inherited: Inherited,
        *,
        size: Callable[[], int] = resident,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.limits = limits.with_jitter(jitter)
        self._folder = folder
        self._notify = notify
        self._journal = journal
        self._inherited = inherited
        self._size = size
        self._born: float | None = None
        self._due_since: float | None = None
        self._said = False

    def is_due(self, answered: int, now: float) -> bool:
        """Whether the worker shall stop now. To be called from its readiness on, once in a while.

        `answered` are its requests so far, `now` is in seconds of any clock that does not jump.
        """
        if self._inherited and not self._pass_on():
            return False
        if self._born is None:
            self._born = now
            self._check_size()
        why = self.limits.reached(answered, self._size, now - self._born)
        if not why or self._folder is None:
            return False
        return self._take(self._folder, why, now)

    def _pass_on(self) -> bool:
        """Give the turn back once systemd has been told that this worker is ready: no sooner, else it might
        hear of the next one's leaving before.
        """
        if not self._notify.flush():
            return False
        self._inherited.give_back()
        self._notify.forget(TURN)
        return True

    def _check_size(self) -> None:
        """A limit below the size of a fresh worker would replace it for ever."""
        if self.limits.memory and (size := self._size()) >= self.limits.memory:
            self._journal.warning(
                f"limits.memory = {mebibytes(self.limits.memory)} is ignored, because this worker has "
                f"{mebibytes(size)} when it has just started; raise it"
            )
            self.limits = replace(self.limits, memory=0)

    def _take(self, folder: Path, why: str, now: float) -> bool:
        self._due_since = now if self._due_since is None else self._due_since
        try:
            fd = turn.take(folder)
        except OSError as error:
            self._say(f"{why}; to be replaced, but {folder}: {error.strerror}; trying again")
            return False
        if fd is None:
            if now - self._due_since >= PATIENCE:
                self._say(
                    f"{why}; to be replaced when no rollout goes on and each other worker that was is ready"
                )
            return False
        if not self._notify.keep(TURN, fd):
            turn.give_back(fd)  # systemd is too busy to listen: later
            return False
        # Our descriptor ends with the process, systemd's with the successor's readiness.
        self._journal.info(f"{why}; draining, to be replaced")
        return True

    def _say(self, text: str) -> None:
        """Say it once, not at every look."""
        if not self._said:
            self._said = True
            self._journal.warning(text)
