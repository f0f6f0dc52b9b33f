r"""A real systemd for tests: boots in under a second, leaves nothing behind.

    with Machine(binds={venv: "/opt/svc-venv"}) as machine:
        machine.write("/etc/systemd/system/x.service", "[Service]\nExecStart=/bin/sleep inf\n")
        machine.systemctl("daemon-reload")
        machine.systemctl("start", "x.service")

The machine is an overlay over the host's root (`tests.boot`): all that the host has installed is
there, all that the machine changes stays in memory. Its network is the host's, so tests connect to
127.0.0.1 directly and must choose free ports.
"""

import contextlib
import os
import re
import select
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Self

from tests.nspawn import PATH, MachineError, Nspawn

# Folders that hold what makes a machine: a test may add to them, reset() takes it away again.
KEPT = (
    "/etc/svc",
    "/run/svc",
    "/usr/lib/svc/apps",
    "/etc/systemd/system",
    "/etc/systemd/system.control",
    "/run/systemd/system",
    "/run/systemd/system.control",
    "/run/systemd/transient",
)

# What a command in the machine sees of its caller: nothing. (No pager, no colours, no translation.)
ENVIRONMENT = {
    "PATH": PATH,
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "SYSTEMD_PAGER": "",
    "SYSTEMD_COLORS": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
}

SIGNALS = Path(__file__).with_name("signals.py")

Result = subprocess.CompletedProcess[str]


