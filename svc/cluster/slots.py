"""Slots: which worker of its app a member is. Pure.

A number from 0 on, or "surge", "surge-2", … for the extra workers of a rollout.
"""

Slot = int | str

SURGES = 64
"""The most surge workers that an app may have."""

CAPACITY = 1024
"""The most slots that an app may have."""

SURGE_NAMES = ("surge", *(f"surge-{number}" for number in range(2, SURGES + 1)))
_NUMBERS: dict[Slot, int] = {name: number for number, name in enumerate(SURGE_NAMES, 1)}


def parse(text: str) -> Slot:
    """Return the slot of a worker by its name in its unit. Raises ValueError."""
    return text if surge_number(text) else int(text)


def surge_name(number: int) -> str:
    """Return the name of a surge worker; the first one is number 1."""
    return SURGE_NAMES[number - 1]


def surge_number(slot: Slot) -> int:
    """Return which surge worker it is, 1 for the first; 0 when it is none."""
    return _NUMBERS.get(slot, 0)


def record(slot: Slot) -> int:
    """Return the place of a slot's record on the scoreboard."""
    if number := surge_number(slot):
        return 0 if number == 1 else CAPACITY + number - 1
    return 1 + int(slot)


def of_record(place: int) -> Slot:
    """Return the slot whose record is at a place."""
    if 1 <= place <= CAPACITY:
        return place - 1
    return surge_name(1 if place == 0 else place - CAPACITY + 1)
