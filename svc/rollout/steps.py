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

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from svc.app import App
from svc.rollout.brake import Brake, Pulled
from svc.rollout.events import Event, Message
from svc.rollout.plan import Plan, View, is_resting, plan
from svc.units.host import Host


class World(View, Protocol):
    """What a rollout needs of systemd; `svc.rollout.systemd.Manager` is the real one."""

    def start(self, units: Sequence[str]) -> list[str]: ...
    def restart(self, units: Sequence[str]) -> list[str]: ...
    def stop(self, units: Sequence[str]) -> None: ...


class RolloutFailed(Exception):
    """The rollout ended early. The text says why and what state the app is in; `units` are to blame.

    `done` of `total` workers run the new version.
    """

    def __init__(self, message: str, units: Sequence[str] = (), done: int = 0, total: int = 0) -> None:
        super().__init__(message)
        self.units = tuple(units)
        self.done = done
        self.total = total


class RolloutAborted(RolloutFailed):
    """The rollout ended early because an operator wanted it to."""


def roll_out(
    app: App,
    host: Host,
    world: World,
    generation: str,
    tell: Callable[[Event], None],
    brake: Brake,
    proven: Callable[[], None],
    had: Collection[str] = (),
) -> int:
    """Replace every worker that does not run `generation`, which workers that start from now on will.

    `proven` is called when the surge workers are ready, before any old worker is touched. Returns how many
    run the generation. Raises RolloutFailed; SystemdError when systemd is not to be reached.
    """
    todo = plan(app, host, world, generation, had)
    if todo.masked:
        text = f"nothing has changed: {_names(todo.masked)} is masked, but runs: unmask it, or stop it"
        raise RolloutFailed(text, todo.masked, 0, todo.total)
    if todo.resting:
        tell(Event(f"{_names(todo.resting)} stopped by hand, and stays so", Message.NOTE, todo.resting))
    if todo.current:
        text = f"{_names(todo.current)} left alone: the rollout that broke off had come that far"
        tell(Event(text, Message.NOTE, todo.current, len(todo.current), todo.total))
    if todo.left_behind:
        world.stop(todo.left_behind)  # they may run any version
    try:
        _start_surge(todo, world, tell, brake)
        proven()
        total = _replace(app, todo, world, tell, brake)
    finally:
        if todo.surge:
            world.stop(todo.surge)
    if todo.surplus:
        text = f"stopping {_names(todo.surplus)}, which the app has no longer"
        tell(Event(text, Message.NOTE, todo.surplus, total, total))
        world.stop(todo.surplus)
    return total


def _start_surge(todo: Plan, world: World, tell: Callable[[Event], None], brake: Brake) -> None:
    done, total = len(todo.current), todo.total
    changed = f"{_state(done, total)}" if done else "nothing has changed"
    if todo.surge:
        text = f"starting {_names(todo.surge)} with the new version"
        tell(Event(text, Message.SURGE, todo.surge, done, total))
        try:
            with brake.at_once():
                failed = world.start(todo.surge)
        except Pulled:
            raise RolloutAborted(f"aborted; {changed}", (), done, total) from None
        if failed:
            raise RolloutFailed(f"{changed}: the new version did not become ready", failed, done, total)


def _replace(app: App, todo: Plan, world: World, tell: Callable[[Event], None], brake: Brake) -> int:
    """Do the batches; return how many run the new generation."""
    done, total = len(todo.current), todo.total
    steps = [
        *(("restarting", batch, world.restart) for batch in todo.batches),
        *(("starting", batch, world.start) for batch in todo.start),
    ]
    for verb, planned, step in steps:
        if brake.pulled:
            changed = _state(done, total) if done else "nothing has changed"
            raise RolloutAborted(f"aborted; {changed}", (), done, total)
        stopped = _stopped_meanwhile(app, planned, world) if verb == "restarting" else ()
        if stopped:
            total -= len(stopped)
            text = f"{_names(stopped)} stopped by hand, and stays so"
            tell(Event(text, Message.NOTE, stopped, done, total))
        batch = tuple(unit for unit in planned if unit not in stopped)
        if not batch:
            continue
        tell(Event(f"{verb} {_names(batch)}", None, batch, done, total))
        failed = step(batch)
        done += len(batch) - len(failed)
        if failed:
            text = f"{_state(done, total)}: {_names(failed)} did not become ready"
            raise RolloutFailed(text, failed, done, total)
        tell(Event(f"{_names(batch)} ready ({done} of {total})", Message.READY, batch, done, total))
    return total


def _stopped_meanwhile(app: App, batch: Sequence[str], world: World) -> tuple[str, ...]:
    found = world.loaded(f"{app.name}@*.service")
    return tuple(unit for unit in batch if unit in found and is_resting(found[unit]))


def _state(done: int, total: int) -> str:
    return f"{done} of {total} workers run the new version, the others were not touched"


def _names(units: Sequence[str]) -> str:
    return ", ".join(units)
