"""Every app's units, and what stands in the way of some of them. The generator and svcctl share this."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from svc.app import App
from svc.config import AppFiles, ConfigError, SearchPath, conflicts, find, load
from svc.config.document import read
from svc.config.problems import Problem
from svc.units.collisions import Taken, check_free
from svc.units.host import Host
from svc.units.render import render, wanted_by
from svc.units.running import NOT_RUNNING, Running, running, running_names


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


def render_all(search: SearchPath, host: Host, root: str = "/", *, at_rest: bool = False) -> list[Outcome]:
    """Render every app that is found. A broken one costs that app alone.

    An app that runs keeps its listeners where they are, unless `at_rest`: units for a package.
    """
    found = find(search)
    loaded: dict[str, App] = {}
    problems: dict[str, tuple[Problem, ...]] = {}
    for name, files in found.items():
        try:
            loaded[name] = load(files)
        except ConfigError as error:
            problems[name] = error.problems
    for name, problem in conflicts(
        loaded.values(), lambda app: is_running(app, root, user_scope=host.user_scope)
    ).items():
        problems[name] = (_placed(problem, found[name]),)

    return [
        _outcome(
            files,
            loaded.get(name),
            problems.get(name, ()),
            host,
            root,
            NOT_RUNNING if at_rest else running(name, user_scope=host.user_scope, root=root),
        )
        for name, files in sorted(found.items())
    ]


def _placed(problem: Problem, files: AppFiles) -> Problem:
    """Name the file and the line: who compares apps does not know them."""
    place = read(files.main, files.dropins).problem((problem.key,), problem.what, problem.cure)
    return replace(problem, file=place.file, line=place.line)


def _outcome(
    files: AppFiles,
    app: App | None,
    problems: tuple[Problem, ...],
    host: Host,
    root: str,
    now: Running,
) -> Outcome:
    name = files.name
    if app is None or problems:
        return Outcome(name, files, app, {}, problems)
    units = render(app, host, now)
    try:
        free = check_free(units, user_scope=host.user_scope, root=root)
    except Taken as taken:
        what = f"the name `{name}` is taken by {taken.path}"
        cure = f"rename the file, for example to {name}-app.toml"
        if taken.cure:
            cure += f", {taken.cure}"
        return Outcome(name, files, app, {}, (Problem(app.source, None, "", what, cure),))
    return Outcome(name, files, app, units, (), static=not free)


def is_running(name: str, root: str = "/", *, user_scope: bool = False) -> bool:
    """Say whether an app's coordinator is active, without asking systemd.

    PID 1 keeps a link per running unit for journald (`unit_export_invocation_id()` in systemd's
    src/core/unit.c); nothing else is there for a generator, which may not talk to systemd.
    """
    run = Path(os.environ.get("XDG_RUNTIME_DIR") or "/nonexistent") if user_scope else Path(root, "run")
    return os.path.lexists(run / "systemd/units" / f"invocation:{name}.service")


def generate(search: SearchPath, host: Host, folder: Path, root: str = "/") -> list[str]:
    """Do the generator's work. Returns the errors, one line each. That an app yields is none.

    An app that runs and whose file is broken or gone keeps the units that it runs with.
    """
    messages: list[str] = []
    outcomes = render_all(search, host, root)
    for outcome in outcomes:
        messages += [str(problem) for problem in outcome.problems if not problem.yields]
        if outcome.app is not None and outcome.units and not outcome.static:
            messages += _write(outcome.name, outcome.units, wanted_by(outcome.app, host), folder)
    made = {outcome.name for outcome in outcomes if outcome.units}
    for name in running_names(user_scope=host.user_scope, root=root):
        if name not in made:
            kept = running(name, user_scope=host.user_scope, root=root)
            messages += _write(name, kept.units, kept.wanted_by, folder)
    return messages


def _write(name: str, units: dict[str, str], wanted_by: Iterable[str], folder: Path) -> list[str]:
    """Write one app's units and the links that start it at boot. Returns what went wrong."""
    target = f"{name}.target"
    try:
        for unit, text in units.items():
            (folder / unit).write_text(text, encoding="utf-8")
        for wanting in wanted_by if units else ():
            links = folder / f"{wanting}.wants"
            links.mkdir(exist_ok=True)
            link = links / target
            link.unlink(missing_ok=True)
            link.symlink_to(Path("..", target))
    except (OSError, UnicodeError) as error:
        return [f"{name}: cannot write the units: {error}"]
    return []