class Machine:
    """One booted systemd. `root` is the folder under the overlay, `binds` maps folders of the host
    to where the machine sees them, read-only (other users may read there, whatever the folder above
    allows on the host).
    """

    def __init__(self, binds: Mapping[Path, str] | None = None, root: str = "/") -> None:
        self.binds = dict(binds or {})
        self.root = root
        self._nspawn: Nspawn | None = None
        self._cursor = ""
        self._units: frozenset[str] = frozenset()
        self._files: frozenset[str] = frozenset()
        self._written: set[str] = set()
        self._commands: list[Command] = []

    def __enter__(self) -> Self:
        self.boot()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- life ---------------------------------------------------------------------------------

    @property
    def leader(self) -> int:
        """The process id of the machine's PID 1, on the host."""
        if self._nspawn is None:
            raise MachineError("the machine is not running: boot() it, or use it in a `with`")
        return self._nspawn.leader

    def boot(self, timeout: float = 60.0) -> None:
        """Boot, and return when systemd is up. Raises MachineError, with what systemd said."""
        self._nspawn = Nspawn(self.binds, self.root, timeout)
        try:
            self._wait_running()
            self.checkpoint()
        except BaseException:
            self.close()
            raise

    def _wait_running(self) -> None:
        state = self.systemctl("is-system-running", "--wait", check=False).stdout.strip()
        if state != "running":
            failed = self.systemctl("--failed", "--no-legend", "--plain").stdout
            raise MachineError(f"the machine is {state}, not running; failed units:\n{failed}")

    def reboot(self, timeout: float = 120.0) -> None:
        """Reboot as an administrator does, and return when systemd is up. Raises MachineError."""
        assert self._nspawn is not None
        self._end_commands()
        self._nspawn.reboot(lambda: self.systemctl("reboot"), timeout)
        self._wait_running()

    def close(self) -> None:
        """End the machine. What it had mounted is gone with its last process."""
        self._end_commands()
        nspawn, self._nspawn = self._nspawn, None
        if nspawn is not None:
            nspawn.close()

    def console(self) -> str:
        """What systemd-nspawn and the machine's console said: where PID 1 tells its last words."""
        return self._nspawn.console() if self._nspawn else ""

    # -- commands -----------------------------------------------------------------------------

    def command(self, *argv: str) -> list[str]:
        """The command line that runs `argv` inside, as a child that ends with its caller."""
        enter = ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-p", "-C", "-r", "-w"]
        return [*enter, "setpriv", "--pdeathsig", "KILL", *argv]

    def run(self, *argv: str, check: bool = True, input: str | None = None, timeout: float = 120.0) -> Result:
        """Run a command to its end. With `check`, a failure raises MachineError with all it said."""
        with self._start(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                stdout, stderr = process.communicate(input or "", timeout)
            except BaseException:
                process.kill()
                raise
        if check and process.returncode:
            said = f"{stdout}{stderr}".strip()
            raise MachineError(f"`{shlex.join(argv)}` ended with {process.returncode}:\n{said}")
        return Result(list(argv), process.returncode, stdout, stderr)

    def popen(self, *argv: str) -> "Command":
        """Start a command; kill() and terminate() of the result reach the command itself.

        Its output and its errors come in `stdout`. What still runs is ended by the next reset().
        """
        command = self._start(argv)
        self._commands.append(command)
        return command

    def _start(
        self, argv: tuple[str, ...], stdin: int = subprocess.DEVNULL, stderr: int = subprocess.STDOUT
    ) -> "Command":
        return Command(
            self.command(*argv),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            errors="replace",
            env=ENVIRONMENT,
        )

    def systemctl(self, *argv: str, check: bool = True, timeout: float = 120.0) -> Result:
        """`systemctl …`, which returns when the job is done."""
        return self.run("systemctl", *argv, check=check, timeout=timeout)

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit by name; all of them when none is named."""
        wanted = [f"--property={','.join(properties)}"] if properties else []
        lines = self.systemctl("show", unit, *wanted).stdout.splitlines()
        return {key: value for key, _, value in (line.partition("=") for line in lines)}

    def wait_until(
        self, unit: str, name: str, predicate: Callable[[str], bool], timeout: float = 30.0
    ) -> str:
        """Wait until a property of a unit satisfies `predicate`, and return it.

        It is read again on each signal about the unit, never on a timer.
        """
        if "." not in unit:
            raise ValueError(f"wait_until: write the whole name of the unit, {unit}.service")
        signals = self._start(("python3", "-I", "-S", "-c", SIGNALS.read_text(), unit))
        assert signals.stdout is not None
        try:
            for _ in lines_until(signals.stdout, time.monotonic() + timeout):
                shown = self.systemctl("show", "--value", f"--property={name}", unit, check=False)
                # It fails while the manager executes itself anew; its being back is then a change.
                if shown.returncode == 0 and predicate(value := shown.stdout.rstrip("\n")):
                    return value
        finally:
            signals.kill()
            said = signals.communicate()[0]
        value = self.show(unit, name).get(name, "")
        status = self.systemctl("status", "--lines=20", "--full", unit, check=False).stdout
        raise TimeoutError(f"{unit}: {name} is still {value!r} after {timeout:g} s\n{status}{said}")

    # -- files --------------------------------------------------------------------------------

    def path(self, inside: str) -> Path:
        """Where the host finds a file of the machine. (Absolute links in between lead to the host's.)"""
        return Path(f"/proc/{self.leader}/root{inside}")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file, making the folders above it; the next reset() removes the file."""
        self.run("install", "-D", f"--mode={mode:o}", "/dev/stdin", path, input=text)
        self._written.add(path)

    # -- journal ------------------------------------------------------------------------------

    def cursor(self) -> str:
        """The place in the journal after all that was logged before this call."""
        self.run("journalctl", "--sync")
        shown = self.run("journalctl", "--quiet", "--lines=0", "--show-cursor").stdout
        return shown.rpartition("-- cursor: ")[2].strip()

    def journal(self, unit: str = "", since: str = "", output: str = "short-precise") -> str:
        """What was logged since the last reset() (or since a cursor()), by a unit or by all."""
        self.run("journalctl", "--sync")
        return self.run("journalctl", *self._journal(unit, since, output), check=False).stdout

    def wait_journal(
        self, pattern: str, unit: str = "", since: str = "", timeout: float = 30.0
    ) -> re.Match[str]:
        """Wait for a message that matches `pattern`, logged since the last reset() or a cursor()."""
        options = self._journal(unit, since, "cat")
        follow = self._start(("journalctl", "--follow", "--lines=all", *options))
        assert follow.stdout is not None
        try:
            for line in lines_until(follow.stdout, time.monotonic() + timeout):
                if match := re.search(pattern, line):
                    return match
        finally:
            follow.kill()
            follow.communicate()
        said = self.journal(unit, since)
        raise TimeoutError(f"no message matches {pattern!r} after {timeout:g} s; the journal has:\n{said}")

    def _journal(self, unit: str, since: str, output: str) -> list[str]:
        # Not --after-cursor: where the entry at the cursor is of another unit, journalctl of systemd 252
        # leaves out the first one of this unit.
        after = re.search(r";t=([0-9a-f]+)", since or self._cursor)
        return [
            "--quiet",
            "--no-pager",
            f"--output={output}",
            *([f"--since=@{(int(after[1], 16) + 1) / 1e6:.6f}"] if after else []),
            *([f"--unit={unit}"] if unit else []),
        ]

    # -- between tests ------------------------------------------------------------------------

    def checkpoint(self) -> None:
        """Make what is there now the state to which reset() returns (call it after an installation)."""
        self._units, self._files = frozenset(self._active()), frozenset(self._list_files())
        self._written.clear()
        self._cursor = self.cursor()

    def reset(self) -> None:
        """Undo what a test did: units that it started, files that it wrote, states that it left.

        A worker may drain for long, so what is to be stopped is killed once its stop is under way:
        a killed service whose stop was asked for does not start again.
        """
        self._end_commands()
        if started := sorted(self._active() - self._units):
            self.systemctl("stop", "--no-block", *started, check=False)
            self.systemctl("kill", "--signal=KILL", *started, check=False)
            self.systemctl("stop", *started, check=False)
        files = [*sorted(self._list_files() - self._files), *sorted(self._written)]
        if files:
            self.run("rm", "-f", "--", *files)
        self._written.clear()
        self.systemctl("daemon-reload")
        self.systemctl("reset-failed")
        self._cursor = self.cursor()
        if left := self._active() - self._units:
            raise MachineError(f"reset: still there after a stop: {', '.join(sorted(left))}")

    def _end_commands(self) -> None:
        for command in self._commands:
            command.kill()
            command.wait()
            if command.stdout is not None:
                command.stdout.close()
        self._commands.clear()

    def _active(self) -> set[str]:
        """Units that can be stopped and are not at rest. (Slices and mounts come and go by themselves.)"""
        types = "--type=service,socket,target,path,timer,scope"
        listed = self.systemctl("list-units", "--all", "--plain", "--no-legend", "--full", types).stdout
        rows = (line.split() for line in listed.splitlines())
        return {name for name, _, state, *_ in rows if state not in ("inactive", "failed")}

    def _list_files(self) -> set[str]:
        script = 'for folder; do [ ! -d "$folder" ] || find "$folder" ! -type d; done'
        return set(self.run("sh", "-c", script, "sh", *KEPT).stdout.splitlines())


class Command(subprocess.Popen[str]):
    """A command in the machine. Its parent on the host is nsenter, which waits for it."""

    def send_signal(self, sig: int) -> None:
        """Signal the command, not nsenter: that one alone can collect it, and would leave a zombie,
        for which the machine waits when it is switched off.
        """
        if self.poll() is None:
            with contextlib.suppress(OSError):  # it ended by itself
                children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
                for child in children or [str(self.pid)]:
                    os.kill(int(child), sig)


def lines_until(stream: IO[str], deadline: float) -> Iterator[str]:
    """The lines of a pipe as they come, until its end or `deadline`."""
    descriptor, rest = stream.fileno(), b""
    while select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
        data = os.read(descriptor, 1 << 16)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)
