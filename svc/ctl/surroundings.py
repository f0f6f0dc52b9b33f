"""What an app needs of the host, and what of it is not there: its folder, its user, its program."""

import grp
import os
import pwd
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from svc.app import App
from svc.config import AppFiles
from svc.config.document import Key, read
from svc.config.problems import Problem
from svc.units.host import Host
from svc.units.render import in_home

_NEEDED = ("sdnotify", "uvicorn")
_MINIMUM_PYTHON = (3, 11)


def surroundings(app: App, files: AppFiles, host: Host) -> list[Problem]:
    """What the app needs of the host: its folder, its user, its program."""
    problems = []
    problem = read(files.main, files.dropins).problem  # knows file and line
    if app.directory and not _seems(Path(app.directory).is_dir):
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
        if not _seems(Path(file).exists):
            what = f"{file} does not exist, so no worker would start"
            cure = "create it, readable by root alone"
            problems.append(problem(("credentials", name), what, cure))
    program = _interpreter(app, host) if app.app else _program(app)
    return [*problems, *([problem(*program)] if program else [])]


def _is_hidden(app: App) -> bool:
    """Whether a link leads into a home: only the path that is written is known where units are made."""
    named = any(name == "ProtectHome" for name, _ in app.service)
    return not named and not in_home(app.directory) and in_home(os.path.realpath(app.directory))


def _seems(test: Callable[[], bool]) -> bool:
    """Whether something is so, or lies where the caller may not look."""
    try:
        return test()
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
    own, more = _groups(app, "Group"), _groups(app, "SupplementaryGroups")
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return {"user": entry.pw_uid, "group": (own or [entry.pw_gid])[-1], "extra_groups": [*groups, *more]}


def _groups(app: App, directive: str) -> list[int]:
    """The groups that [service] names in a directive (systemd.exec(5)), but for those that do not exist."""
    found: list[int] = []
    for name, value in app.service:
        if name != directive:
            continue
        if not value:
            found.clear()
        for group in value.split():
            with suppress(KeyError):
                found.append(int(group) if group.isdigit() else grp.getgrnam(group).gr_gid)
    return found


def _install(app: App, missing: list[str]) -> str:
    # A distribution's own interpreter takes its packages from the distribution (PEP 668).
    if app.python.startswith("/usr/bin/") and Path("/etc/debian_version").exists():
        return f"apt install {' '.join(f'python3-{name}' for name in missing)}"
    return f"{app.python} -m pip install {' '.join(missing)}"
