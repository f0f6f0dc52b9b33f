"""Workers that crash, hang or are stopped: what clients see, and what comes back by itself."""

from tests.client import load
from tests.system import versions
from tests.system.conftest import App

CRASH_LOOP_SECONDS = 30


def test_a_killed_worker_is_back_and_costs_only_its_own_requests(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=4)
    before = app.pids()
    with load(app.url, connections=20, keep_alive=False) as clients:
        clients.wait(300)
        app.systemctl("kill", "--signal=KILL", "app@2.service")
        app.machine.wait_until("app@2.service", "MainPID", lambda pid: pid not in ("0", str(before[2])))
        app.machine.wait_until("app@2.service", "ActiveState", lambda state: state == "active")
        clients.wait(300)
    after = app.pids()
    assert [pid for slot, pid in enumerate(after) if slot != 2] == [
        pid for slot, pid in enumerate(before) if slot != 2
    ]
    # At most what was in that worker: one request a connection, and there are twenty of them.
    seen = clients.stop()
    assert seen.failed <= 20, seen.table()


def test_a_crash_loop_leaves_the_listeners_open_and_the_siblings_serving(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=3)
    app.machine.write(
        "/etc/systemd/system/app@1.service.d/crash.conf", "[Service]\nExecStart=\nExecStart=/bin/false\n"
    )
    app.systemctl("daemon-reload")
    opened = app.show("app.socket", "ActiveEnterTimestampMonotonic")
    with load(app.url, connections=20, keep_alive=False) as clients:
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
    with load(app.url, connections=20, keep_alive=False) as clients:
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


def test_a_hung_event_loop_is_killed_and_its_traceback_is_in_the_journal(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=2, more="[limits]\nwatchdog = 2\n")
    before = app.pids()
    with load(app.url, connections=10, keep_alive=False) as clients:
        clients.wait(100)
        hung = app.request_and_leave("/hang")
        slot = int(app.machine.wait_journal(r"app@(\d)\.service: Watchdog timeout", since=hung)[1])
        app.machine.wait_journal(r"webapp\.py.*line \d+ in app", since=hung)
        app.machine.wait_until(f"app@{slot}.service", "NRestarts", lambda restarts: restarts == "1")
        app.machine.wait_until(f"app@{slot}.service", "ActiveState", lambda state: state == "active")
        clients.wait(100)
    after = app.pids()
    assert after[slot] != before[slot]
    assert after[1 - slot] == before[1 - slot]
    # What the hung worker had taken is lost with it, nothing else.
    seen = clients.stop()
    assert seen.failed <= 10, seen.table()


def test_sigterm_to_a_worker_is_a_clean_exit(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=2)
    app.systemctl("stop", "app@0.service")
    shown = app.machine.show("app@0.service", "Result", "ExecMainStatus", "ExecMainCode")
    assert shown == {"Result": "success", "ExecMainStatus": "0", "ExecMainCode": "1"}
