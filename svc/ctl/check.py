"""svcctl check: everything that can be known to be wrong before systemd is told of an app."""

import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from svc.config import SearchPath, warnings
from svc.config.problems import Problem
from svc.ctl.select import select
from svc.ctl.surroundings import surroundings
from svc.units.generate import Outcome, render_all
from svc.units.host import Host, this_host
from svc.units.render import worker_count


def check(names: list[str], *, user_scope: bool) -> int:
    """Print what is wrong with apps and what they will become. Returns 1 when one has an error.

    That an app yields to another, or that an example of a package cannot start here, is one only for
    who asks for that app by its name.
    """
    host = this_host(user_scope=user_scope)
    search = SearchPath.user() if user_scope else SearchPath.system()
    outcomes = select(render_all(search, host), names, search)
    if outcomes is None:
        return 1
    if not outcomes:
        print(f"no app: write one to {search.directories[0]}/NAME.toml (see svc.toml(5))")
    failed = False
    for outcome in outcomes:
        problems = [*outcome.problems]
        if not names and any(problem.yields for problem in problems):
            for problem in problems:
                print(f"note: {problem}")
            continue
        if outcome.app is not None:
            found = surroundings(outcome.app, outcome.files, host)
            if found and not names and _is_example(outcome, search):
                print(f"note: {found[0]}")
                continue
            problems += found
            problems += _verify(outcome, host)
            for warning in warnings(outcome.files):
                print(f"warning: {warning}")
        for problem in problems:
            print(f"error: {problem}", file=sys.stderr)
        failed = failed or bool(problems)
        if outcome.static:
            print(f"note: the units of {outcome.name} are a package's; changes of its files do nothing")
        if outcome.app is not None and not problems:
            workers = worker_count(outcome.app, host)
            addresses = ", ".join(map(str, outcome.app.listen))
            print(f"{outcome.name}: ok, {workers} worker{'s' * (workers > 1)} on {addresses}")
    return int(failed)


def _is_example(outcome: Outcome, search: SearchPath) -> bool:
    """Whether an app came with a package and starts only by hand: what it needs may not be there."""
    assert outcome.app is not None
    return outcome.app.wanted_by == () and outcome.files.main.parent != search.directories[0]


def _verify(outcome: Outcome, host: Host) -> list[Problem]:
    """Let systemd itself read the units, if there are any."""
    if not outcome.units:
        return []
    with TemporaryDirectory() as folder:
        for unit, text in outcome.units.items():
            Path(folder, unit).write_text(text, encoding="utf-8")
        # A template is read by way of an instance.
        units = [str(Path(folder, unit.replace("@.", "@0."))) for unit in outcome.units]
        scope = ["--user"] if host.user_scope else []
        try:
            done = subprocess.run(
                ["systemd-analyze", *scope, "verify", "--man=no", *units],
                capture_output=True,
                text=True,
                check=False,
            )
        except FileNotFoundError:
            return []  # a build host without systemd still checks the rest
    if done.returncode == 0 and not done.stderr:
        return []
    source = outcome.files.main
    # It reads what the app's units depend on as well: what is wrong there is not this app's.
    own = re.compile(rf"(^|[\s/]){re.escape(outcome.name)}(-bus|-wake)?(@\S*)?\.(service|socket|target)\b")
    lines = dict.fromkeys(
        line.replace(f"{folder}/", "") for line in done.stderr.splitlines() if own.search(line)
    )
    return [
        Problem(source, None, "", f"systemd says: {line}", "correct the pass-through section")
        for line in lines
    ]
