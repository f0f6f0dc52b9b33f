"""svcctl rollout: what `systemctl reload NAME.target` runs, as ExecReload= of the coordinator."""

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from svc.app import App
from svc.config import ConfigError, SearchPath, find, load
from svc.rollout import generation, journal
from svc.rollout.folder import Folder, Outcome, follow
from svc.rollout.listening import is_open
from svc.rollout.steps import RolloutFailed, roll_out, stale_units
from svc.rollout.systemd import Manager, SystemdError
from svc.units.host import Host, this_host

# The units that a generator wrote lie here; others were rendered into a package.
_GENERATED = "/generator"


def rollout(name: str, *, user_scope: bool) -> int:
    """Replace the workers of an app by ones with its newest version. Returns 1 when that failed."""
    began = time.time()
    manager, folder = Manager(user=user_scope), Folder.of(name, user_scope=user_scope)
    try:
        app, host = _load(name, user_scope=user_scope), this_host(user_scope=user_scope)
        _check_listeners(app)
        _check_running(name, manager)
        with _only_one(folder):
            _reload_units(app, host, manager)
            _roll_out(app, host, manager, folder)
    except (ConfigError, RolloutFailed, SystemdError) as error:
        _report(error, began, user_scope=user_scope)
        _fail_target(name, manager)
        return 1
    _say("done")
    return 0


@contextlib.contextmanager
def _only_one(folder: Folder) -> Iterator[None]:
    with contextlib.ExitStack() as holding:
        try:
            holding.enter_context(folder.lock())
        except OSError as error:
            raise _unwritable(folder, error) from error
        yield


def _roll_out(app: App, host: Host, manager: Manager, folder: Folder) -> None:
    digest = generation.started_with(app, host, manager.cat(f"{app.name}@0.service"))
    if app.reload.stamp and not digest:
        _say(
            f"the stamp, {app.reload.stamp}, is no file or link: if this breaks off, the next one begins anew"
        )
    record = follow(folder.read(), digest)
    try:
        folder.write(record)
    except OSError as error:
        raise _unwritable(folder, error) from error
    _say(f"generation {record.generation}")
    try:
        roll_out(app, host, manager, record.generation, _say)
    except RolloutFailed:
        with contextlib.suppress(OSError):  # then it stands there as one that was killed
            folder.write(replace(record, outcome=Outcome.FAILED))
        raise
    try:
        folder.write(replace(record, outcome=Outcome.DONE))
    except OSError as error:
        text = "all workers run the new version, but that cannot be written down"
        raise RolloutFailed(f"{text}: {folder.path}: {error.strerror}") from error


def _unwritable(folder: Folder, error: OSError) -> RolloutFailed:
    return RolloutFailed(f"nothing has changed: {folder.path}: {error.strerror}")


def _fail_target(name: str, manager: Manager) -> None:
    """Make `systemctl reload NAME.target` fail: only a cancelled job does that, since a failure does not
    travel from the coordinator to the target.

    Not when one more reload was asked for meanwhile, for which systemd runs this again: it has the last word.
    """
    own, targets = manager.reload_job(f"{name}.service"), manager.reload_job(f"{name}.target")
    if targets is not None and not (own is not None and own.waits):
        manager.cancel(targets.number)


def _load(name: str, *, user_scope: bool) -> App:
    files = find(SearchPath.user() if user_scope else SearchPath.system()).get(name)
    if files is None:
        raise RolloutFailed(f"the app file of {name} is gone; nothing has changed")
    return load(files)


def _check_running(name: str, manager: Manager) -> None:
    state = manager.state(f"{name}.service").active
    if state not in ("active", "reloading"):
        raise RolloutFailed(f"{name} does not run: start it with `systemctl start {name}.target`")


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
    """Say in one line why; then what the units that are to blame said last."""
    if isinstance(error, ConfigError):
        for problem in error.problems:
            _complain(f"rollout failed: {problem}")
        return
    said = {
        unit: journal.entries(unit, began, user_scope=user_scope)
        for unit in (error.units if isinstance(error, RolloutFailed) else ())
    }
    reasons = "".join(f": {journal.reason(entries)}" for entries in list(said.values())[:1])
    _complain(f"rollout failed: {error}{reasons}")
    for unit, entries in said.items():
        for line in journal.last_lines(entries):
            _complain(line if line.startswith(unit) else f"{unit}: {line}", priority=4)


def _complain(line: str, priority: int = 3) -> None:
    print(f"<{priority}>{line}", file=sys.stderr)


def _say(message: str) -> None:
    print(message, flush=True)
