"""svcctl check: everything that can be known to be wrong before systemd is told of an app."""

import os
import pwd
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from svc.app import App
from svc.config import AppFiles, SearchPath, warnings
from svc.config.document import Key, read
from svc.config.problems import Problem
from svc.ctl.select import select
from svc.units.generate import Outcome, render_all
from svc.units.host import Host, this_host
from svc.units.render import in_home, worker_count

_NEEDED = ("sdnotify", "uvicorn")
_MINIMUM_PYTHON = (3, 11)


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


def surroundings(app: App, files: AppFiles, host: Host) -> list[Problem]:
    """What the app needs of the host: its folder, its user, its program."""
    problems = []
    problem = read(files.main, files.dropins).problem  # knows file and line
    if app.directory and not _is_dir(app.directory):
        problems.append(
            problem(("directory",), f"{app.directory} is no directory", "create it, or correct the path")
        )
    elif app.directory and _is_hidden(app):
        problems.append(
            problem(
                ("directory",),
                f"{app.directory} is a link into a home, which workers cannot see",
                'write the path that it leads to, or ProtectHome = "read-only" in [service]',
            )
        )
    if app.user and not host.user_scope and not _user_exists(app.user):
        number = "--uid " * app.user.isdigit()
        create = f"`useradd --system {number}{app.user}{' NAME' if number else ''}`"
        cure = f"create it ({create}), or remove `user`: then systemd makes one"
        problems.append(problem(("user",), f"there is no user {app.user}", cure))
    for name, file in app.credentials:
        if not _may_exist(file):
            what = f"{file} does not exist, so no worker would start"
            cure = "create it, readable by root alone"
            problems.append(problem(("credentials", name), what, cure))
    program = _interpreter(app, host) if app.app else _program(app)
    return [*problems, *([problem(*program)] if program else [])]


def _is_dir(directory: str) -> bool:
    """Whether a directory is there, or lies where the caller may not look."""
    try:
        return Path(directory).is_dir()
    except PermissionError:
        return True


def _is_hidden(app: App) -> bool:
    """Whether a link leads into a home: only the path that is written is known where units are made."""
    named = any(name == "ProtectHome" for name, _ in app.service)
    return not named and not in_home(app.directory) and in_home(os.path.realpath(app.directory))


def _may_exist(file: str) -> bool:
    """Whether a file is there, or lies where the caller may not look."""
    try:
        return Path(file).exists()
    except PermissionError:
        return True


def _user_exists(user: str) -> bool:
    try:
        if user.isdigit():
            pwd.getpwuid(int(user))
        else:
            pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _program(app: App) -> tuple[Key, str, str] | None:
    from shutil import which

    # systemd looks for a bare name in its own path (systemd.service(5), "COMMAND LINES").
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    if which(app.command[0], path=path):
        return None
    return (
        ("command",),
        f"{app.command[0]} is not an executable file",
        "install it, or write its full path",
    )


def _interpreter(app: App, host: Host) -> tuple[Key, str, str] | None:
    needed = (*_NEEDED, "redis") if app.cluster.url else _NEEDED
    # Asked in the interpreter itself, which may be any: what it prints is what a worker would meet.
    script = (
        "import importlib.util as u, sys\n"
        f"print(sys.version_info[:2] >= {_MINIMUM_PYTHON}, '%d.%d' % sys.version_info[:2],"
        f" *[n for n in {needed} if u.find_spec(n) is None])"
    )
    try:
        done = subprocess.run(
            [app.python, "-c", script],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            cwd="/",
            env={"PATH": os.defpath, **dict(app.env)},  # as a worker has it, PYTHONPATH for one
            **_worker_user(app, host),
        )
        new_enough, version, *missing = done.stdout.split()
    except FileNotFoundError:
        venv = Path(app.python).parent.parent
        cure = f"create the virtual environment (`python3 -m venv {venv}`), or correct the path"
        return (("python",), f"{app.python} does not exist", cure)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return (("python",), f"{app.python} does not run: {error}", "name a Python interpreter")
    if new_enough != "True":
        cure = "make the virtual environment with Python 3.11 or newer"
        return (("python",), f"{app.python} is Python {version}", cure)
    if missing:
        what = f"{app.python} cannot import {' and '.join(missing)}"
        return (("python",), what, f"run `{_install(app, missing)}`")
    return None


def _worker_user(app: App, host: Host) -> dict[str, Any]:
    """Root runs nothing of an app's as root: whoever can write to its venv would become root by it."""
    if os.geteuid() or host.user_scope:
        return {}
    user = app.user or "nobody"
    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        return {"user": 65534, "group": 65534, "extra_groups": []}
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}


def _install(app: App, missing: list[str]) -> str:
    # A distribution's own interpreter takes its packages from the distribution (PEP 668).
    if app.python.startswith("/usr/bin/") and Path("/etc/debian_version").exists():
        return f"apt install {' '.join(f'python3-{name}' for name in missing)}"
    return f"{app.python} -m pip install {' '.join(missing)}"


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
