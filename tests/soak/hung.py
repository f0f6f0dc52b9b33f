"""What never ends: a thread, a start-up, a shutdown, a worker that does not listen to SIGTERM."""

import time

from tests.client import get
from tests.soak import apps
from tests.soak.trial import Row, Trial
from tests.soak.workers import Kill
from tests.system import versions
from tests.system.conftest import App

IGNORES = "asyncio.get_running_loop().call_soon(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {15}))"


def event_loop(app: App) -> Row:
    """An event loop hangs: the watchdog kills its worker, with a traceback in the journal; no other."""
    app.deploy(apps.asgi())
    app.start(workers=2, more="[limits]\nwatchdog = 2\n")
    before = app.pids()
    with Trial(app) as trial:
        trial.pass_time(0.5)
        began = time.monotonic()
        hung = app.request_and_leave("/hang")
        # Who hangs accepts nothing more. One of its connections is that of the request that hung it.
        held = int(app.machine.wait_journal(r"^hangs with (\d+) connections", since=hung)[1]) - 1
        slot = int(app.machine.wait_journal(r"app@(\d)\.service: Watchdog timeout", since=hung)[1])
        app.machine.wait_journal(r"webapp\.py.*line \d+ in app", since=hung)
        trial.wait_workers(2, replaced=[before[slot]])
        trial.kills.append(Kill(began, time.monotonic(), held))
        trial.pass_time(0.5)
        after = app.pids()
        row = trial.row("an event loop hangs", "2 workers: the watchdog killed it")
    assert after[1 - slot] == before[1 - slot]
    assert app.show(f"app@{slot}.service", "NRestarts") == "1"
    return row


def thread_of_wsgi(app: App) -> Row:
    """A thread of a WSGI application hangs: its worker is replaced like any other."""
    app.deploy(apps.WSGI)
    app.start(workers=2, more="[limits]\ndrain = 2\n")
    before = app.pids()
    with Trial(app, keep_alive=True) as trial:
        app.get("/thread")
        assert app.systemctl("reload", "app.target").returncode == 0
        assert not set(before) & set(app.pids())
        assert app.show("app@0.service", "Result") == app.show("app@1.service", "Result") == "success"
        return trial.row("a thread of a WSGI application hangs", "2 workers, by a reload")


def request_in_a_thread(app: App) -> Row:
    """A request that waits for a hung thread is cut off after the drain; no other is."""
    app.deploy(apps.asgi())
    app.start(workers=2, more="[limits]\ndrain = 2\n")
    before, since = app.pids(), app.machine.cursor()
    with Trial(app, keep_alive=True) as trial:
        get(f"{app.url}/thread", timeout=0.5)
        assert app.systemctl("reload", "app.target").returncode == 0
        assert not set(before) & set(app.pids())
        assert "Killing process" not in app.machine.journal(since=since)
        return trial.row("a request waits for a hung thread", "2 workers, by a reload")


def start_up(app: App) -> Row:
    """A new version deadlocks in its start-up: `limits.start` ends it, nothing has changed."""
    app.deploy(apps.asgi())
    app.start(workers=2, more="[limits]\nstart = 3\n")
    before, since = app.pids(), app.machine.cursor()
    with Trial(app, keep_alive=True) as trial:
        app.deploy(apps.asgi("2", startup="deadlock()"))
        refused = app.machine.run("svcctl", "reload", "app", check=False)
        assert refused.returncode != 0
        assert "not ready within its time" in refused.stderr, refused.stderr
        assert app.pids() == before
        app.machine.wait_journal(r"webapp\.py.*line \d+ in deadlock", since=since)
        app.deploy(apps.asgi("3"))
        assert app.systemctl("reload", "app.target").returncode == 0
        return trial.row("a new version deadlocks in its start-up", "2 old workers; new ones once mended")


def shutdown(app: App) -> Row:
    """A worker deadlocks in its shutdown: systemd ends it; the others are not touched."""
    return _stays(app, "a worker deadlocks in its shutdown", apps.asgi(shutdown="deadlock()"), serves=False)


def ignores_sigterm(app: App) -> Row:
    """A worker does not listen to SIGTERM: systemd ends it after the drain; the others are not touched."""
    return _stays(app, "a worker ignores SIGTERM", apps.asgi(startup=IGNORES), serves=True)


def _stays(app: App, name: str, text: str, *, serves: bool) -> Row:
    """One worker of three does not end when it is told to; it may go on to serve until it is killed."""
    app.deploy(versions.good("1"))
    app.start(workers=3, more="[limits]\ndrain = 1\n")
    app.deploy(text)
    app.systemctl("restart", "app@1.service")
    app.deploy(apps.asgi("2"))
    before, since = app.pids(), app.machine.cursor()
    with Trial(app) as trial:
        app.systemctl("stop", "app@1.service", check=False)
        if serves:
            trial.ended("app@1.service")
        app.machine.wait_journal(r"app@1\.service: State 'stop-sigterm' timed out\. Killing", since=since)
        app.systemctl("start", "app@1.service")
        trial.wait_workers(3, replaced=before[1:2])
        after = app.pids()
        assert (after[0], after[2]) == (before[0], before[2])
        return trial.row(name, "3 workers: it was killed after the drain")
