"""Named locks across workers: fair, with a timeout, and free as soon as their holder ends.

Who wants a lock takes the next number of its file and locks the byte of that number; it has the lock when no
byte before its own is locked any more. So all have it in the order in which they came, and the kernel
takes whoever ends, waiting or holding, out of the line.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from svc.cluster import ofd
from svc.cluster.names import file_name

_COUNTER = (1 << 62) - 1  # this byte guards the counter, which is what the file contains


class Ticket:
    """A place in the line for one lock."""

    def __init__(self, directory: Path, name: str) -> None:
        """Join the line. `directory` is where the app's locks are."""
        self._path = directory / file_name(name)
        self._pid = os.getpid()
        self._join()

    def has_it(self) -> bool:
        """Say whether this place is now the first in the line."""
        while True:
            if self._number and ofd.is_locked(self._fd, 0, self._number):
                return False
            if os.fstat(self._fd).st_nlink:
                return True
            # The last holder saw nobody waiting and removed the file, just before we came.
            os.close(self._fd)
            self._join()

    def leave(self) -> None:
        """Give up the place, or the lock. A child that was forked inside lets its parent's alone."""
        number, fd = self._number, self._fd
        try:
            if os.getpid() != self._pid:
                return
            first = not number or not ofd.is_locked(fd, 0, number)
            if first and os.fstat(fd).st_nlink and not ofd.is_locked(fd, number + 1, _COUNTER - number):
                # Names may be many (one a customer): a file that nobody needs goes away.
                self._path.unlink()
            # To close it is not enough, if a child was forked in the meantime.
            ofd.unlock(fd, number)
        finally:
            os.close(fd)

    def _join(self) -> None:
        fd = ofd.open_file(self._path)
        try:
            ofd.lock(fd, _COUNTER)
            number = int.from_bytes(os.pread(fd, 8, 0), "little")
            os.pwrite(fd, (number + 1).to_bytes(8, "little"), 0)
            ofd.try_lock(fd, number)
            ofd.unlock(fd, _COUNTER)
        except BaseException:
            os.close(fd)
            raise
        self._fd, self._number = fd, number


def pauses() -> Iterator[float]:
    """Yield the seconds to wait between two looks: short at first, and never long."""
    pause = 0.001
    while True:
        yield pause
        pause = min(pause * 2, 0.016)
