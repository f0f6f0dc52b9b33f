"""Where the workers of an app meet, and how they speak there."""

import contextlib
import os
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = "handover"  # in the app's runtime directory
LONGEST_MESSAGE = 64  # bytes
_MAGIC = b"svc1"  # of this protocol: a sibling of a version that speaks another one is left alone
_REPORT = struct.Struct("=4sII")
_CREDENTIALS = struct.Struct("=iII")  # struct ucred: pid, uid, gid


class Reserve:
    """A descriptor held in reserve: one that arrives when the process is at its limit is lost (unix(7))."""

    def __init__(self) -> None:
        self._fd = -1
        self.refill()

    def release(self) -> None:
        """Make room for one that arrives."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def refill(self) -> bool:
        """Reserve again; False when the process is at its limit."""
        if self._fd < 0:
            with contextlib.suppress(OSError):
                self._fd = os.open("/", os.O_PATH | os.O_CLOEXEC)
        return self._fd >= 0


@dataclass(frozen=True, slots=True)
class Meeting:
    """The folder where workers meet, and this worker's slot in it."""

    folder: Path
    slot: str
    _fd: int
    reserve: Reserve = field(default_factory=Reserve)

    @classmethod
    def join(cls, directory: Path, slot: str) -> "Meeting":
        """Make the folder where it is missing, in the app's runtime directory. Raises OSError."""
        folder = directory / FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        return cls(folder, slot, os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))

    def address(self, name: str) -> str:
        """Where the socket `name` is: short enough for sun_path, however long the folder's path."""
        return f"/proc/self/fd/{self._fd}/{name}"

    def others(self) -> list[str]:
        """The slots of those that have a socket here, but for our own. A crash leaves its socket behind."""
        try:
            names = [entry.name for entry in self.folder.iterdir()]
        except OSError:
            return []
        return sorted(name for name in names if name != self.slot and not name.startswith("."))

    def leave(self) -> None:
        """Close what is open."""
        self.reserve.release()
        os.close(self._fd)


@dataclass(frozen=True, slots=True)
class Report:
    """What a sibling says of itself: its connections, and how many it has taken out of a queue so far."""

    load: int
    taken: int

    def packed(self) -> bytes:
        """As it is sent."""
        return _REPORT.pack(_MAGIC, min(self.load, 0xFFFFFFFF), self.taken & 0xFFFFFFFF)

    @classmethod
    def parse(cls, message: bytes) -> "Report | None":
        """None when it is something else."""
        if len(message) != _REPORT.size:
            return None
        magic, load, taken = _REPORT.unpack(message)
        return cls(load, taken) if magic == _MAGIC else None


def new_socket() -> socket.socket:
    """An unconnected socket of the kind that is used here; it keeps messages apart."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


def same_user(channel: socket.socket) -> bool:
    """Whether the process at the other end runs as our user (SO_PEERCRED, unix(7))."""
    credentials = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(credentials)[1] == os.geteuid())


def put(channel: socket.socket, given: socket.socket) -> None:
    """Send a socket; ours stays open. Raises BlockingIOError when there is no room, and OSError."""
    socket.send_fds(channel, [b"+"], [given.fileno()])


def take(channel: socket.socket, reserve: Reserve) -> tuple[bool, socket.socket | None]:
    """Receive a socket. (False, None) is the end; (True, None) a message that brought none.

    Raises BlockingIOError when there is nothing now, and OSError.
    """
    reserve.release()
    try:
        message, fds, _, _ = socket.recv_fds(channel, LONGEST_MESSAGE, 1, socket.MSG_CMSG_CLOEXEC)
    finally:
        reserve.refill()
    if not message:
        return False, None
    if not fds:
        return True, None
    try:
        taken = socket.socket(fileno=fds[0])
    except OSError:  # no socket at all
        os.close(fds[0])
        return True, None
    taken.setblocking(False)
    return True, taken
