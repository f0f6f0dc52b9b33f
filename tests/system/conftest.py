"""One machine for the session, reset between tests; an app in it; the journal of a test that failed."""

import os
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from svc.rollout.events import Message
from tests.client import get, load
from tests.install import SERVED, install
from tests.machine import Machine, Result
from tests.ports import free_port
from tests.system import crossings, versions

JOURNAL_LINES = 300

THINK = 0.02
"""Seconds that a client of a load waits between two requests where a test is not about a full load, so that a
small machine has CPU time for what it is about: twenty of them ask some 800 times a second."""


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs a real systemd, and some of it many minutes."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("system")
            if crossings.is_one(item):
                item.add_marker("long")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Print with a failure what the machine logged during the test."""
    report = yield
    machine = getattr(item, "funcargs", {}).get("machine")
    if report.failed and call.when != "teardown" and isinstance(machine, Machine):
        lines = machine.journal().splitlines()[-JOURNAL_LINES:]
        report.sections.append(("journal of the machine", "\n".join(lines)))
        report.sections.append(("console of the machine", machine.console()))
    return report


@pytest.fixture(scope="session")
def installed() -> Iterator[Machine]:
    """A machine with svc installed in it; use `machine`, which is clean at each test."""
    if os.geteuid() != 0:
        pytest.exit("the tests with a real systemd need root: run `sudo make test`", returncode=1)
    with Machine(SERVED) as machine:
        install(machine)
        machine.checkpoint()
        yield machine


@pytest.fixture
def machine(installed: Machine) -> Iterator[Machine]:
    """The machine, as it was after the installation."""
    yield installed
    installed.reset()


@dataclass(frozen=True, slots=True)
class App:
    """The app `app` on a port of its own. What it does not have, `machine` has."""

    machine: Machine
    port: int

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def deploy(self, text: str) -> None:
        """Put a version of the application in place; running workers go on with the one they have."""
        self.machine.write(versions.FILE, text)

    def configure(self, workers: int, port: int = 0, more: str = "") -> None:
        """Write the app file; systemd is not told."""
        self.machine.write("/etc/svc/app.toml", versions.configuration(port or self.port, workers, more))

    def drop_in(self, name: str, text: str) -> None:
        """Write a drop-in of the app file; nothing is generated yet."""
        self.machine.write(f"/etc/svc/app.toml.d/{name}.toml", text)

    def start(self, workers: int, more: str = "") -> None:
        """Configure and start: returns when all workers are ready."""
        self.configure(workers, more=more)
        self.systemctl("daemon-reload")
        self.systemctl("start", "app.target")

    def systemctl(self, *argv: str, check: bool = True) -> Result:
        """`systemctl …` in the machine."""
        return self.machine.systemctl(*argv, check=check)

    def show(self, unit: str, name: str) -> str:
        """One property of a unit; empty when it has none of this name."""
        return self.machine.show(unit, name).get(name, "")

    def pids(self, name: str = "app") -> list[int]:
        """The main processes of the active workers, by slot, as the machine numbers them."""
        shown = self.systemctl("show", "--property=Id,ActiveState,MainPID", f"{name}@*.service").stdout
        workers = {}
        for block in shown.split("\n\n"):
            values = dict(line.split("=", 1) for line in block.splitlines())
            slot = re.fullmatch(r".*@(\d+)\.service", values.get("Id", ""))
            if slot and values["ActiveState"] == "active" and values["MainPID"] != "0":
                workers[int(slot[1])] = int(values["MainPID"])
        return [workers[slot] for slot in sorted(workers)]

    def generations(self, workers: int) -> list[str | None]:
        """What each worker was started as."""
        found = []
        for slot in range(workers):
            pid = self.show(f"app@{slot}.service", "MainPID")
            environment = self.machine.run("cat", f"/proc/{pid}/environ").stdout.split("\0")
            found.append(next((one[15:] for one in environment if one.startswith("SVC_GENERATION=")), None))
        return found

    def last_failure(self) -> str:
        """The line in which a rollout said last why it failed."""
        chosen = ("--quiet", "--output=cat", "--lines=1", f"MESSAGE_ID={Message.FAILED.value}")
        return self.machine.run("journalctl", *chosen).stdout.strip()

    def reload_twice(self, requests: int, **options: Any) -> None:
        """Reload under load, to versions 2 and 3, and assert that no request fails.

        So many are to be answered after each; `options` are those of the load.
        """
        with load(self.url, **{"connections": 50, "timeout": 10} | options) as clients:
            for version in ("2", "3"):
                self.deploy(versions.good(version, startup_seconds=0.3))
                assert self.systemctl("reload", "app.target").returncode == 0
                clients.wait(requests)
        seen = clients.stop()
        assert seen.failed == 0, seen.table()
        assert seen.requests > 2 * requests
        assert "version 3" in self.get("/")

    def get(self, path: str, port: int = 0) -> str:
        """The body of one answer; a request that fails is an AssertionError."""
        record = get(f"http://127.0.0.1:{port or self.port}{path}")
        assert not record.failed, f"GET {path}: {record.error} {record.body.decode(errors='replace')}"
        return record.body.decode()

    def request_and_leave(self, path: str) -> str:
        """Send a request, do not wait for its answer, and return the journal's cursor from before it."""
        cursor = self.machine.cursor()
        get(f"{self.url}{path}", timeout=0.2)
        return cursor

    def free_port(self) -> int:
        """A port of 127.0.0.1 that nobody uses."""
        return free_port()


@pytest.fixture
def app(machine: Machine) -> App:
    """An app that is not configured yet."""
    return App(machine, free_port())
