"""Who does what only one worker may do: the holder of a lock that the kernel frees when its holder ends.

The file that is locked says who that is, for those who only look: a line with the slot and the process id,
and one for each job with its period in seconds and its name.
"""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from svc.cluster import ofd
from svc.cluster.slots import Slot, parse

NAME = "leader"
LOOK_SECONDS = 0.5
"""How often a worker that is not the leader tries to become it."""

_LONGEST = 1 << 20


class Leadership:
    """One worker's candidacy. `directory` is the runtime directory of the app."""

    def __init__(self, directory: Path, slot: Slot) -> None:
        self.directory = directory
        self.slot = slot
        self._fd = -1

    @property
    def held(self) -> bool:
        """Whether this worker is the leader."""
        return self._fd >= 0

    def take(self) -> bool:
        """Become the leader, unless another worker is. A leader stays it until `give_up`."""
        if self.held:
            return True
        fd = ofd.open_file(self.directory / NAME)
        if not ofd.try_lock(fd, 0):
            os.close(fd)
            return False
        self._fd = fd
        self.announce(())
        return True

    def announce(self, jobs: Iterable[tuple[float, str]]) -> None:
        """Say who the leader is, and what it does: the period and the name of each job."""
        lines = [f"{self.slot} {os.getpid()}"]
        lines += [f"{seconds!r} {' '.join(name.split())}" for seconds, name in jobs]
        text = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
        written = 0
        with contextlib.suppress(OSError):  # /run is full: the jobs are done all the same
            written = os.pwrite(self._fd, text, 0)
        os.ftruncate(self._fd, len(text) if written == len(text) else 0)

    def give_up(self) -> None:
        """Let another worker become the leader."""
        if self.held:
            # To close it is not enough, if a child was forked in the meantime.
            ofd.unlock(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


@dataclass(frozen=True, slots=True)
class Holder:
    """Which worker does a job now."""

    job: str
    seconds: float
    slot: Slot
    pid: int


def holders(name: str, run: Path = Path("/run/svc")) -> tuple[Holder, ...]:
    """Return the jobs (`cluster.every`) of the app `name`, each with the worker that does it now.

    It only reads: who asks takes no part. `run` is where the apps' runtime directories are;
    $XDG_RUNTIME_DIR/svc for those of a user's own manager. Nothing where no worker is the leader. Raises
    PermissionError.
    """
    lines = _lines(run / name)
    if not lines:
        return ()
    slot, pid = _leader(lines[0])
    jobs = (line.partition(" ") for line in lines[1:])
    return tuple(Holder(job, float(seconds), slot, pid) for seconds, _, job in jobs)


def holder(directory: Path) -> tuple[Slot, int] | None:
    """Return the leader's slot and process id by the app's runtime directory; None without one."""
    lines = _lines(directory)
    return _leader(lines[0]) if lines else None


def _leader(line: str) -> tuple[Slot, int]:
    slot, _, pid = line.partition(" ")
    return parse(slot), int(pid)


def _lines(directory: Path) -> list[str]:
    """Return what the leader says; nothing when there is none, or it has just become it."""
    with contextlib.suppress(FileNotFoundError):
        fd = os.open(directory / NAME, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if ofd.is_locked(fd, 0):
                return os.pread(fd, _LONGEST, 0).decode().splitlines()
        finally:
            os.close(fd)
    return []
