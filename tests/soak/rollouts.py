"""Rollouts that something comes between: their process is killed, the app is stopped, restarted, reloaded."""

from collections.abc import Callable

from tests.soak.deploys import STAMP
from tests.soak.trial import Row, Trial
from tests.system import versions
from tests.system.conftest import App

Step = Callable[[App], object]


def at_state(unit: str, state: str) -> Step:
    """Return what waits for a unit's state."""
    return lambda app: app.machine.wait_until(unit, "ActiveState", lambda now: now == state)


def at_message(pattern: str) -> Step:
    """Return what waits for a line in the journal."""
    return lambda app: app.machine.wait_journal(pattern)


STEPS = {
    "as it begins": at_state("app.service", "reloading"),
    "as the surge worker starts": at_state("app@surge.service", "activating"),
    "as a slot stops": at_message(r"Stopping app@0\.service"),
    "as a slot starts": at_message(r"Stopped app@0\.service"),
    "between two slots": at_message(r"app@1\.service ready"),
    "as the surge worker stops": at_state("app@surge.service", "deactivating"),
}
MIDDLE = ("as the surge worker starts", "as a slot stops", "between two slots")


def old_and_new(app: App, more: str = "") -> list[int]:
    """Start three workers of version 1 and deploy version 2; return their processes."""
    app.deploy(versions.good("1"))
    app.start(workers=3, more=more)
    before = app.pids()
    app.deploy(versions.good("2", startup_seconds=0.3))
    return before


def check_new(app: App, before: list[int]) -> None:
    """All three workers run the version 2, and there is no surge worker."""
    after = app.pids()
    assert len(after) == 3
    assert not set(before) & set(after)
    assert "version 2" in app.get("/")
    assert app.show("app@surge.service", "ActiveState") == "inactive"


def killed(app: App, step: str) -> Row:
    """The process of a rollout is killed: whoever asked is told, and the next rollout does the rest."""
    app.machine.write(STAMP, "1")
    # So that there is time to kill it there.
    app.machine.write(
        "/etc/systemd/system/app@surge.service.d/slow.conf", "[Service]\nExecStopPost=/bin/sleep 0.5\n"
    )
    before = old_and_new(app, f'[reload]\nstamp = "{STAMP}"\n')
    app.machine.write(STAMP, "2")
    with Trial(app, keep_alive=True) as trial:
        reload = app.machine.popen("systemctl", "reload", "app.target")
        STEPS[step](app)
        app.systemctl("kill", "--signal=KILL", "--kill-whom=control", "app.service")
        assert reload.wait() != 0
        app.machine.wait_until("app.service", "ActiveState", lambda state: state == "active")
        assert app.systemctl("reload", "app.target").returncode == 0
        check_new(app, before)
        return trial.row(f"SIGKILL of the rollout {step}", "3 new workers, by the next reload")


def stopped(app: App, step: str) -> Row:
    """The app is stopped in the middle of a rollout: all ends, nothing is left behind, and it starts anew."""
    before = old_and_new(app)
    with Trial(app, keep_alive=True) as trial:
        reload = app.machine.popen("systemctl", "reload", "app.target")
        STEPS[step](app)
        row = trial.row(
            f"stop of app.target in a rollout, {step} (the load ends just before: then nobody listens)",
            "nothing runs; 3 new workers by a start",
        )
        app.systemctl("stop", "app.target")
        assert reload.wait() != 0
    for unit in ("app.service", "app.socket"):
        app.machine.wait_until(unit, "ActiveState", lambda state: state == "inactive")
    shown = app.systemctl("list-units", "--all", "--plain", "--no-legend", "app.*", "app@*").stdout
    assert [line for line in shown.splitlines() if line.split()[2] not in ("inactive", "failed")] == []
    assert app.machine.run("ls", "/run/svc/.rollout").stdout.split() == []
    app.systemctl("start", "app.target")
    app.machine.wait_until("app.target", "ActiveState", lambda state: state == "active")
    check_new(app, before)
    assert app.systemctl("reload", "app.target").returncode == 0
    return row


def restarted(app: App, step: str) -> Row:
    """The app is restarted in the middle of a rollout, which does what the rollout was asked for."""
    before = old_and_new(app)
    with Trial(app) as trial:
        reload = app.machine.popen("systemctl", "reload", "app.target")
        STEPS[step](app)
        app.systemctl("restart", "app.target")
        assert reload.wait() == 0
        row = trial.row(f"restart of app.target in a rollout, {step}", "3 new workers, by itself")
    app.machine.wait_until("app.target", "ActiveState", lambda state: state == "active")
    app.machine.wait_until("app@surge.service", "ActiveState", lambda state: state == "inactive")
    check_new(app, before)
    assert app.systemctl("reload", "app.target").returncode == 0
    return row


# The first of three reloads: what it is asked for, and the time that its worker has for the start.
FIRST = {
    "good": (versions.good("2", startup_seconds=1), 60),
    "broken": (versions.BROKEN["hangs in start-up"], 3),
}


def at_once(app: App, first: str) -> Row:
    """Reloads that are asked for during another one become one more, with the newest code."""
    app.deploy(versions.good("1"))
    version, seconds = FIRST[first]
    app.start(workers=2, more=f"[limits]\nstart = {seconds}\n")
    with Trial(app, keep_alive=True) as trial:
        app.deploy(version)
        reloads = [app.machine.popen("systemctl", "reload", "app.target")]
        app.machine.wait_until("app@surge.service", "ActiveState", lambda state: state == "activating")
        app.deploy(versions.good("3"))
        reloads += [app.machine.popen("systemctl", "reload", unit) for unit in ("app.target", "app.service")]
        assert [reload.wait() for reload in reloads] == [0, 0, 0]
        row = trial.row(
            f"two reloads at once during a third, of a {first} version",
            "2 workers of the newest version, by one more rollout",
        )
    assert "version 3" in app.get("/")
    assert app.generations(2) == ["2", "2"]
    said = app.machine.journal("app.service", output="cat").splitlines()
    begun = [line for line in said if line.startswith("rolling out ")]
    assert begun == ["rolling out generation 1", "rolling out generation 2"]
    return row
