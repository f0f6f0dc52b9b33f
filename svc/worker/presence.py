"""Which workers of an app are there to accept: seen at once, also when one crashes, without asking anybody.

Each worker has a file in a folder of the app's runtime directory, named by its slot, and holds it open
and locked for as long as it accepts. The kernel frees the lock however the worker ends, and closes the
file, of which inotify(7) tells everybody who watches the folder. So nobody polls, and a worker watches one
thing however many siblings it has.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from svc.cluster import ofd
from svc.worker.log import Journal

FOLDER = "present"  # in the app's runtime directory
_IN_MODIFY, _IN_CLOSE_WRITE = 0x2, 0x8  # sys/inotify.h
_ENOUGH = 65536  # bytes of events; what they say is looked up anyway
# inotify tells of a file's closing an instant before its lock is free (__fput() in fs/file_table.c), and
# it may be lost when too much happens at a time: look again after so many seconds.
AGAIN_SECONDS = (0.005, 0.1, 1.0)
LOOK_SECONDS = 0.5  # between two looks where the kernel does not tell


@dataclass(slots=True)
class Presence:
    """Tells siblings that this worker is there, and what they tell."""

    folder: Path
    slot: str
    journal: Journal
    _fd: int = -1
    _watch: int = -1
    _files: dict[str, int] = field(default_factory=dict)
    _loop: asyncio.AbstractEventLoop | None = None
    _timers: list[asyncio.TimerHandle] = field(default_factory=list)

    @classmethod
    def join(cls, directory: Path, slot: str, journal: Journal) -> "Presence":
        """Make the folder where it is missing. Raises OSError."""
        folder = directory / FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        return cls(folder, slot, journal)

    def announce(self) -> None:
        """From now on this worker is there."""
        self._fd = ofd.open_file(self.folder / self.slot)
        ofd.lock(self._fd, 0)  # a predecessor that is just being collected may hold it, for a moment
        os.pwrite(self._fd, b"+", 0)  # which watchers hear

    def withdraw(self) -> None:
        """It is not there any more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def is_there(self, slot: str) -> bool:
        """Whether the worker of `slot` accepts."""
        fd = self._files.get(slot, -1)
        if fd < 0:
            try:
                fd = os.open(self.folder / slot, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return False
            self._files[slot] = fd
        return ofd.is_locked(fd, 0)

    def watch(self, loop: asyncio.AbstractEventLoop, changed: Callable[[], None]) -> None:
        """Call `changed` when a worker may have come or gone; end with `close`."""
        import ctypes  # Python has no inotify of its own; only sticky-ip needs it

        self._loop = loop
        libc = ctypes.CDLL(None, use_errno=True)
        self._watch = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        mask = _IN_MODIFY | _IN_CLOSE_WRITE
        if self._watch < 0 or libc.inotify_add_watch(self._watch, os.fsencode(self.folder), mask) < 0:
            reason = os.strerror(ctypes.get_errno())
            self.journal.warning(
                f"inotify: {reason}; seeing whether siblings are there only every {LOOK_SECONDS:g} s "
                "(raise fs.inotify.max_user_instances, sysctl(8))"
            )
            self._look(loop, changed)
            return
        loop.add_reader(self._watch, self._told, loop, changed)

    def close(self) -> None:
        """Stop watching, and withdraw."""
        self.withdraw()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._watch >= 0:
            if self._loop is not None:
                self._loop.remove_reader(self._watch)
            os.close(self._watch)
            self._watch = -1
        for fd in self._files.values():
            os.close(fd)
        self._files.clear()

    def _told(self, loop: asyncio.AbstractEventLoop, changed: Callable[[], None]) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._watch, _ENOUGH)
        for timer in self._timers:
            timer.cancel()
        self._timers = [loop.call_later(seconds, changed) for seconds in AGAIN_SECONDS]
        changed()

    def _look(self, loop: asyncio.AbstractEventLoop, changed: Callable[[], None]) -> None:
        self._timers = [loop.call_later(LOOK_SECONDS, self._look, loop, changed)]
        changed()
