"""One writer at a time, among all processes of a host: a lock that nobody waits for in vain.

LMDB has a lock, a robust mutex. But a process that is killed at the moment when that mutex wakes it takes
the wake-up with it, and if another one has got the mutex meanwhile, those that still sleep sleep on until
somebody else has to wait (seen on Linux 6.18 with glibc 2.36: handle_futex_death() in the kernel passes a
wake-up on only where the mutex is free). So nobody ever has to wait for LMDB's: this lock is taken first.
It is an open file description lock, fcntl(2), which the kernel frees with the files of a process that ends,
after its mutexes. It is asked for again and again, so that the wait can end with an error.
"""

import math
import os
import random
import threading
import time
from pathlib import Path

from svc.cluster import ofd
from svc.cluster.errors import CacheError

PATIENCE = 5.0
"""Seconds for which a writer waits; a write takes some 0.00001."""

TRIES = 8
"""Looks without a pause: about as long as a write takes."""

SHORTEST, LONGEST = 0.0002, 0.002
"""Seconds between two looks after those. One writer that goes on alone writes more than two that take
turns, each of which has to fetch from the other's CPU what it wrote.
"""

CROWDED = 0.01
"""Who had to wait less than so many seconds ago is one of many writers, and leaves the lock to another."""


class WriteLock:
    """`with lock:` no other thread of this process, and no other process, is inside."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._threads = threading.Lock()
        self._fd = ofd.open_file(folder / "writing")
        self._waited = -math.inf  # when it had to wait last, time.monotonic()

    def __enter__(self) -> None:
        """Take the lock. Raises CacheError when others have it for too long."""
        if not self._threads.acquire(timeout=PATIENCE):
            raise self._stuck()
        try:
            self._take()
        except BaseException:
            self._threads.release()
            raise

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        try:
            ofd.unlock(self._fd, 0)
        finally:
            self._threads.release()

    def _take(self) -> None:
        if ofd.try_lock(self._fd, 0):
            return
        now = time.monotonic()
        end, pause = now + PATIENCE, SHORTEST
        crowded, self._waited = now - self._waited < CROWDED, now
        if not crowded and any(ofd.try_lock(self._fd, 0) for _ in range(TRIES)):
            return
        while True:
            # Unequal pauses: those who wait do not come together again and again.
            time.sleep(pause * random.uniform(0.5, 1.0))
            if ofd.try_lock(self._fd, 0):
                return
            if time.monotonic() > end:
                raise self._stuck()
            pause = min(2 * pause, LONGEST)

    def _stuck(self) -> CacheError:
        return CacheError(
            f"the cache in {self._folder} could not be written to for {PATIENCE:g} s: a process stands still "
            "in the middle of a write (stopped by a signal, or frozen); kill it, or let it go on"
        )

    def keep(self) -> None:
        """Before this process forks: wait until its own threads have given the lock back, and keep it.

        After PATIENCE it forks anyway: a child can do without the cache.
        """
        self._kept = self._threads.acquire(timeout=PATIENCE)

    def give_back(self, *, new_process: bool) -> None:
        """After a fork. A child has the parent's lock with the parent's file, so it opens its own."""
        if new_process:
            os.close(self._fd)
            self._fd = ofd.open_file(self._folder / "writing")
        if self._kept:
            self._threads.release()

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
