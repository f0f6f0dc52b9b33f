"""Starts a worker as systemd would: with listening sockets from fd 3 on and a notification socket.

Everything here waits for an event (a message, a line, the end of a stream) with a generous limit.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Self

ROOT = Path(__file__).resolve().parents[3]
APPS = ROOT / "tests" / "apps"
PATIENCE = 30.0  # seconds after which a test gives up on an event


class NoSuchEventError(AssertionError):
    """What a test waited for did not happen."""


def listen(
    family: socket.AddressFamily = socket.AF_INET, address: object = ("127.0.0.1", 0)
) -> socket.socket:
    """A listening socket, as a socket unit makes one."""
    sock = socket.socket(family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(address)  # type: ignore[arg-type]
    sock.listen(1024)
    return sock


@dataclass
class Worker:
    """A running worker, seen from outside."""

    process: "subprocess.Popen[bytes]"
    notifications: socket.socket
    listener: socket.socket
    messages: list[str] = field(default_factory=list)
    journal: str = ""

    def message(self, wanted: str) -> str:
        """Wait for the next notification that has a line which starts with `wanted`."""
        deadline = time.monotonic() + PATIENCE
        while (left := deadline - time.monotonic()) > 0:
            # The journal's end tells that the worker is dead, and nothing more will come.
            either: list[socket.socket | IO[bytes]] = [self.notifications, *self._stderr()]
            readable, _, _ = select.select(either, [], [], left)
            if self.notifications in readable:
                text = self.notifications.recv(4096).decode()
                self.messages.append(text)
                if any(line.startswith(wanted) for line in text.splitlines()):
                    return text
            elif readable and not self._read():
                break
        raise NoSuchEventError(f"no {wanted}, only {self.messages}; the journal says:\n{self.journal}")

    def _stderr(self) -> list[IO[bytes]]:
        assert self.process.stderr is not None
        return [self.process.stderr]

    def _read(self) -> bool:
        data = os.read(self._stderr()[0].fileno(), 65536)
        self.journal += data.decode()
        return bool(data)

    def line(self, wanted: str) -> str:
        """Wait until the journal has `wanted`, and return the journal so far."""
        deadline = time.monotonic() + PATIENCE
        while wanted not in self.journal and (left := deadline - time.monotonic()) > 0:
            readable, _, _ = select.select(self._stderr(), [], [], left)
            if readable and not self._read():
                break
        if wanted not in self.journal:
            raise NoSuchEventError(f"no {wanted!r} in the journal:\n{self.journal}")
        return self.journal

    def terminate(self) -> None:
        """SIGTERM; returns when the worker has said STOPPING=1."""
        self.process.send_signal(signal.SIGTERM)
        self.message("STOPPING=1")

    def ended(self) -> int:
        """Wait for the end, read the rest of the journal and of the messages, and return the exit status."""
        while select.select(self._stderr(), [], [], PATIENCE)[0] and self._read():
            pass
        status = self.process.wait(PATIENCE)
        self.notifications.setblocking(False)
        try:
            while True:
                self.messages.append(self.notifications.recv(4096).decode())
        except BlockingIOError:
            pass
        return status

    def client(self) -> "Client":
        """A new connection to the worker's first listener."""
        return Client(self.listener)


