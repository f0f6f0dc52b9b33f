"""Workers that eat what the host has: descriptors, the space of /run."""

from tests.soak import apps
from tests.soak.trial import Row, Trial
from tests.system.conftest import App

FILLED = "/run/svc/app/filler"
ROOM = 4 << 20  # bytes that are left in /run before a worker fills it


def descriptors(app: App) -> Row:
    """A worker has no descriptor left: it says so, siblings take what waits, a reload replaces it."""
    app.deploy(apps.asgi())
    app.start(workers=3, more="[service]\nLimitNOFILE = 100\n")
    since, before = app.machine.cursor(), app.pids()
    with Trial(app) as trial:
        eater = app.get("/eat").split()[1]
        said = r"Too many open files; pausing .* raise LimitNOFILE= in \[service\]"
        app.machine.wait_journal(said, f"app@{eater}.service", since=since)
        trial.pass_time(2)
        assert app.pids() == before
        assert app.systemctl("reload", "app.target").returncode == 0
        trial.pass_time(1)
        assert not set(before) & set(app.pids())
        return trial.row("a worker uses up its descriptors", "3 workers, by a reload")


def run_is_full(app: App) -> Row:
    """A worker fills /run: what is asked of svc works or says why not, and once there is room all works."""
    app.deploy(apps.asgi())
    app.start(workers=3)
    before = app.pids()
    size = app.machine.run("findmnt", "--noheadings", "--bytes", "--output=SIZE,USED", "/run").stdout.split()
    with Trial(app) as trial:
        app.machine.run("mount", "-o", f"remount,size={int(size[1]) + ROOM}", "/run")
        try:
            app.get("/fill")
            trial.pass_time(1)
            refused = app.machine.run("svcctl", "reload", "app", check=False)
            assert refused.returncode != 0, refused.stdout
            assert "No space left on device" in refused.stderr, refused.stderr
            status = app.machine.run("svcctl", "status", "app").stdout
            assert all(str(pid) in status for pid in before), status
            assert app.systemctl("reload", "app.target", check=False).returncode != 0
            assert app.systemctl("daemon-reload", check=False).returncode != 0
            assert app.pids() == before
        finally:
            app.machine.run("rm", "-f", FILLED)
            app.machine.run("mount", "-o", f"remount,size={size[0]}", "/run")
        assert app.systemctl("reload", "app.target").returncode == 0
        assert not set(before) & set(app.pids())
        return trial.row("a worker fills /run", "3 workers; reloads work once there is room")
