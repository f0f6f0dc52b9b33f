"""The listening sockets that systemd passes to a worker, sd_listen_fds(3).

Listeners are known by name, because their order differs from worker to worker.
"""

import os
import socket
import stat
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

from svc.worker.log import WorkerError

FIRST_FD = 3  # SD_LISTEN_FDS_START
BUS = "bus"  # FileDescriptorName= of the worker's queue of messages, which is no listener
TURN = "turn"  # FDNAME= of what a predecessor left, which is none either
VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
_CURE = "start this worker by systemd (systemctl start NAME.target), with a socket unit that listens"


@dataclass(frozen=True, slots=True)
class Listener:
    """One listening stream socket and the name that its socket unit gave it."""

    name: str
    sock: socket.socket

    @property
    def is_tcp(self) -> bool:
        """Whether it listens on an IP address, of which there can be several listeners."""
        return self.sock.family in (socket.AF_INET, socket.AF_INET6)

    def __str__(self) -> str:
        return f"{self.name} ({describe(self.sock.getsockname())})"


def describe(address: object) -> str:
    """An address as a person writes it: `127.0.0.1:8000`, `[::1]:8000`, `unix:/run/app.sock`."""
    if isinstance(address, tuple) and len(address) >= 2:
        host, port = address[0], address[1]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    if isinstance(address, bytes):
        address = "@" + address[1:].decode("utf-8", "replace")
    return f"unix:{address}"


def take_turns(environ: Mapping[str, str] | None = None, first: int = FIRST_FD) -> tuple[int, ...]:
    """What the predecessor left with systemd (`svc.turn`). Call it before `take`, which passes these over."""
    env = os.environ if environ is None else environ
    if env.get("LISTEN_PID") != str(os.getpid()):
        return ()
    labels = env.get("LISTEN_FDNAMES", "").split(":")
    found = tuple(fd for fd, label in enumerate(labels, first) if _is_turn(fd, label))
    for fd in found:
        os.set_inheritable(fd, False)
    return found


def _is_turn(fd: int, label: str) -> bool:
    try:
        return label == TURN and stat.S_ISDIR(os.fstat(fd).st_mode)
    except OSError:
        return False


def take(environ: MutableMapping[str, str] | None = None, first: int = FIRST_FD) -> tuple[Listener, ...]:
    """Take over the listeners and remove the variables, so that no child believes they are its own.

    Raises WorkerError when there are none, or when one is not a listening stream socket.
    """
    env = os.environ if environ is None else environ
    pid, count, names = (env.pop(variable, "") for variable in VARIABLES)
    if not pid or not count:
        raise WorkerError(f"no listeners: LISTEN_FDS and LISTEN_PID are not set; {_CURE}")
    if pid != str(os.getpid()):
        raise WorkerError(f"no listeners: LISTEN_PID is {pid}, but this process is {os.getpid()}; {_CURE}")
    if not count.isascii() or not count.isdigit() or int(count) == 0:
        raise WorkerError(f"no listeners: LISTEN_FDS is {count!r}; {_CURE}")
    labels = names.split(":") if names else []
    labels += ["unknown"] * (int(count) - len(labels))  # what sd_listen_fds_with_names(3) calls them
    given = [(first + index, labels[index]) for index in range(int(count))]
    return tuple(_take_one(fd, label) for fd, label in given if not _is_turn(fd, label))


def without_bus(taken: tuple[Listener, ...]) -> tuple[tuple[Listener, ...], socket.socket | None]:
    """Part the listeners from the queue of messages, where there is one. Raises WorkerError without a
    listener.
    """
    listeners = tuple(one for one in taken if one.sock.type == socket.SOCK_STREAM)
    if not listeners:
        raise WorkerError(f"no listeners, only a queue of messages; {_CURE}")
    bus = [one.sock for one in taken if one.sock.type == socket.SOCK_DGRAM]
    return listeners, bus[0] if bus else None


def _take_one(fd: int, name: str) -> Listener:
    wrong = f"LISTEN_FDS: fd {fd} ({name}) is not a listening stream socket"
    cure = "the socket unit needs ListenStream= and Accept=no"
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            raise WorkerError(f"{wrong}; {cure}")
    except OSError as error:
        raise WorkerError(f"{wrong}: {error.strerror}; {cure}") from None
    sock = socket.socket(fileno=fd)
    listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    queue = name == BUS and sock.family == socket.AF_UNIX and sock.type == socket.SOCK_DGRAM
    if not queue and (sock.type != socket.SOCK_STREAM or not listening):
        sock.detach()
        raise WorkerError(f"{wrong}; {cure}")
    sock.set_inheritable(False)
    # The flag belongs to the open file that all siblings share: one that blocks in accept() blocks
    # its whole worker, so never rely on somebody else having set it.
    sock.setblocking(False)
    return Listener(name, sock)
