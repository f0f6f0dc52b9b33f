"""When jobs are due. The beginning of each is kept in the runtime directory, so that its period goes on when
another worker takes over, and no period has two.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from svc.cluster.names import file_name


@dataclass(frozen=True, slots=True)
class Job:
    """A function and its period in seconds. A blocking one runs in a thread."""

    function: Callable[[], Any]
    seconds: float
    name: str
    blocking: bool


def next_due(last: float | None, period: float, now: float) -> float:
    """Return when a job is due that last began at `last`: periods that have passed are not made up for."""
    if last is None or last > now + period:  # the clock of this host began anew
        return now
    due = last + period
    if due < now - period:
        due += (now - due) // period * period
    return due


class Stamp:
    """The file that says when a job last began, in seconds of CLOCK_MONOTONIC."""

    def __init__(self, directory: Path, name: str) -> None:
        """`directory` is the runtime directory of the app. Raises OSError."""
        folder = directory / "every"
        folder.mkdir(mode=0o700, exist_ok=True)
        self._path = folder / file_name(name)

    def begin(self, period: float, now: float) -> float:
        """Return the seconds until the job is due; 0.0 when it is, and that it begins has been noted. Raises
        OSError.
        """
        due = next_due(self.read(), period, now)
        if due > now:
            return due - now
        self.write(due)
        return 0.0

    def read(self) -> float | None:
        """Return the time, None when it has never begun since the host did."""
        try:
            return float(self._path.read_text())
        except (OSError, ValueError):
            return None

    def write(self, due: float) -> None:
        """Note that it begins. Raises OSError."""
        new = self._path.with_name(f"{self._path.name}.new")
        new.write_text(repr(due))
        new.replace(self._path)  # a crash leaves the old one or the new one
