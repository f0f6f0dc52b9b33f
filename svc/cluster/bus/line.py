"""The way to one other worker: a connected datagram socket, made anew when the worker's was."""

import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from svc.cluster.errors import NoSuchSlot
from svc.cluster.slots import Slot

_RIGHTS = struct.Struct("@i")


class Line:
    """The way to one worker."""

    __slots__ = ("path", "slot", "sock")

    def __init__(self, folder: Path, slot: Slot) -> None:
        self.path = str(folder / str(slot))
        self.slot = slot
        self.sock: socket.socket | None = None

    def push(self, datagram: bytes, fds: Sequence[int] = ()) -> bool:
        """Put a datagram into the worker's queue; False when that is full. Raises NoSuchSlot where there is
        none.
        """
        fresh = self.sock is None
        while True:
            if self.sock is None:
                self.sock = self._connect()
            try:
                if fds:
                    rights = b"".join(map(_RIGHTS.pack, fds))
                    self.sock.sendmsg([datagram], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
                else:
                    self.sock.send(datagram)
            except BlockingIOError:
                return False
            except ConnectionError:
                # The socket that we knew was closed, with the app or by hand; there may be a new one.
                self.close()
                if fresh:
                    raise NoSuchSlot(f"worker {self.slot} was stopped") from None
                fresh = True
            else:
                return True

    def close(self) -> None:
        """Forget the connection."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.connect(self.path)
        except OSError as error:
            sock.close()
            raise NoSuchSlot(f"there is no worker {self.slot} ({self.path}: {error.strerror})") from None
        return sock
