"""Minutes of load with a reload every 5 s and the end of a random worker every 3 s."""

import random
from collections.abc import Callable

from tests.soak import apps, census
from tests.soak.trial import Row, Trial
from tests.system.conftest import App

WORKERS = 4
RELOAD_SECONDS = 5
KILL_SECONDS = 3
SHORT_SECONDS = 40

Told = Callable[[str], None]


def for_seconds(app: App, seconds: int, tell: Told) -> Row:
    """Soak. Raises AssertionError when too much failed, or something leaked."""
    app.deploy(apps.asgi())
    app.start(workers=WORKERS)
    app.systemctl("reload", "app.target")
    before = census.take(app)
    asked = failed = 0
    reload = None
    with Trial(app, keep_alive=True) as trial:
        for second in range(1, seconds + 1):
            trial.pass_time(1)
            if second % KILL_SECONDS == 0 and (pids := app.pids()):
                trial.kill(random.choice(pids))
            if reload is not None and reload.poll() is not None:
                failed += reload.returncode != 0
                reload = None
            if second % RELOAD_SECONDS == 0 and reload is None:
                app.deploy(apps.asgi(str(second)))
                reload = app.machine.popen("systemctl", "reload", "app.target")
                asked += 1
            requests, lost = trial.clients.count()
            held = sum(kill.held for kill in trial.kills)
            tell(
                f"{second:>5} s  {requests:>8,} requests  {lost} failed, {held} were in killed workers  "
                f"{len(trial.kills)} kills  {asked} reloads, {failed} did not come to their end"
            )
        if reload is not None:
            failed += reload.wait() != 0
        trial.wait_workers(WORKERS)
        app.deploy(apps.asgi("last"))
        assert app.systemctl("reload", "app.target").returncode == 0
        row = trial.row(
            f"{seconds / 60:.3g} min: {asked} reloads, {len(trial.kills)} workers killed "
            f"({failed} reloads met a kill and said so)",
            f"{WORKERS} workers of the last version; nothing leaked",
        )
    assert "version last" in app.get("/")
    assert len(app.pids()) == WORKERS
    app.machine.wait_until("app@surge.service", "ActiveState", lambda state: state == "inactive")
    leaks = before.leaks(census.take(app))
    assert not leaks, "\n".join(leaks)
    return row


def short(app: App) -> Row:
    """The soak for those who do not want to wait."""
    return for_seconds(app, SHORT_SECONDS, print)
