"""Which apps a command is about."""

import sys
from collections.abc import Iterable

from svc.config import SearchPath, find
from svc.config.problems import printable
from svc.units.generate import Outcome


def select(outcomes: list[Outcome], names: list[str], search: SearchPath) -> list[Outcome] | None:
    """Return the outcomes of the named apps, of all when none is named; None when a name is unknown."""
    known = {outcome.name: outcome for outcome in outcomes}
    unknown = [name for name in names if name not in known]
    for name in unknown:
        say_unknown(name, known, search)
    if unknown:
        return None
    return [known[name] for name in names] if names else outcomes


def say_unknown(name: str, known: Iterable[str], search: SearchPath) -> None:
    """Tell that there is no such app, which there are, and where one would be written."""
    apps = ", ".join(map(printable, known)) or "there is none"
    file = search.directories[0] / f"{name}.toml"
    print(f"svcctl: no app is called {name} (apps: {apps}); write {file}", file=sys.stderr)


def say_stopped(name: str, *, user_scope: bool) -> None:
    """Tell that an app does not run, and how to start it; or that there is none of that name."""
    search = SearchPath.user() if user_scope else SearchPath.system()
    known = find(search)
    if name not in known:
        say_unknown(name, known, search)
        return
    command = f"systemctl {'--user ' * user_scope}start {name}.target"
    print(f"svcctl: {name} does not run: start it with `{command}`", file=sys.stderr)
