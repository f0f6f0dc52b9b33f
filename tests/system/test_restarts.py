"""Restarts of every kind under load: no request fails."""

import subprocess

import pytest

from tests.client import load
from tests.system import versions
from tests.system.conftest import App

COMMANDS = {
    "restart of the target": ("restart", "app.target"),
    "restart of the coordinator": ("restart", "app.service"),
    "restart of one worker": ("restart", "app@1.service"),
    "daemon-reload": ("daemon-reload",),
    "daemon-reexec": ("daemon-reexec",),
}


@pytest.mark.parametrize("keep_alive", [False, True], ids=["fresh", "keep-alive"])
@pytest.mark.parametrize("name", COMMANDS)
def test_no_request_fails(app: App, name: str, keep_alive: bool) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=4)
    with load(app.url, connections=50, keep_alive=keep_alive) as clients:
        clients.wait(500)
        for _ in range(2):
            app.systemctl(*COMMANDS[name])
            clients.wait(500)
    seen = clients.stop()
    assert seen.failed == 0, seen.table()
    assert len(app.pids()) == 4


def test_start_stop_restart_status_of_the_coordinator_mean_the_target(app: App) -> None:
    app.deploy(versions.good("1"))
    app.configure(workers=2)
    app.systemctl("daemon-reload")
    units = ["app.target", "app.service", "app.socket", "app@0.service", "app@1.service"]
    for unit in ("app.service", "app.target"):
        app.systemctl("start", unit)
        assert [app.show(one, "ActiveState") for one in units] == ["active"] * 5
        before = app.pids()
        app.systemctl("restart", unit)
        assert len(app.pids()) == 2
        assert not set(before) & set(app.pids())
        assert "active (exited)" in app.systemctl("status", "app").stdout
        app.systemctl("stop", unit)
        for one in units:
            app.machine.wait_until(one, "ActiveState", lambda state: state == "inactive")


def test_a_start_returns_when_all_workers_are_ready(app: App) -> None:
    app.deploy(versions.good("1", startup_seconds=1))
    app.configure(workers=2)
    app.systemctl("daemon-reload")
    app.systemctl("start", "app.service")
    assert len(app.pids()) == 2


@pytest.mark.parametrize(
    "tool",
    [
        ("ab", "-q", "-l", "-c50", "-n20000"),
        ("ab", "-q", "-l", "-k", "-c50", "-n20000"),
        ("wrk", "-t1", "-c50", "-d5"),
    ],
    ids=["ab", "ab -k", "wrk"],
)
def test_the_usual_tools_see_no_failure_either(app: App, tool: tuple[str, ...]) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=4)
    running = subprocess.Popen(
        [*tool, f"{app.url}/"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    reloads = 0
    while running.poll() is None or reloads < 1:
        app.systemctl("reload", "app.target")
        reloads += 1
    report = running.communicate()[0]
    assert running.returncode == 0, report
    if tool[0] == "ab":
        assert "Failed requests:        0\n" in report, report
        assert "Complete requests:      20000\n" in report, report
    else:
        assert "requests in" in report, report
        assert "Socket errors" not in report, report
        assert "Non-2xx" not in report, report
