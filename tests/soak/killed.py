"""Workers that die: some at once, all at once, at random."""

import re

from tests.soak import apps
from tests.soak.trial import Row, Trial
from tests.system.conftest import App


def one(app: App) -> Row:
    """SIGKILL of one worker of four."""
    return _killed_at_once(app, 1)


def two_at_once(app: App) -> Row:
    """SIGKILL of two workers of four at once."""
    return _killed_at_once(app, 2)


def all_at_once(app: App) -> Row:
    """SIGKILL of all four workers at once."""
    return _killed_at_once(app, 4)


def _killed_at_once(app: App, count: int) -> Row:
    app.deploy(apps.asgi())
    app.start(workers=4)
    before = app.pids()
    opened = app.show("app.socket", "ActiveEnterTimestampMonotonic")
    with Trial(app) as trial:
        trial.pass_time(1)
        trial.kill(*before[:count])
        trial.wait_workers(4, replaced=before[:count])
        trial.pass_time(1)
        after = app.pids()
        together = " at once" if count > 1 else ""
        row = trial.row(f"SIGKILL of {count} of 4 workers{together}", "4 workers, by themselves")
    assert after[count:] == before[count:]
    assert app.show("app.socket", "ActiveEnterTimestampMonotonic") == opened
    return row


def exits_at_random(app: App) -> Row:
    """Each worker ends within 2 s, for a while."""
    return _exits(app, seconds=3, within=2)


def exits_at_random_for_a_minute(app: App) -> Row:
    """Each worker ends within 10 s, for a minute."""
    return _exits(app, seconds=60, within=10)


def _exits(app: App, seconds: int, within: int) -> Row:
    app.deploy(apps.exits_within(within))
    app.start(workers=4)
    since = app.machine.cursor()
    with Trial(app) as trial:
        trial.pass_time(seconds)
        app.deploy(apps.asgi("2"))
        for slot in range(4):
            app.machine.wait_until(f"app@{slot}.service", "ActiveState", lambda state: state == "active")
        assert app.systemctl("reload", "app.target", check=False).returncode == 0
        trial.pass_time(1)
        left = [
            int(n) for n in re.findall(r"leaves with (\d+) connections", app.machine.journal(since=since))
        ]
        row = trial.row(
            f"each worker exits at random within {within} s, for {seconds} s ({len(left)} exits)",
            "4 workers, by themselves",
            allowed=sum(left),
        )
    assert len(left) >= 4
    assert len(app.pids()) == 4
    return row
