"""Who does what only one worker may do: the holder of a lock that the kernel frees when its holder ends."""

import contextlib
import os
from pathlib import Path

from svc.cluster import ofd

NAME = "leader"
LOOK_SECONDS = 0.5
"""How often a worker that is not the leader tries to become it."""


class Leadership:
    """One worker's candidacy. `directory` is the runtime directory of the app."""

    def __init__(self, directory: Path, slot: int | str) -> None:
        self._directory = directory
        self._slot = slot
        self._fd = -1

    @property
    def held(self) -> bool:
        """Whether this worker is the leader."""
        return self._fd >= 0

    def take(self) -> bool:
        """Become the leader, unless another worker is. A leader stays it until `give_up`."""
        if self.held:
            return True
        fd = ofd.open_file(self._directory / NAME)
        if not ofd.try_lock(fd, 0):
            os.close(fd)
            return False
        text = f"{self._slot} {os.getpid()}\n".encode()
        os.pwrite(fd, text, 0)
        os.ftruncate(fd, len(text))
        self._fd = fd
        return True

    def give_up(self) -> None:
        """Let another worker become the leader."""
        if self.held:
            os.close(self._fd)
            self._fd = -1


def holder(directory: Path) -> tuple[str, int] | None:
    """Return the leader's slot and process id by the app's runtime directory, /run/svc/NAME; None
    without one.
    """
    with contextlib.suppress(FileNotFoundError):
        fd = os.open(directory / NAME, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if ofd.is_locked(fd, 0):
                slot, _, pid = os.pread(fd, 64, 0).decode().partition(" ")
                if pid:  # it has just become it, and not written its name yet
                    return slot, int(pid)
        finally:
            os.close(fd)
    return None
