"""systemd, its journal and the message bus are disturbed."""

from tests.soak import apps
from tests.soak.trial import Row, Trial
from tests.system.conftest import App


def reexec(app: App) -> Row:
    """`systemctl daemon-reexec`, five times."""
    app.deploy(apps.asgi())
    app.start(workers=3)
    before = app.pids()
    with Trial(app) as trial:
        for _ in range(5):
            app.systemctl("daemon-reexec")
            trial.pass_time(0.2)
        assert app.pids() == before
        assert app.systemctl("reload", "app.target").returncode == 0
        assert not set(before) & set(app.pids())
        return trial.row("daemon-reexec, five times", "3 workers, the same until a reload")


def journald(app: App) -> Row:
    """The journal is killed: workers go on, and what they say next is in the journal again."""
    app.deploy(apps.asgi())
    app.start(workers=3)
    before = app.pids()
    with Trial(app) as trial:
        first = app.show("systemd-journald.service", "MainPID")
        app.systemctl("kill", "--signal=KILL", "systemd-journald.service")
        app.machine.wait_until("systemd-journald.service", "MainPID", lambda pid: pid not in ("0", first))
        trial.pass_time(1)
        assert app.pids() == before
        since = app.machine.cursor()
        assert app.systemctl("reload", "app.target").returncode == 0
        app.machine.wait_journal(r"app@2\.service ready", since=since)
        return trial.row("journald is killed", "3 workers, the same until a reload")


def bus(app: App) -> Row:
    """The D-Bus daemon is restarted in the middle of a rollout, which goes on."""
    app.deploy(apps.asgi())
    app.start(workers=3)
    before, since = app.pids(), app.machine.cursor()
    with Trial(app) as trial:
        app.deploy(apps.asgi("2", startup="await asyncio.sleep(0.3)"))
        reload = app.machine.popen("svcctl", "reload", "app")
        app.machine.wait_journal(r"Stopping app@0\.service", since=since)
        app.systemctl("restart", "dbus.service")
        assert reload.wait(60) == 0
        assert not set(before) & set(app.pids())
        assert app.show("app@surge.service", "ActiveState") == "inactive"
        return trial.row("the D-Bus daemon restarts during a rollout", "3 workers, all of the new version")
