"""Restarts of every kind under load: no request fails."""

import pytest

from tests.client import load
from tests.system import versions
from tests.system.conftest import THINK, App

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


def test_as_many_restarts_as_an_operator_likes(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=1)
    with load(app.url, connections=10, keep_alive=False, think=THINK) as clients:
        for _ in range(7):  # five within ten seconds are systemd's own limit
            assert app.systemctl("restart", "app.target").returncode == 0
            assert app.show("app.socket", "ActiveState") == "active"
    seen = clients.stop()
    assert seen.failed == 0, seen.table()


def test_a_restart_with_fewer_workers_stops_the_others(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=3)
    app.configure(workers=1)
    app.systemctl("daemon-reload")
    app.systemctl("restart", "app.target")
    for slot in (1, 2):
        app.machine.wait_until(f"app@{slot}.service", "ActiveState", lambda state: state == "inactive")
    assert len(app.pids()) == 1


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
