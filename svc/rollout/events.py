"""What happens in a rollout, one line each: for the journal, for whoever watches, for the next rollout."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum


class Message(Enum):
    """What the journal has an id for; packaging/svc.catalog explains each one (journalctl --catalog)."""

    BEGUN = "6d72867c17984984b57340374b6fed04"
    SURGE = "06724aa9d06946218812ce7cf45a1df1"
    READY = "b5f87695fe6c478d818769bdf90ba13c"
    NOTE = "ca0318d7026d4fb88760e965ef533416"
    DONE = "4f261d5434a14efb8cdbe8574b7558d3"
    FAILED = "ed4225dab5de4a078a278b3682205896"
    ABORTED = "dbbb1fa485504c9fb05d39c12b182e99"
    WORKER = "49929717e6ad4783b40fec4b3ae88cf3"


class Outcome(StrEnum):
    """How a rollout stands. One whose process was killed stays `RUNNING`."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class Event:
    """One line. `units` are those that it is about; `done` of `total` workers run the new version by now.

    Without a message it is for those who watch, not for the journal: systemd says the same.
    """

    text: str
    message: Message | None = None
    units: Sequence[str] = ()
    done: int = 0
    total: int = 0
    outcome: Outcome = Outcome.RUNNING


def slot_of(unit: str) -> str:
    """Return the slot of a worker's unit: "3" of app@3.service."""
    return unit.partition("@")[2].removesuffix(".service")
