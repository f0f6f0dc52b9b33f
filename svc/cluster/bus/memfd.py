"""Large values: a memory file that nobody can change any more, whose descriptor travels instead of its
bytes.
"""

import fcntl
import os

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_NOEXEC_SEAL = 8  # MFD_NOEXEC_SEAL, Linux 6.3: hosts may demand it (sysctl vm.memfd_noexec)
_FLAGS = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING


def seal(data: bytes) -> int:
    """Return the descriptor of a sealed memory file that holds `data`; the caller closes it."""
    try:
        fd = os.memfd_create("svc message", _FLAGS | _NOEXEC_SEAL)
    except OSError:  # an older kernel
        fd = os.memfd_create("svc message", _FLAGS)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(fd, left) :]
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS | fcntl.F_SEAL_SEAL)
    except BaseException:
        os.close(fd)
        raise
    return fd


def read(fd: int, length: int) -> bytes:
    """Return the bytes of a sealed memory file. Raises ValueError when it is not sealed, or of another
    length.

    Without the seals the sender could shrink the file while it is read, which would kill the reader.
    """
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        raise ValueError("the descriptor of a large value is no memory file") from None
    if seals & SEALS != SEALS:
        raise ValueError("the memory file of a large value is not sealed")
    if os.fstat(fd).st_size != length:
        raise ValueError("the memory file of a large value has another length")
    data = bytearray()
    while len(data) < length:  # one call returns at most 2 GiB
        data += os.pread(fd, length - len(data), len(data))
    return bytes(data)
