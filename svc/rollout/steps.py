"""The rollout: every worker of an app is replaced, a batch at a time, and nobody notices.

What it promises, each a test on a real systemd:

- The surge worker starts first with the new code. If it does not become ready, nothing has changed.
- A slot is restarted only after the batch before it is ready.
- A slot that does not come back ends the rollout: the remaining old workers stay.
- A slot that an operator stopped stays stopped.
- However it fails, whoever asked for it is told: `systemctl reload` ends non-zero.

The world is handed in (`Manager`), so the order of its steps is tested without one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from svc.app import App
from svc.rollout.systemd import UnitState
from svc.units.host import Host
from svc.units.render import render, worker_count, worker_units


class World(Protocol):
    """What a rollout needs of systemd; `svc.rollout.systemd.Manager` is the real one."""

    def state(self, unit: str) -> UnitState: ...
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
    """What a rollout will do: the surge units, the batches of slots, and the slots that are too many.

    `start` are slots that never ran (the app has grown), `resting` those an operator stopped.
    """

    surge: tuple[str, ...]
    batches: tuple[tuple[str, ...], ...]
    start: tuple[str, ...]
    resting: tuple[str, ...]
    surplus: tuple[str, ...]


def plan(app: App, host: Host, world: World) -> Plan:
    """Look at the workers and decide what to do with each."""
    slots = worker_units(app, host)
    surge = (f"{app.name}@surge.service",) if app.reload.surge else ()
    states = {unit: world.state(unit) for unit in slots}
    resting = tuple(unit for unit in slots if states[unit].active == "inactive" and states[unit].started)
    start = tuple(unit for unit in slots if states[unit].active == "inactive" and not states[unit].started)
    running = [unit for unit in slots if unit not in resting and unit not in start]
    size = batch_size(app.reload.batch, worker_count(app, host))
    batches = tuple(tuple(running[at : at + size]) for at in range(0, len(running), size))
    known = {*slots, f"{app.name}@surge.service"}
    surplus = tuple(
        unit
        for unit in world.instances(f"{app.name}@*.service")
        if unit not in known and world.state(unit).active not in ("inactive", "failed")
    )
    return Plan(surge, batches, start, resting, surplus)


def batch_size(batch: int | str, slots: int) -> int:
    """Return how many slots restart at a time; a percentage is rounded down, and one is the least."""
    size = int(batch) if not isinstance(batch, str) else slots * int(batch.removesuffix("%")) // 100
    return max(1, min(size, slots))


def roll_out(app: App, host: Host, world: World, say: Callable[[str], None]) -> None:
    """Replace every worker. Raises RolloutFailed; SystemdError when systemd is not to be reached."""
    todo = plan(app, host, world)
    for unit in todo.resting:
        say(f"{unit} was stopped by hand and stays so")
    # A surge worker that a killed rollout left behind may run any version.
    world.stop([f"{app.name}@surge.service"])
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
    done: list[str] = []
    total = sum(map(len, todo.batches)) + len(todo.start)
    steps = [(batch, world.restart) for batch in todo.batches] + [
        ((unit,), world.start) for unit in todo.start
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
