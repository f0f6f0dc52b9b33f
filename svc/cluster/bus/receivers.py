"""Who can be written to."""

from svc.cluster.errors import NoSuchSlot
from svc.cluster.scoreboard import Record
from svc.cluster.slots import Slot, surge_number

GONE_SECONDS = 60.0
"""How long a worker must have been away until a broadcast leaves it out, if its queue is full."""


class Receivers:
    """The workers of the app, as one of them, whose record is `own`, sees them."""

    def __init__(self, slots: int, own: Record) -> None:
        self._slots = slots
        self._own = own
        self._all: list[Slot] = [*range(slots)]
        self._others: list[Slot] = [slot for slot in self._all if slot != own.slot]

    def all(self, *, include_self: bool) -> list[Slot]:
        """Return those that a broadcast goes to."""
        found = self._all if include_self else self._others
        surges = [name for name in self._own.surges() if include_self or name != self._own.slot]
        return [*found, *surges] if surges else found

    def check(self, slot: Slot) -> None:
        """Raise NoSuchSlot unless the app has this slot."""
        if not surge_number(slot) and not (isinstance(slot, int) and 0 <= slot < self._slots):
            raise NoSuchSlot(f"there is no worker {slot!r}: the slots are 0 to {self._slots - 1}")

    def gone(self, slot: Slot) -> bool:
        """Say whether a worker whose queue is full has been away for so long that nobody waits for it."""
        return self._own.away(slot) > GONE_SECONDS
