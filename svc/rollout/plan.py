"""What a rollout will do, from what the workers are at."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from svc.app import App
from svc.cluster.slots import surge_name
from svc.rollout.systemd import UnitState
from svc.units.host import Host
from svc.units.render import worker_count, worker_units

# What systemd does not know has never run.
_UNKNOWN = UnitState("inactive", "dead", "success", "", started=False, job=0)


class View(Protocol):
    """What a plan needs to see; `svc.rollout.systemd.Manager` is the real one."""

    def loaded(self, pattern: str) -> dict[str, UnitState]: ...
    def generation(self, pid: int) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rollout will do: the surge units, the batches of slots to restart, and those to start, which
    never ran (the app has grown).

    `current` are slots that run the new generation already, `resting` those that an operator stopped,
    `surplus` those that the app has no longer, and `left_behind` surge workers of a rollout that was killed.
    """

    surge: tuple[str, ...]
    batches: tuple[tuple[str, ...], ...]
    start: tuple[tuple[str, ...], ...]
    current: tuple[str, ...]
    resting: tuple[str, ...]
    surplus: tuple[str, ...]
    left_behind: tuple[str, ...]
    masked: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """How many workers will run the new generation."""
        return len(self.current) + sum(map(len, (*self.batches, *self.start)))


def is_resting(state: UnitState) -> bool:
    """Say whether an operator stopped or masked a worker.

    One that ended badly when it was stopped is `failed`. With Restart=always nothing else is, but for what
    systemd could not start at all.
    """
    if state.active == "failed":
        return state.restart == "always" and state.result not in ("start-limit-hit", "resources")
    return state.active == "inactive" and (state.started or state.load == "masked")


def plan(app: App, host: Host, view: View, generation: str, had: Collection[str] = ()) -> Plan:
    """Look at the workers and decide what to do with each so that all run `generation`.

    `had` are the workers that the app had until now, where that is known: no other was stopped by hand.
    """
    slots = worker_units(app, host)
    found = view.loaded(f"{app.name}@*.service")
    states = {unit: found.get(unit, _UNKNOWN) for unit in slots}
    current = tuple(
        unit
        for unit in slots
        if states[unit].active == "active" and view.generation(states[unit].pid) == generation
    )
    resting = tuple(unit for unit in slots if is_resting(states[unit]) and (not had or unit in had))
    start = tuple(unit for unit in slots if states[unit].active == "inactive" and unit not in resting)
    running = [unit for unit in slots if unit not in {*resting, *start, *current}]
    size = batch_size(app.reload.batch, worker_count(app, host))
    left = [unit for unit in alive(found) if unit not in states]
    return Plan(
        surge=surge_units(app.name, min(app.reload.surge, len(running) + len(start))),
        batches=_divide(running, size),
        start=_divide(start, size),
        current=current,
        resting=resting,
        surplus=tuple(unit for unit in left if not is_surge(unit)),
        left_behind=tuple(unit for unit in left if is_surge(unit)),
        masked=tuple(unit for unit in running if states[unit].load == "masked"),
    )


def surge_units(name: str, count: int) -> tuple[str, ...]:
    """Return the units of the surge workers: app@surge.service, app@surge-2.service, …"""
    return tuple(f"{name}@{surge_name(number)}.service" for number in range(1, count + 1))


def is_surge(unit: str) -> bool:
    """Say whether a unit is that of a surge worker."""
    return "@surge" in unit


def alive(states: Mapping[str, UnitState]) -> list[str]:
    """Return the units that run, start or stop."""
    return [unit for unit, state in sorted(states.items()) if state.active not in ("inactive", "failed")]


def batch_size(batch: int | str, slots: int) -> int:
    """Return how many slots restart at a time; a percentage is rounded down, and one is the least."""
    size = int(batch) if not isinstance(batch, str) else slots * int(batch.removesuffix("%")) // 100
    return max(1, min(size, slots))


def _divide(units: Sequence[str], size: int) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(units[at : at + size]) for at in range(0, len(units), size))
