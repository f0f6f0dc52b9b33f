"""Names that are taken: a unit of an app may never stand in for a unit of somebody else."""

import os
from collections.abc import Iterable
from pathlib import Path

# Where packages keep units (systemd.unit(5), "UNIT FILE LOAD PATH").
_VENDOR = {
    False: ("usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"),
    True: (
        "usr/local/lib/systemd/user",
        "usr/lib/systemd/user",
        "usr/local/share/systemd/user",
        "usr/share/systemd/user",
    ),
}
# What an administrator puts there overrides ours. On purpose, if it is a mask or a copy of ours (`systemctl
# edit --full` keeps the header). A service that had the name before svc came would take all reloads, and
# replace nobody.
_OWN = {False: ("etc/systemd/system", "run/systemd/system"), True: ("etc/systemd/user", "run/systemd/user")}
_HEADER = b"# Written by svc from "


class Taken(Exception):
    """A unit's name belongs to somebody else. `path` is the file that has it, `cure` what else helps."""

    def __init__(self, path: Path, cure: str = "") -> None:
        super().__init__(str(path))
        self.path = path
        self.cure = cure


def check_free(units: Iterable[str], *, user_scope: bool, root: str = "/") -> bool:
    """Say whether these units may be generated.

    Returns False when the same units were rendered into the vendor's folder (`svcctl render
    --output`): then there is nothing to generate. Raises Taken when a name belongs to a unit
    that svc did not write, or to an init script (systemd makes a unit of that name from it).
    """
    free = True
    for unit in units:
        for folder in _OWN[user_scope]:
            path = Path(root, folder, unit)
            if path.is_file() and not _written_by_svc(path):  # a mask is no regular file
                raise Taken(path, "or remove that one")
        for folder in _VENDOR[user_scope]:
            path = Path(root, folder, unit)
            if not os.path.lexists(path):
                continue
            if not _written_by_svc(path):
                raise Taken(path)
            free = False
        if not user_scope and unit.endswith(".service"):
            script = Path(root, "etc/init.d", unit.removesuffix(".service"))
            if script.exists():
                raise Taken(script)
    return free


def _written_by_svc(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_HEADER)) == _HEADER
    except OSError:
        return False
