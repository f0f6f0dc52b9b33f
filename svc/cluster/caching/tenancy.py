"""Who has the files of the cache open: the first to come, when nobody else has, may begin with new ones."""

import fcntl
import os
from pathlib import Path

FILES = ("data.mdb", "lock.mdb")


class Tenancy:
    """One process's use of the cache's files, for as long as it lives: flock(2) on the file "users".

    `alone` says whether no other process uses them. All others wait until `share` is called.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fd = os.open(folder / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.alone = False
            self.share()
        else:
            self.alone = True

    @property
    def size(self) -> int:
        """Bytes that the entries' file has; LMDB never makes it smaller."""
        stat = self._stat()
        return stat.st_size if stat else 0

    @property
    def taken(self) -> int:
        """Bytes of memory that the entries' file takes."""
        stat = self._stat()
        return stat.st_blocks * 512 if stat else 0

    def _stat(self) -> os.stat_result | None:
        try:
            return (self._folder / FILES[0]).stat()
        except FileNotFoundError:
            return None

    def begin_anew(self) -> None:
        """Remove the files. Only for who is alone."""
        for name in FILES:
            (self._folder / name).unlink(missing_ok=True)

    def share(self) -> None:
        """Let others in."""
        fcntl.flock(self._fd, fcntl.LOCK_SH)

    def close(self) -> None:
        """End the use."""
        os.close(self._fd)
