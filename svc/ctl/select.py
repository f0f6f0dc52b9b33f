"""Which apps a command is about."""

import sys

from svc.units.generate import Outcome


def select(outcomes: list[Outcome], names: list[str]) -> list[Outcome] | None:
    """Return the outcomes of the named apps, of all when none is named; None when a name is unknown."""
    known = {outcome.name: outcome for outcome in outcomes}
    unknown = [name for name in names if name not in known]
    for name in unknown:
        apps = ", ".join(known) or "there is none"
        print(f"svcctl: no app is called {name} (apps: {apps}); write /etc/svc/{name}.toml", file=sys.stderr)
    if unknown:
        return None
    return [known[name] for name in names] if names else outcomes
