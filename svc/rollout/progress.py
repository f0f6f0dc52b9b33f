"""What a rollout did, a line for each event, in the coordinator's folder: `svcctl reload` reads along.

Every user may read it, so it has nothing in it that a worker said.
"""

import contextlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from svc.rollout.events import Event, Outcome

NAME = "progress"


@dataclass(frozen=True, slots=True)
class Line:
    """An event that was written down. `at` is in seconds since the epoch."""

    at: float
    generation: str
    text: str
    units: tuple[str, ...]
    done: int
    total: int
    outcome: Outcome


class Writer:
    """Writes down the events of one rollout. A full disk must not end it, so errors are passed over."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._begun = False

    def write(self, event: Event, generation: str) -> None:
        """Write an event down; the first one takes the place of what an earlier rollout left."""
        line = Line(
            round(time.time(), 3),
            generation,
            event.text,
            tuple(event.units),
            event.done,
            event.total,
            event.outcome,
        )
        with contextlib.suppress(OSError):
            if not self._begun:
                self._path.unlink(missing_ok=True)
                self._begun = True
            with self._path.open("a") as file:
                file.write(json.dumps(asdict(line)) + "\n")


def read(folder: Path) -> list[Line]:
    """Return what the rollout that runs, or else the last one, has done so far."""
    try:
        whole, _, _ = (folder / NAME).read_text().rpartition("\n")
        return [_line(text) for text in whole.splitlines()]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _line(text: str) -> Line:
    found = json.loads(text)
    return Line(**found | {"units": tuple(found["units"]), "outcome": Outcome(found["outcome"])})
