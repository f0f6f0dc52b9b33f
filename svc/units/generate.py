"""Every app's units, and what stands in the way of some of them. The generator and svcctl share this."""

import os
from dataclasses import dataclass
from pathlib import Path

from svc.app import App
from svc.config import AppFiles, ConfigError, SearchPath, conflicts, find, load
from svc.config.problems import Problem
from svc.units.collisions import Taken, check_free
from svc.units.host import Host, this_host
from svc.units.render import render, wanted_by


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one app: its units, or the problems that kept them from being made.

    `static` says that its units were rendered into the vendor's folder: nothing is to be generated.
    """

    name: str
    files: AppFiles
    app: App | None
    units: dict[str, str]
    problems: tuple[Problem, ...]
    static: bool = False


def render_all(search: SearchPath, host: Host, root: str = "/") -> list[Outcome]:
    """Render every app that is found. A broken one costs that app alone."""
    found = find(search)
    loaded: dict[str, App] = {}
    problems: dict[str, tuple[Problem, ...]] = {}
    for name, files in found.items():
        try:
            loaded[name] = load(files)
        except ConfigError as error:
            problems[name] = error.problems
    for name, problem in conflicts(loaded.values(), lambda app: is_running(app, root)).items():
        problems[name] = (problem,)

    return [
        _outcome(name, files, loaded.get(name), problems.get(name, ()), host, root)
        for name, files in sorted(found.items())
    ]


def _outcome(
    name: str, files: AppFiles, app: App | None, problems: tuple[Problem, ...], host: Host, root: str
) -> Outcome:
    if app is None or problems:
        return Outcome(name, files, app, {}, problems)
    units = render(app, host)
    try:
        free = check_free(units, user_scope=host.user_scope, root=root)
    except Taken as taken:
        what = f"the name `{name}` is taken by {taken.path}"
        cure = f"rename the file, for example to {name}-app.toml"
        return Outcome(name, files, app, {}, (Problem(app.source, None, "", what, cure),))
    return Outcome(name, files, app, units, (), static=not free)


def is_running(name: str, root: str = "/") -> bool:
    """Say whether an app's coordinator is active, without asking systemd.

    PID 1 keeps a link per running unit for journald (`unit_export_invocation_id()` in systemd's
    src/core/unit.c); nothing else is there for a generator, which may not talk to systemd.
    """
    return os.path.lexists(Path(root, "run/systemd/units", f"invocation:{name}.service"))


def write(outcome: Outcome, host: Host, folder: Path) -> None:
    """Write one app's units and the links that start it at boot."""
    if outcome.app is None or outcome.problems or outcome.static:
        return
    for unit, text in outcome.units.items():
        (folder / unit).write_text(text)
    target = f"{outcome.name}.target"
    for wanting in wanted_by(outcome.app, host):
        links = folder / f"{wanting}.wants"
        links.mkdir(exist_ok=True)
        link = links / target
        link.unlink(missing_ok=True)
        link.symlink_to(Path("..", target))


def generate(folder: str, *, user_scope: bool) -> list[str]:
    """Do the generator's work. Returns the errors, one line each."""
    search = SearchPath.user() if user_scope else SearchPath.system()
    host = this_host(user_scope=user_scope)
    messages: list[str] = []
    for outcome in render_all(search, host):
        messages += map(str, outcome.problems)
        try:
            write(outcome, host, Path(folder))
        except OSError as error:
            messages.append(f"{outcome.files.main}: cannot write the units: {error}")
    return messages
