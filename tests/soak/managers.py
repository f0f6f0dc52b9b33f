"""systemd, its journal and the message bus are disturbed."""

from tests.soak import apps, rollouts
from tests.soak.trial import Row, Trial
from tests.system import versions
from tests.system.conftest import App


def reload_for_a_moment(app: App) -> Row:
    """`systemctl daemon-reload` every 100 ms, for 5 s."""
    return _reload(app, seconds=5)


def reload_for_half_a_minute(app: App) -> Row:
    """`systemctl daemon-reload` every 100 ms, for 30 s."""
    return _reload(app, seconds=30)


def _reload(app: App, seconds: int) -> Row:
    app.deploy(versions.good("1"))
    app.start(workers=3)
    every = "systemctl daemon-reload; sleep .1"
    script = f"end=$(($(date +%s) + {seconds})); while [ $(date +%s) -lt $end ]; do {every}; done"
    with Trial(app, keep_alive=True) as trial:
        disturbing = app.machine.popen("sh", "-c", script)
        count = 0
        while disturbing.poll() is None:
            before = app.pids()
            assert app.systemctl("reload", "app.target").returncode == 0
            assert not set(before) & set(app.pids())
            count += 1
        assert count > 0
        assert len(app.pids()) == 3
        return trial.row(
            f"daemon-reload every 100 ms for {seconds} s, during {count} reloads of the app",
            "3 workers, all new in each reload",
        )


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


def reexec_in_a_rollout(app: App) -> Row:
    """`systemctl daemon-reexec` at three steps of a rollout, which goes on."""
    before = rollouts.old_and_new(app)
    with Trial(app, keep_alive=True) as trial:
        reload = app.machine.popen("systemctl", "reload", "app.service")
        for step in rollouts.MIDDLE:
            rollouts.STEPS[step](app)
            app.systemctl("daemon-reexec")
        reload.wait()  # its connection to systemd broke
        app.machine.wait_until("app.service", "ActiveState", lambda state: state == "active")
        rollouts.check_new(app, before)
        assert app.machine.run("svcctl", "status", "app").returncode == 0
        return trial.row("daemon-reexec, three times during a rollout", "3 workers, all of the new version")


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
