"""What the tests of several hosts share."""

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from svc.cluster.hosts.server import Server

PATIENCE = 30.0

_heard = threading.Condition()
"""A worker has said something."""


def back(server: Server) -> None:
    """Return when the server that was away has been found again."""
    until(lambda: not server.away)


class Worker:
    """A process of `hosts_worker.py`: a worker of the host that `folder` stands for."""

    def __init__(
        self, folder: Path, slot: int, slots: int, url: str, python: str = sys.executable, **environ: str
    ) -> None:
        command = [python, "-B", str(Path(__file__).with_name("hosts_worker.py"))]
        self.process = subprocess.Popen(
            [*command, str(folder / "svc" / "app"), str(slot), str(slots)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "SVC_CLUSTER_URL": url, **environ},
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait("ready")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with _heard:
                self._lines.put(line.rstrip("\n"))
                _heard.notify_all()

    def tell(self, command: str) -> None:
        """Say what it shall do."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()

    def line(self) -> str:
        """Return the next thing that it says."""
        return self._lines.get(timeout=PATIENCE)

    def said(self) -> list[str]:
        """Return all that it has said and that nobody has taken yet."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._lines.get_nowait())
        return found

    def wait(self, start: str) -> str:
        """Return the next line that begins like that."""
        while not (line := self.line()).startswith(start):
            pass
        return line

    def do(self, command: str) -> str:
        """Have it do something, and return what came of it."""
        self.tell(command)
        while (line := self.line()).startswith(("got", "job")):
            pass
        return line

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.close()

    def close(self) -> None:
        """End it in good order, unless it has ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        self.process.stdout.close()


def first_line(workers: list[Worker], start: str = "") -> tuple[Worker, str]:
    """Return the first that says something that begins so, and what; what they say before is forgotten."""
    deadline = time.monotonic() + PATIENCE
    with _heard:
        while True:
            for worker in workers:
                for line in worker.said():
                    if line.startswith(start):
                        return worker, line
            if not _heard.wait(deadline - time.monotonic()):
                raise AssertionError(f"nobody says {start}")


def who_says(start: str, workers: list[Worker]) -> Worker:
    """Return the first that says something that begins so."""
    return first_line(workers, start)[0]


def again(worker: Worker, command: str) -> None:
    """Have it do something until it succeeds."""
    deadline = time.monotonic() + PATIENCE
    while not (said := worker.do(command)).startswith("done"):
        assert time.monotonic() < deadline, said
        time.sleep(0.01)


def until(true: Callable[[], object]) -> None:
    """Return when it is so."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def relayed(tmp_path: Path) -> None:
    """Return when both hosts, a and b, take what the other sends."""
    for host in ("a", "b"):
        until(partial(_noted, tmp_path / host / "svc" / "app" / "relay"))


def _noted(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0
