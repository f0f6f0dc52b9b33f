"""Locks on single bytes of a file that the kernel frees when their holder ends: open file description locks.

See fcntl(2), "Open file description locks". They belong to the open file: two openings in one process
exclude each other, and nothing is left behind by a crash.
"""

import errno
import fcntl
import functools
import os
import struct

_FLOCK = struct.Struct("@hhqqi")  # struct flock, with 64-bit offsets
_TO_THE_END = 0


def open_file(path: "str | os.PathLike[str]") -> int:
    """Open a file for locks, and make it if it is not there."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_lock(fd: int, start: int, length: int = 1) -> bool:
    """Lock `length` bytes from `start` on, unless another opening has locked one of them."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_WRLCK, start, length))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def lock(fd: int, start: int, length: int = 1) -> None:
    """Lock, waiting for as long as another has it."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLKW, _flock(fcntl.F_WRLCK, start, length))


def unlock(fd: int, start: int, length: int = 1) -> None:
    """Free these bytes."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_UNLCK, start, length))


def is_locked(fd: int, start: int, length: int = 1) -> bool:
    """Say whether another opening has locked one of these bytes; a `length` of 0 means all from `start`
    on.
    """
    asked = _flock(fcntl.F_WRLCK, start, length)
    answered = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked)
    kind: int = _FLOCK.unpack(answered)[0]
    return kind != fcntl.F_UNLCK


@functools.lru_cache  # the same few bytes again and again, twice for each value that the cache takes
def _flock(kind: int, start: int, length: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, start, length, 0)
