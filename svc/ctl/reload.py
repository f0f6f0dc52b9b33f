"""svcctl reload: asks systemd for a rollout, shows how it goes and how it ended."""

import shutil
import subprocess
import sys
import time

from svc.ctl import codes
from svc.ctl.bar import elapsed, milestone, shown
from svc.ctl.select import say_stopped
from svc.rollout import journal, progress
from svc.rollout.brake import SIGNAL
from svc.rollout.events import Message, Outcome
from svc.rollout.folder import Folder
from svc.rollout.progress import Line
from svc.rollout.systemd import Manager

_LOOK_SECONDS = 0.1


def reload(name: str, *, user_scope: bool) -> int:
    """Replace the workers of an app. Returns one of `svc.ctl.codes`."""
    manager = Manager(user=user_scope)
    if _does_not_run(name, manager, user_scope=user_scope):
        return codes.NOT_RUNNING
    asked = time.time()
    watcher = _Watcher(Folder.of(name, user_scope=user_scope), asked)
    scope = ["--user"] if user_scope else []
    with subprocess.Popen(
        ["systemctl", *scope, "reload", f"{name}.target"], stderr=subprocess.PIPE
    ) as asking:
        try:
            while asking.poll() is None:
                watcher.look()
                time.sleep(_LOOK_SECONDS)
        except KeyboardInterrupt:
            watcher.clear()
            print(f"the rollout goes on without being watched; `svcctl reload --abort {name}` ends it")
            return 128 + 2
        assert asking.stderr is not None
        complaint = asking.stderr.read().decode(errors="replace").strip()
    last = watcher.end()
    if asking.returncode == 0:
        return codes.DONE
    if last is None:  # it never began: there is no space for it, it is not allowed, or systemd is not there
        for line in journal.told(name, asked, Message.FAILED)[-1:] or [complaint]:
            print(f"svcctl: {line}", file=sys.stderr)
        return codes.FAILED
    return _failed(name, last, asked)


def _does_not_run(name: str, manager: Manager, *, user_scope: bool) -> bool:
    if manager.state(f"{name}.target").active == "active":
        return False
    say_stopped(name, user_scope=user_scope)
    return True


def _failed(name: str, last: Line, asked: float) -> int:
    """Say why, in one line if the journal is to be read, then what the worker that failed said."""
    if last.outcome is Outcome.RUNNING:
        print(f"svcctl: the process of the rollout was killed after: {last.text}", file=sys.stderr)
        return codes.PARTLY if last.done else codes.FAILED
    for line in journal.told(name, asked, Message.FAILED)[-1:] or [last.text]:
        print(f"svcctl: {line}", file=sys.stderr)
    for line in journal.told(name, asked, Message.WORKER):
        print(f"  {line}", file=sys.stderr)
    if last.outcome is Outcome.ABORTED:
        return codes.ABORTED
    return codes.PARTLY if last.done else codes.FAILED


class _Watcher:
    """Shows what the rollout writes down: on a terminal also what it is at, drawn again and again."""

    def __init__(self, folder: Folder, asked: float) -> None:
        self._folder = folder
        self._asked = asked
        self._began = 0.0
        self._shown = 0
        self._draws = sys.stdout.isatty()

    def look(self) -> list[Line]:
        """Show what is new. Returns all that there is of the rollout, nothing before it has begun."""
        lines = progress.read(self._folder.path)
        # What ended before this one was asked for is another one.
        if not lines or (lines[-1].outcome is not Outcome.RUNNING and lines[-1].at < self._asked):
            return []
        if lines[0].at != self._began:
            self._began, self._shown = lines[0].at, 0
        for line in lines[self._shown :]:
            self.clear()
            if line.outcome in (Outcome.RUNNING, Outcome.DONE):
                print(milestone(line, self._began), flush=True)
        self._shown = len(lines)
        if self._draws and lines[-1].outcome is Outcome.RUNNING:
            columns = shutil.get_terminal_size().columns
            print(f"\r\x1b[K{shown(lines[-1], self._began, time.time(), columns)}", end="", flush=True)
        return lines

    def end(self) -> Line | None:
        """Show what is left to be shown, and return the last event; None when the rollout never began."""
        lines = self.look()
        self.clear()
        return lines[-1] if lines else None

    def clear(self) -> None:
        """Take away what was drawn."""
        if self._draws:
            print("\r\x1b[K", end="", flush=True)


def abort(name: str, *, user_scope: bool) -> int:
    """End the rollout that runs, after the batch that it is at, and wait for that."""
    manager = Manager(user=user_scope)
    if _does_not_run(name, manager, user_scope=user_scope):
        return codes.NOT_RUNNING
    coordinator = f"{name}.service"
    if manager.state(coordinator).active != "reloading":
        print(f"svcctl: no rollout of {name} runs", file=sys.stderr)
        return codes.FAILED
    began = time.time()
    if complaint := manager.kill(coordinator, SIGNAL):
        print(f"svcctl: {complaint}", file=sys.stderr)
        return codes.FAILED
    while manager.state(coordinator).active == "reloading":
        time.sleep(_LOOK_SECONDS)
    lines = progress.read(Folder.of(name, user_scope=user_scope).path)
    if lines:
        print(f"{lines[-1].text} ({elapsed(time.time() - began)})")
    return codes.DONE
