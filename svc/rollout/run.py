"""One rollout from beginning to end: configuration is read, units are made anew, workers are replaced."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from svc import turn
from svc.app import App
from svc.config import ConfigError, SearchPath, find, load
from svc.rollout import generation
from svc.rollout.addresses import give_up, open_new
from svc.rollout.brake import Brake
from svc.rollout.events import Event, Message, Outcome
from svc.rollout.folder import Folder, Record, follow
from svc.rollout.steps import RolloutFailed, roll_out
from svc.rollout.systemd import Manager
from svc.rollout.telling import Teller
from svc.units.host import Host, this_host
from svc.units.render import SHUTDOWN_MARGIN, render
from svc.units.running import Running, running

# The units that a generator wrote lie here; others were rendered into a package.
_GENERATED = "/generator"

# What systemd itself may need between a worker's end and its successor's start, in seconds.
_RESTART_SLACK = 5.0


class NotRunning(RolloutFailed):
    """There is nothing to replace."""


class BadConfiguration(RolloutFailed):
    """The app file is not to be used; `error` says why."""

    def __init__(self, name: str, error: ConfigError) -> None:
        super().__init__(f"nothing has changed: the app file is not valid (`svcctl check {name}`)")
        self.error = error


def run(name: str, manager: Manager, folder: Folder, tell: Teller, brake: Brake, *, user_scope: bool) -> None:
    """Replace the workers of an app by ones with its newest version.

    Raises RolloutFailed; SystemdError when systemd is not to be reached. Waits while another one runs.
    """
    if manager.state(f"{name}.service").active not in ("active", "reloading"):
        raise NotRunning(f"{name} does not run: start it with `systemctl start {name}.target`")
    with contextlib.ExitStack() as holding:
        with _writing(folder, "nothing has changed"):
            holding.enter_context(folder.lock())
        folder.take_success()
        app, host = _load(name, user_scope=user_scope), this_host(user_scope=user_scope)
        before = running(name, user_scope=user_scope)
        units = render(app, host, before)
        generated = _reload_units(units, manager, tell)
        now = Running(name, units)
        with _writing(folder, "nothing has changed"):
            opened = open_new(app, now, manager, folder)

        def waiting() -> None:
            text = "a worker has reached a limit and replaces itself: waiting until it is back"
            tell(Event(text, Message.NOTE))

        def proven() -> None:
            nonlocal now
            if generated:
                with _writing(folder, "no worker was replaced yet"):
                    now = give_up(app, host, now, manager, folder)

        with turn.shared(turn.folder_of(name, user_scope=user_scope), _patience(app), waiting) as had:
            if not had:
                tell(Event("that worker did not come back in time; going on", Message.NOTE))
            record = _begin(app, host, manager, folder, tell)
            try:
                total = roll_out(app, host, manager, record.generation, tell, brake, proven, before.workers)
            except RolloutFailed as error:
                if opened and not error.done and now.units == units:
                    manager.stop(opened)  # nobody accepts there: a client would wait for ever
                    with contextlib.suppress(OSError):
                        folder.keep(before.units)
                raise
        with _writing(folder, "all workers run the new version, but that cannot be written down"):
            if generated:
                folder.keep(now.units)
            folder.write(replace(record, finished=total > 0))  # a version that nobody ran is not proven
            folder.succeed()
        who = f"{total} workers run" if total != 1 else "1 worker runs"
        text = f"{who} generation {record.generation}"
        tell(Event(text, Message.DONE, (), total, total, Outcome.DONE))


def _patience(app: App) -> float:
    """How long a worker may take that replaces itself: its drain and shutdown, then its successor's start."""
    return app.limits.drain + SHUTDOWN_MARGIN + app.limits.start + _RESTART_SLACK


def _begin(app: App, host: Host, manager: Manager, folder: Folder, tell: Teller) -> Record:
    """Find out what this rollout brings, and tell workers that start from now on."""
    digest = generation.started_with(app, host, manager.cat(f"{app.name}@0.service"))
    record = follow(folder.read(), digest)
    with _writing(folder, "nothing has changed"):
        folder.write(record)
    tell.generation = record.generation
    tell(Event(f"rolling out generation {record.generation}", Message.BEGUN))
    if app.reload.stamp and not digest:
        text = f"the stamp {app.reload.stamp} is no file or link: the next rollout cannot continue this one"
        tell(Event(text, Message.NOTE))
    return record


@contextlib.contextmanager
def _writing(folder: Folder, state: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RolloutFailed(f"{state}: {error.filename or folder.path}: {error.strerror}") from error


def _load(name: str, *, user_scope: bool) -> App:
    files = find(SearchPath.user() if user_scope else SearchPath.system()).get(name)
    if files is None:
        raise RolloutFailed("nothing has changed: the app file is gone, or masked")
    try:
        return load(files)
    except ConfigError as error:
        raise BadConfiguration(name, error) from error


def _reload_units(units: dict[str, str], manager: Manager, tell: Teller) -> bool:
    """Make systemd read the units anew when it has others. Returns whether a generator writes them."""
    # A template has no state of its own: any instance of it tells its file.
    instances = {unit: unit.replace("@.", "@0.") for unit in units}
    found = manager.show(list(instances.values()), "FragmentPath", "NeedDaemonReload")
    shown = {unit: found[instance] for unit, instance in instances.items()}
    generated = any(_GENERATED in one.get("FragmentPath", "") for one in shown.values())
    outdated = any(one.get("NeedDaemonReload") == "yes" for one in shown.values())
    if outdated or (generated and any(_text(shown[unit]) != text for unit, text in units.items())):
        tell(Event("the configuration changed: reading the units anew", Message.NOTE))
        manager.daemon_reload()
    return generated


def _text(shown: dict[str, str]) -> str:
    path = shown.get("FragmentPath", "")
    return Path(path).read_text(encoding="utf-8") if path and Path(path).exists() else ""
