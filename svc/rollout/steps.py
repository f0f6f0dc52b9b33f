"""The rollout: every worker of an app is replaced, a batch at a time, and nobody notices.

What it promises, each a test on a real systemd:

- The surge workers start first with the new code. If one does not become ready, nothing has changed.
- A batch of slots is restarted only after the batch before it is ready.
- A slot that does not come back ends the rollout: the remaining old workers stay.
- A slot that an operator stopped stays stopped.
- A rollout that was broken off is continued: who runs the new generation already is left alone.
- However it fails, whoever asked for it is told: `systemctl reload` ends non-zero.

The world is handed in (`Manager`), so the order of its steps is tested without one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from svc.app import App
from svc.cluster.slots import surge_name
from svc.rollout.systemd import UnitState
from svc.units.host import Host
from svc.units.render import render, worker_count, worker_units


class World(Protocol):
    """What a rollout needs of systemd; `svc.rollout.systemd.Manager` is the real one."""

    def states(self, units: Sequence[str]) -> dict[str, UnitState]: ...
    def generation(self, pid: int) -> str | None: ...
    def instances(self, pattern: str) -> list[str]: ...
    def start(self, units: Sequence[str]) -> list[str]: ...
    def restart(self, units: Sequence[str]) -> list[str]: ...
    def stop(self, units: Sequence[str]) -> None: ...


class RolloutFailed(Exception):
    """The rollout ended early. The text says why and what state the app is in; `units` are to blame."""

    def __init__(self, message: str, units: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.units = tuple(units)


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


def plan(app: App, host: Host, world: World, generation: str) -> Plan:
    """Look at the workers and decide what to do with each so that all run `generation`."""
    slots = worker_units(app, host)
    states = world.states(slots)
    current = tuple(
        unit
        for unit in slots
        if states[unit].active == "active" and world.generation(states[unit].pid) == generation
    )
    resting = tuple(unit for unit in slots if states[unit].active == "inactive" and states[unit].started)
    start = tuple(unit for unit in slots if states[unit].active == "inactive" and not states[unit].started)
    running = [unit for unit in slots if unit not in {*resting, *start, *current}]
    size = batch_size(app.reload.batch, worker_count(app, host))
    left = [unit for unit in alive(world, f"{app.name}@*.service") if unit not in slots]
    return Plan(
        surge=surge_units(app.name, min(app.reload.surge, len(running) + len(start))),
        batches=_divide(running, size),
        start=_divide(start, size),
        current=current,
        resting=resting,
        surplus=tuple(unit for unit in left if not is_surge(unit)),
        left_behind=tuple(unit for unit in left if is_surge(unit)),
    )


def surge_units(name: str, count: int) -> tuple[str, ...]:
    """Return the units of the surge workers: app@surge.service, app@surge-2.service, …"""
    return tuple(f"{name}@{surge_name(number)}.service" for number in range(1, count + 1))


def is_surge(unit: str) -> bool:
    """Say whether a unit is that of a surge worker."""
    return "@surge" in unit


def alive(world: World, pattern: str) -> list[str]:
    """Return the units of a pattern that run, start or stop."""
    states = world.states(world.instances(pattern))
    return [unit for unit, state in states.items() if state.active not in ("inactive", "failed")]


def _divide(units: Sequence[str], size: int) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(units[at : at + size]) for at in range(0, len(units), size))


def batch_size(batch: int | str, slots: int) -> int:
    """Return how many slots restart at a time; a percentage is rounded down, and one is the least."""
    size = int(batch) if not isinstance(batch, str) else slots * int(batch.removesuffix("%")) // 100
    return max(1, min(size, slots))


def roll_out(app: App, host: Host, world: World, generation: str, say: Callable[[str], None]) -> None:
    """Replace every worker that does not run `generation`, which workers that start from now on will.

    Raises RolloutFailed; SystemdError when systemd is not to be reached.
    """
    todo = plan(app, host, world, generation)
    for unit in todo.resting:
        say(f"{unit} was stopped by hand and stays so")
    if todo.current:
        say(f"{', '.join(todo.current)} left alone: the rollout that was broken off had come that far")
    if todo.left_behind:
        world.stop(todo.left_behind)  # they may run any version
    try:
        _start_surge(todo.surge, world, say)
        _replace(todo, world, say)
    finally:
        if todo.surge:
            world.stop(todo.surge)
    if todo.surplus:
        say(f"stopping {', '.join(todo.surplus)}: the app now has {worker_count(app, host)} workers")
        world.stop(todo.surplus)


def _start_surge(surge: Sequence[str], world: World, say: Callable[[str], None]) -> None:
    if not surge:
        return
    say(f"starting {', '.join(surge)} with the new version")
    if failed := world.start(surge):
        raise RolloutFailed("nothing has changed: the new version did not become ready", failed)


def _replace(todo: Plan, world: World, say: Callable[[str], None]) -> None:
    done = list(todo.current)
    total = len(done) + sum(map(len, (*todo.batches, *todo.start)))
    steps = [(batch, world.restart) for batch in todo.batches] + [
        (batch, world.start) for batch in todo.start
    ]
    for batch, step in steps:
        if failed := step(batch):
            done += [unit for unit in batch if unit not in failed]
            raise RolloutFailed(
                f"{len(done)} of {total} workers run the new version, the others were not touched: "
                f"{', '.join(failed)} did not become ready",
                failed,
            )
        done += batch
        say(f"{', '.join(batch)} ready ({len(done)} of {total})")


def stale_units(app: App, host: Host, loaded: Callable[[str], str]) -> list[str]:
    """Return the units whose text is not what the configuration says now. `loaded` reads a unit's file."""
    return [unit for unit, text in render(app, host).items() if loaded(unit) != text]
