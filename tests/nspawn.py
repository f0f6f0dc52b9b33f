"""Start and end the throwaway systemd, and clear away what a killed run has left.

What a machine has on the host is a folder `/run/svc-machine-…` and, where no systemd runs on the
host, a cgroup of the same name. Its mounts live in a namespace of their own (`tests.boot`).
"""

import contextlib
import fcntl
import os
import re
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

PARENT = Path("/run")
PREFIX = "svc-machine-"
POWER_OFF_NOW = signal.SIGRTMIN + 14  # systemd(1): do not stop units one by one
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class MachineError(Exception):
    """The machine cannot be booted, or a command in it failed."""


class Nspawn:
    """A booted systemd, seen from outside: `leader` is the process id of its PID 1 on the host."""

    def __init__(self, binds: Mapping[Path, str], root: str, timeout: float) -> None:
        """Boot, and return when systemd says that it is up.

        `root` is the folder under the overlay; `binds` maps folders of the host to where the
        machine sees them, read-only. Raises MachineError.
        """
        if os.geteuid() != 0:
            raise MachineError("booting a systemd needs root: run `sudo make test`")
        self.leader = 0
        self._leader_handle: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._cleanup = contextlib.ExitStack()
        try:
            self._directory = self._own_directory()
            with self._notifications() as notify:
                self._start(binds, root)
                self._wait_ready(notify, time.monotonic() + timeout)
        except BaseException:
            self.close()
            raise

    def reboot(self, ask: Callable[[], object], timeout: float) -> None:
        """Call `ask`, which is to ask the machine to reboot, and return when it is up again.

        What was written to its root is still there, and nothing that was in memory. Raises MachineError.
        """
        with self._notifications() as notify:
            ask()
            self.leader = 0
            self._wait_ready(notify, time.monotonic() + timeout)

    @contextlib.contextmanager
    def _notifications(self) -> Iterator[socket.socket]:
        """Where systemd-nspawn says how a boot goes.

        Closed when that is done: a queue that nobody reads would fill with the next messages, then
        systemd-nspawn blocks, and with it the machine's PID 1.
        """
        path = self._directory / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(path))
            try:
                yield notify
            finally:
                path.unlink()

    def console(self) -> str:
        """What systemd-nspawn and the console of the machine said."""
        return (self._directory / "console").read_text(errors="replace")[-4000:].strip()

    def close(self, patience: float = 5.0) -> None:
        """End the machine by its first process, which is killed when it does not obey in time."""
        process, self._process = self._process, None
        if process is not None and self._leader_handle is not None:
            for number in (POWER_OFF_NOW, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._leader_handle.fileno(), number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(patience)
                    break
        if process is not None:
            process.kill()  # a no-op after a wait() that succeeded
            process.wait()
        self.leader = 0
        self._cleanup.close()

    def _own_directory(self) -> Path:
        """A new folder, locked for as long as this process lives: that tells it from a stale one."""
        parent = os.open(PARENT, os.O_RDONLY)
        try:
            fcntl.flock(parent, fcntl.LOCK_EX)  # nobody looks at the new folder before it is locked
            remove_stale()
            directory = PARENT / f"{PREFIX}{secrets.token_hex(4)}"  # it is the host name, too
            directory.mkdir(mode=0o755)
            self._cleanup.callback(remove, directory)
            handle = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
            self._cleanup.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        finally:
            os.close(parent)
        return directory

    def _start(self, binds: Mapping[Path, str], root: str) -> None:
        """Run tests/boot.py in a mount namespace of its own."""
        address = str(self._directory / "notify")
        # Should this process be killed, systemd-nspawn gets a SIGTERM and powers the machine off.
        command = ["setpriv", "--pdeathsig", "TERM", "unshare", "--mount", "--propagation", "private"]
        command += [sys.executable, "-I", str(Path(__file__).with_name("boot.py"))]
        command += [str(self._directory / "overlay"), f"--name={self._directory.name}", f"--root={root}"]
        command += [f"--bind-ro={source}:{path}" for source, path in binds.items()]
        with (self._directory / "console").open("wb") as console:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={"PATH": PATH, "LANG": "C.UTF-8", "NOTIFY_SOCKET": address},
                start_new_session=True,  # Ctrl-C is for this process, which then ends the machine
            )

    def _wait_ready(self, notify: socket.socket, deadline: float) -> None:
        """Follow systemd-nspawn's notifications: first who leads, then that the boot is done."""
        ready = False
        while not ready:
            message = self._notification(notify, deadline)
            if match := re.search(r"^X_NSPAWN_LEADER_PID=(\d+)$", message, re.MULTILINE):
                self.leader = int(match[1])
                handle = os.fdopen(os.pidfd_open(self.leader), "rb")
                self._leader_handle = self._cleanup.enter_context(handle)
            ready = self.leader != 0 and re.search(r"^READY=1$", message, re.MULTILINE) is not None

    def _notification(self, notify: socket.socket, deadline: float) -> str:
        """The next message of systemd-nspawn; an error when it ended instead."""
        assert self._process is not None
        ended = os.pidfd_open(self._process.pid)
        wait = max(0.0, deadline - time.monotonic())
        try:
            readable = select.select([notify.fileno(), ended], [], [], wait)[0]
        finally:
            os.close(ended)
        if notify.fileno() in readable:
            return notify.recv(4096).decode()
        why = "ended" if readable else "did not come up in time"
        raise MachineError(f"systemd-nspawn {why}; its last words:\n{self.console()}")


def remove_stale() -> None:
    """Remove what killed runs have left: processes, folders, cgroups. Living machines stay."""
    for directory in PARENT.glob(f"{PREFIX}*"):
        try:
            handle = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # its owner is just removing it
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            for process in processes(directory):
                signal.pidfd_send_signal(process, signal.SIGKILL)
                select.select([process], [], [])
            remove(directory)
        finally:
            os.close(handle)


def processes(directory: Path) -> Iterator[int]:
    """Handles of the processes that still see the overlay of a machine, hence belong to it."""
    sign = f"upperdir={directory}/overlay/upper"
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended while we looked
            process = os.pidfd_open(int(entry.name))
            try:
                if sign in (entry / "mountinfo").read_text():
                    yield process
            finally:
                os.close(process)


def remove(directory: Path) -> None:
    """Remove the folder of a machine that has ended, and the cgroups that it had."""
    for cgroup in Path("/sys/fs/cgroup").glob(f"**/{directory.name}"):
        for folder, _, _ in os.walk(cgroup, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
    shutil.rmtree(directory, ignore_errors=True)
