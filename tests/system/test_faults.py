"""Workers that crash, hang or are stopped: what clients see, and what comes back by itself."""

from tests.client import load
from tests.system import versions
from tests.system.conftest import THINK, App

CRASH_LOOP_SECONDS = 30


def test_a_crash_loop_leaves_the_listeners_open_and_the_siblings_serving(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=3)
    app.machine.write(
        "/etc/systemd/system/app@1.service.d/crash.conf", "[Service]\nExecStart=\nExecStart=/bin/false\n"
    )
    app.systemctl("daemon-reload")
    opened = app.show("app.socket", "ActiveEnterTimestampMonotonic")
    with load(app.url, connections=20, keep_alive=False, think=THINK) as clients:
        app.systemctl("restart", "app@1.service", check=False)
        start = int(app.show("app@1.service", "InactiveEnterTimestampMonotonic"))
        app.machine.wait_until(
            "app@1.service",
            "InactiveEnterTimestampMonotonic",
            lambda stamp: int(stamp) - start >= CRASH_LOOP_SECONDS * 1_000_000,
            timeout=2 * CRASH_LOOP_SECONDS,
        )
    assert int(app.show("app@1.service", "NRestarts")) >= 3
    assert app.show("app.socket", "ActiveState") == "active"
    assert app.show("app.socket", "ActiveEnterTimestampMonotonic") == opened
    seen = clients.stop()
    assert seen.failed == 0, seen.table()


def test_a_stopped_worker_stays_stopped_and_nothing_fails(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=3)
    with load(app.url, connections=20, keep_alive=False, think=THINK) as clients:
        app.systemctl("stop", "app@1.service")
        clients.wait(1000)
        assert app.show("app@1.service", "ActiveState") == "inactive"
    seen = clients.stop()
    assert seen.failed == 0, seen.table()


def test_the_first_connection_wakes_the_app(app: App) -> None:
    app.deploy(versions.good("1"))
    app.configure(workers=3)
    app.systemctl("daemon-reload")
    app.systemctl("start", "app.socket")
    assert app.show("app.target", "ActiveState") == "inactive"
    assert "version 1" in app.get("/")
    app.machine.wait_until("app.target", "ActiveState", lambda state: state == "active")
    assert len(app.pids()) == 3


def test_sigterm_to_a_worker_is_a_clean_exit(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=2)
    app.systemctl("stop", "app@0.service")
    shown = app.machine.show("app@0.service", "Result", "ExecMainStatus", "ExecMainCode")
    assert shown == {"Result": "success", "ExecMainStatus": "0", "ExecMainCode": "1"}
