"""svcctl rollout: what `systemctl reload NAME.target` runs, as ExecReload= of the coordinator."""

import subprocess
import sys
import time
from pathlib import Path

from svc import turn
from svc.app import App
from svc.config import ConfigError, SearchPath, find, load
from svc.listening import is_open
from svc.rollout.steps import RolloutFailed, roll_out, stale_units
from svc.rollout.systemd import Manager, SystemdError
from svc.units.host import Host, this_host
from svc.units.render import SHUTDOWN_MARGIN

# The units that a generator wrote lie here; others were rendered into a package.
_GENERATED = "/generator"

# What systemd itself may need between a worker's end and its successor's start, in seconds.
_RESTART_SLACK = 5.0


def rollout(name: str, *, user_scope: bool) -> int:
    """Replace the workers of an app by ones with its newest version. Returns 1 when that failed."""
    began = time.time()
    manager = Manager(user=user_scope)
    try:
        app, host = _load(name, user_scope=user_scope), this_host(user_scope=user_scope)
        _check_listeners(app)
        _reload_units(app, host, manager)
        with turn.shared(turn.folder_of(name, user_scope=user_scope), _patience(app), _say_waiting) as had:
            if not had:
                _say("that worker did not come back in time; going on")
            roll_out(app, host, manager, _say)
    except (ConfigError, RolloutFailed, SystemdError) as error:
        _report(error, began, user_scope=user_scope)
        # A failure does not travel from the coordinator to the target: only a cancelled job makes
        # `systemctl reload NAME.target` fail.
        if job := manager.reload_job(f"{name}.target"):
            manager.cancel(job)
        return 1
    _say("done")
    return 0


def _patience(app: App) -> float:
    """How long a worker may take that replaces itself: its drain and shutdown, then its successor's start."""
    return app.limits.drain + SHUTDOWN_MARGIN + app.limits.start + _RESTART_SLACK


def _say_waiting() -> None:
    _say("a worker has reached a limit and replaces itself: waiting until it is back")


def _load(name: str, *, user_scope: bool) -> App:
    files = find(SearchPath.user() if user_scope else SearchPath.system()).get(name)
    if files is None:
        raise RolloutFailed(f"the app file of {name} is gone; nothing has changed")
    return load(files)


def _check_listeners(app: App) -> None:
    closed = [str(listen) for listen in app.listen if not is_open(listen)]
    if closed:
        raise RolloutFailed(
            f"{', '.join(closed)} is not open, and a reload keeps the listeners as they are: "
            f"to change `listen` run `systemctl stop {app.name}.target '{app.name}*.socket'`, then "
            f"`systemctl start {app.name}.target`; nothing has changed"
        )


def _reload_units(app: App, host: Host, manager: Manager) -> None:
    def loaded(unit: str) -> str:
        # A template has no state of its own: any instance of it tells its file.
        path = manager.show(unit.replace("@.", "@0."), "FragmentPath").get("FragmentPath", "")
        return Path(path).read_text() if path and Path(path).exists() else ""

    coordinator = f"{app.name}.service"
    shown = manager.show(coordinator, "FragmentPath", "NeedDaemonReload")
    generated = _GENERATED in shown.get("FragmentPath", "")
    outdated = any(
        manager.show(unit, "NeedDaemonReload").get("NeedDaemonReload") == "yes"
        for unit in (coordinator, f"{app.name}@0.service")
    )
    if outdated or (generated and stale_units(app, host, loaded)):
        _say("the configuration changed: reading the units anew")
        manager.daemon_reload()


def _report(error: Exception, began: float, *, user_scope: bool) -> None:
    problems = error.problems if isinstance(error, ConfigError) else (error,)
    for problem in problems:
        print(f"<3>rollout failed: {problem}", file=sys.stderr)
    for unit in error.units if isinstance(error, RolloutFailed) else ():
        for line in _last_words(unit, began, user_scope=user_scope):
            print(f"<4>{unit}: {line}", file=sys.stderr)


def _last_words(unit: str, began: float, *, user_scope: bool) -> list[str]:
    chosen = [f"--user-unit={unit}" if user_scope else f"--unit={unit}", f"--since=@{began:.3f}"]
    done = subprocess.run(
        ["journalctl", *chosen, "--lines=30", "--output=cat", "--no-pager", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.splitlines()


def _say(message: str) -> None:
    print(message, flush=True)