class Client:
    """A client that knows just enough HTTP/1.1, and exactly what it sends and when."""

    def __init__(self, listener: socket.socket, source: str = "") -> None:
        self.sock = socket.socket(listener.family)
        self.sock.settimeout(PATIENCE)
        if source:
            self.sock.bind((source, 0))
        self.sock.connect(listener.getsockname())
        self._buffer = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send exactly `data`."""
        self.sock.sendall(data)

    def ask(
        self, path: str = "/", method: str = "GET", body: bytes = b"", headers: Sequence[str] = ()
    ) -> None:
        """Send a request, and do not wait for its answer."""
        lines = [f"{method} {path} HTTP/1.1", "Host: test", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode() + body)

    def head(self) -> tuple[int, dict[str, str]]:
        """The status and the headers, names in lower case, of the answer that comes next."""
        raw = self._until(b"\r\n\r\n").decode("latin-1")
        first, *lines = raw[:-4].split("\r\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return int(first.split()[1]), headers

    def answer(self, *, bodiless: bool = False) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers, body."""
        status, headers = self.head()
        if bodiless:
            return status, headers, b""
        return status, headers, self.body(headers)

    def body(self, headers: dict[str, str]) -> bytes:
        """The body that belongs to `headers`."""
        if "content-length" in headers:
            return self._exactly(int(headers["content-length"]))
        if headers.get("transfer-encoding") != "chunked":
            return self.rest()
        body = bytearray()
        while size := int(self._until(b"\r\n"), 16):
            body += self._exactly(size + 2)[:-2]
        self._until(b"\r\n")
        return bytes(body)

    def get(self, path: str = "/") -> tuple[int, dict[str, str], bytes]:
        """Ask, and return the answer."""
        self.ask(path)
        return self.answer()

    def rest(self) -> bytes:
        """Everything until the server closes the connection."""
        data, self._buffer = self._buffer, bytearray()
        while more := self.sock.recv(1 << 20):
            data += more
        return bytes(data)

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            self._more()
        return self._take(self._buffer.index(end) + len(end))

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        return self._take(size)

    def _take(self, size: int) -> bytes:
        found = bytes(self._buffer[:size])
        del self._buffer[:size]
        return found

    def _more(self) -> None:
        data = self.sock.recv(1 << 20)
        if not data:
            raise NoSuchEventError(f"the server closed the connection after {self._buffer!r}")
        self._buffer += data


# Becomes the worker, in the same process, because LISTEN_PID must name it. Descriptors go by way of
# high numbers: one may stand where another has to go.
_LAUNCHER = """
import fcntl, os, resource, sys
limit, count, *rest = sys.argv[1:]
given, command = rest[:int(count)], rest[int(count):]
high = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 100) for fd in given]
for index, fd in enumerate(high):
    os.dup2(fd, 3 + index)
    os.close(fd)
os.closerange(3 + len(high), 100)
if int(limit):
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(limit), int(limit)))
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(command[0], command)
"""


@contextmanager
def run_worker(
    *arguments: str,
    app: str = "asgi_app:app",
    python: str = sys.executable,
    listeners: Sequence[socket.socket] = (),
    names: str = "http",
    directory: Path = APPS,
    path: Sequence[Path] = (),
    environment: dict[str, str] | None = None,
    limit: int = 0,
    ready: bool = True,
    slot: str = "0",
    runtime: Path | None = None,
) -> Iterator[Worker]:
    """Run one worker on `listeners` (a new one if none); with `ready`, wait for its READY=1.

    `limit` is the number of descriptors that it may open; `path` are folders before svc's own. Workers with
    the same `runtime`, a folder, are siblings.
    """
    with ExitStack() as stack:
        sockets = list(listeners) or [stack.enter_context(listen())]
        notifications = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        notifications.bind("")  # the kernel chooses an abstract name
        env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([*(str(folder) for folder in path), str(ROOT)]),
            "PYTHONWARNINGS": "error::ResourceWarning",
            "LISTEN_FDS": str(len(sockets)),
            "LISTEN_FDNAMES": names,
            "NOTIFY_SOCKET": "@" + notifications.getsockname()[1:].decode(),
            # One that is killed leaves things behind.
            "TMPDIR": stack.enter_context(TemporaryDirectory(prefix="svc-test-")),
            **(environment or {}),
        }
        if runtime is not None:
            directory_of_app = runtime / "svc" / "demo"
            directory_of_app.mkdir(parents=True, exist_ok=True)
            env["RUNTIME_DIRECTORY"] = str(directory_of_app)
        command = [python, "-P", "-m", "svc.worker", "demo", slot, "--app", app, *arguments]
        fds = [str(sock.fileno()) for sock in sockets]
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(limit), str(len(fds)), *fds, *command],
            cwd=directory,
            env=env,
            pass_fds=[sock.fileno() for sock in sockets],
            stderr=subprocess.PIPE,
        )
        worker = Worker(process, notifications, sockets[0])
        try:
            if ready:
                worker.message("READY=1")
            yield worker
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()


def switches(pid: int) -> int:
    """How often a process has gone to sleep by itself, proc_pid_status(5)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
