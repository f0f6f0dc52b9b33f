"""The units that an app runs with, which its coordinator keeps while it runs.

Two things need them when units are made anew and the app runs:

- When its file became broken, or went away, the units stay as they are: without them systemd would close the
  listeners and forget how to restart a worker.
- A listener stays in the unit that holds it. systemd opens and closes the addresses of a socket unit when
  that starts and stops, and of one that runs it closes those that are no longer in its file, so an address
  that is new needs a unit of its own.
"""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from svc.folders import rollout_folder, rollout_folders

FOLDER = "units"  # in the coordinator's folder


@dataclass(frozen=True, slots=True)
class Running:
    """The units of an app that runs, by name; none when it does not run."""

    name: str = ""
    units: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, tuple[str, ...]]:
        """The addresses of each socket unit's file, as they stand in ListenStream=."""
        return {unit: found for unit, text in self.units.items() if (found := _values(text, "ListenStream"))}

    @property
    def sockets(self) -> list[str]:
        """The socket units that hold listeners, in the order in which workers name them."""
        return " ".join(_values(self.units.get(f"{self.name}.target", ""), "Wants", ".socket")).split()

    @property
    def workers(self) -> list[str]:
        """The units of its workers."""
        wanted = " ".join(_values(self.units.get(f"{self.name}.target", ""), "Wants")).split()
        return [unit for unit in wanted if unit.startswith(f"{self.name}@") and unit.endswith(".service")]

    @property
    def wanted_by(self) -> list[str]:
        """The units that start the app."""
        return " ".join(_values(self.units.get(f"{self.name}.target", ""), "WantedBy")).split()

    def without(self, addresses: set[str]) -> "Running":
        """Return what is left when these addresses are given up."""
        left = {}
        for unit, text in self.units.items():
            kept = "".join(
                line
                for line in text.splitlines(keepends=True)
                if line.rstrip("\n").removeprefix("ListenStream=") not in addresses
            )
            if unit not in self.files or _values(kept, "ListenStream"):
                left[unit] = kept
        return replace(self, units=left)


NOT_RUNNING = Running()


def _values(text: str, key: str, ending: str = "") -> tuple[str, ...]:
    return tuple(re.findall(rf"^{key}=(.*{re.escape(ending)})$", text, re.MULTILINE))


def file_of(unit: str, files: dict[str, tuple[str, ...]]) -> str:
    """Return the file among `files` that a socket unit is read from: its own, else its template's."""
    return unit if unit in files else re.sub(r"@[^@]*\.socket$", "@.socket", unit)


def running(name: str, *, user_scope: bool = False, root: str | None = None) -> Running:
    """Return the units that the app `name` runs with. What cannot be read is as good as absent."""
    folder = Path(rollout_folder(name, user_scope=user_scope, root=root), FOLDER)
    try:
        units = {
            path.name: path.read_text(encoding="utf-8")
            for path in sorted(folder.iterdir())
            if path.suffix in _SUFFIXES
        }
    except (OSError, UnicodeDecodeError):
        return NOT_RUNNING
    return Running(name, units) if f"{name}.target" in units else NOT_RUNNING


_SUFFIXES = {".target", ".service", ".socket"}


def running_names(*, user_scope: bool = False, root: str | None = None) -> list[str]:
    """Return the apps that may have such units."""
    try:
        folder = Path(rollout_folders(user_scope=user_scope, root=root))
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []
