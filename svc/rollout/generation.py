"""Generations: what a worker runs, told apart by what it was started with.

A generation is a number and a digest, `3-9f2c41ab`. The number grows with each rollout, because whoever asks
for one means that something is new. The digest covers all that a worker is started with; a rollout that was
broken off is continued only when it is known and still the same, so no slot keeps a version that has changed
since. A worker finds its own in $SVC_GENERATION; "0" is what the app was started with.
"""

import hashlib
import stat
from collections.abc import Iterable
from pathlib import Path

from svc.app import App
from svc.units.host import Host

VARIABLE = "SVC_GENERATION"


def digest(parts: Iterable[str | None]) -> str:
    """Return the digest of all parts in hexadecimal; empty when one of them is not known."""
    found = hashlib.sha256()
    for part in parts:
        if part is None:
            return ""
        found.update(part.encode("utf-8", "surrogateescape") + b"\0")
    return found.hexdigest()[:16]


def name(number: int, of: str) -> str:
    """Return a generation as people and workers see it."""
    return f"{number}-{of[:8]}" if of else str(number)


def started_with(app: App, host: Host, unit: str) -> str:
    """Return the digest of all that a worker is started with; `unit` is the text of its unit.

    Empty without a stamp: then nothing tells one version of the app's code from the next.
    """
    stamp = file(app.reload.stamp) if app.reload.stamp else None
    program = app.python if app.app else app.command[0]
    files = [f"{host.library}/svc/__init__.py", *(path for _, path in app.credentials)]
    if program.startswith("/"):
        files.append(program)
    return digest([unit, stamp, *map(file, files)])


def file(name: str) -> str | None:
    """Return what tells one state of a file or link from the next; None when that cannot be known.

    The change time, not the modification time: unpacking an archive sets the latter. Of a directory that a
    link leads to only the identity counts, since whoever writes into it changes its times.
    """
    path = Path(name)
    try:
        link, found, real = path.lstat(), path.stat(), path.resolve()
    except (OSError, ValueError):
        return None
    state = f"{real} {found.st_dev}:{found.st_ino}"
    if not stat.S_ISDIR(found.st_mode):
        return f"{state} {link.st_ctime_ns} {found.st_size} {found.st_ctime_ns}"
    if real == path:
        return None  # a directory that no link leads to stays the same whatever is put into it
    return f"{state} {link.st_ctime_ns if stat.S_ISLNK(link.st_mode) else ''}"


def of_process(pid: int, proc: Path = Path("/proc")) -> str | None:
    """Return the generation that a process was started as; None when that cannot be known."""
    try:
        variables = (proc / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return None
    prefix = f"{VARIABLE}=".encode()
    found = [one.removeprefix(prefix) for one in variables if one.startswith(prefix)]
    return found[-1].decode("utf-8", "replace") if found else None
