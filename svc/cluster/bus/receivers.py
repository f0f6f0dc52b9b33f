"""Who can be written to."""

from svc.cluster.errors import NoSuchSlot
from svc.cluster.scoreboard import Record, Slot

GONE_SECONDS = 60.0
"""How long a worker must have been away until a broadcast leaves it out, if its queue is full."""


class Receivers:
    """The workers of the app, as one of them, whose record is `own`, sees them."""

    def __init__(self, slots: int, own: Record) -> None:
        self._slots = slots
        self._own = own

    def all(self, *, include_self: bool) -> list[Slot]:
        """Return those that a broadcast goes to."""
        found: list[Slot] = [*range(self._slots)]
        if self._own.says("surge"):
            found.append("surge")
        if not include_self and self._own.slot in found:
            found.remove(self._own.slot)
        return found

    def check(self, slot: Slot) -> None:
        """Raise NoSuchSlot unless the app has this slot."""
        if slot != "surge" and not (isinstance(slot, int) and 0 <= slot < self._slots):
            raise NoSuchSlot(f"there is no worker {slot!r}: the slots are 0 to {self._slots - 1}")

    def gone(self, slot: Slot) -> bool:
        """Say whether a worker whose queue is full has been away for so long that nobody waits for it."""
        return self._own.away(slot) > GONE_SECONDS
