"""Slots and what stands for them: each has its own number in a message, and its own record."""

import pytest

from svc.cluster import slots
from svc.cluster.bus import wire

ALL = [*range(slots.CAPACITY), *map(slots.surge_name, range(1, slots.SURGES + 1))]


def test_there_and_back() -> None:
    assert [slots.parse(str(slot)) for slot in ALL] == ALL
    assert [wire.slot_of(wire.number_of(slot)) for slot in ALL] == ALL
    assert [slots.of_record(slots.record(slot)) for slot in ALL] == ALL
    assert sorted(map(slots.record, ALL)) == list(range(len(ALL)))


def test_the_names_of_surge_workers() -> None:
    assert [slots.surge_name(1), slots.surge_name(2)] == ["surge", "surge-2"]
    assert [slots.surge_number(slot) for slot in ("surge", "surge-2", 3, "3")] == [1, 2, 0, 0]


@pytest.mark.parametrize("name", ["surge-1", "surge-65", "surge-x", "", "x"])
def test_what_is_no_slot(name: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        slots.parse(name)


def test_a_program_that_is_no_worker_has_no_slot() -> None:
    assert wire.slot_of(wire.OUTSIDER) is None
