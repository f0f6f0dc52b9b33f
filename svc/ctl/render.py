"""svcctl render: the units as the generator would write them."""

import sys
from dataclasses import replace
from pathlib import Path

from svc.config import SearchPath
from svc.ctl.select import select
from svc.units.generate import Outcome, render_all
from svc.units.host import this_host


def render(
    names: list[str], output: str | None, *, user_scope: bool, systemd: int | None, cpus: int | None
) -> int:
    """Print units, or write them to `output`. Returns 1 when an app has errors; the others come out.

    `systemd` and `cpus` stand for those of this host.
    """
    host = this_host(user_scope=user_scope)
    host = replace(host, systemd=systemd or host.systemd, cpus=cpus or host.cpus)
    search = SearchPath.user() if user_scope else SearchPath.system()
    outcomes = select(render_all(search, host, at_rest=output is not None), names, search)
    if outcomes is None:
        return 1
    for outcome in outcomes:
        for problem in outcome.problems:
            print(f"svcctl: {problem}", file=sys.stderr)
        if output is None:
            _show(outcome)
        else:
            _write(outcome, Path(output))
    return 1 if any(outcome.problems for outcome in outcomes) else 0


def _show(outcome: Outcome) -> None:
    for unit, text in outcome.units.items():
        print(f"# ── {unit}\n{text}")


def _write(outcome: Outcome, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for unit, text in outcome.units.items():
        (folder / unit).write_text(text, encoding="utf-8")
        (folder / unit).chmod(0o644)  # systemd reads units as root, everybody else to see what runs
        print(folder / unit)
