"""svcctl status and svcctl list: which worker runs what, as systemd sees it."""

import time

from svc import turn
from svc.cluster import leader
from svc.config import ConfigError, SearchPath, find, load
from svc.ctl import codes
from svc.ctl.bar import elapsed
from svc.ctl.select import say_stopped
from svc.ctl.table import table
from svc.rollout import progress
from svc.rollout.events import Outcome, slot_of
from svc.rollout.folder import Folder
from svc.rollout.plan import is_surge
from svc.rollout.systemd import Manager, UnitState

# What systemd calls a unit, and what that means for a worker.
_STATES = {
    "active": "running",
    "activating": "starting",
    "deactivating": "draining",
    "inactive": "stopped",
    "failed": "failed",
}


def status(name: str, *, user_scope: bool) -> int:
    """Show the workers of an app. Returns DONE when all run, FAILED when one does not, or NOT_RUNNING."""
    manager = Manager(user=user_scope, patient=False)
    states = workers(name, manager)
    print(f"{name}: {_of_target(manager.state(f'{name}.target'))}{_last_reload(name, user_scope=user_scope)}")
    if all(state.active == "inactive" for state in states.values()):
        say_stopped(name, user_scope=user_scope)
        return codes.NOT_RUNNING
    now = time.time()
    rows = [
        (
            slot_of(unit),
            str(state.pid) if state.pid else "-",
            worker_state(state),
            manager.generation(state.pid) or "-",
            when(state.since, now),
        )
        for unit, state in states.items()
    ]
    print(table(("SLOT", "PID", "STATE", "GENERATION", "SINCE"), rows))
    print(_jobs(name, user_scope=user_scope), end="")
    return codes.DONE if all(state.active == "active" for state in states.values()) else codes.FAILED


def list_all(*, user_scope: bool) -> int:
    """Show all apps that have a file. Returns FAILED when one of the files is broken."""
    manager = Manager(user=user_scope, patient=False)
    rows, code = [], codes.DONE
    search = SearchPath.user() if user_scope else SearchPath.system()
    for name, files in find(search).items():
        states = workers(name, manager)
        running = [state for unit, state in states.items() if state.active == "active" and not is_surge(unit)]
        runs = sorted({manager.generation(state.pid) or "-" for state in running})
        try:
            addresses = ", ".join(map(str, load(files).listen))
        except ConfigError as error:
            addresses, code = f"broken: {error.problems[0]}", codes.FAILED
        state = _of_target(manager.state(f"{name}.target"))
        rows.append((name, state, f"{len(running)}/{len(states)}", " ".join(runs) or "-", addresses))
    if rows:
        print(table(("APP", "STATE", "WORKERS", "GENERATION", "LISTEN"), rows))
    else:
        print(f"no app: write one to {search.directories[0]}/NAME.toml (see svc.toml(5))")
    return code


def workers(name: str, manager: Manager) -> dict[str, UnitState]:
    """Return the workers that systemd knows of, in the order of their slots, surge workers last."""
    states = manager.loaded(f"{name}@*.service")
    slots = [unit for unit in states if slot_of(unit).isdecimal()]
    # A surge worker that has ended is nothing that an operator misses.
    surge = sorted(unit for unit in states if is_surge(unit) and states[unit].active != "inactive")
    return {unit: states[unit] for unit in (*sorted(slots, key=lambda unit: int(slot_of(unit))), *surge)}


def worker_state(state: UnitState) -> str:
    """Return what a worker is at, in the words of svc."""
    if state.sub == "auto-restart":
        return f"crashed ({state.result}), starts again"
    return _STATES.get(state.active, state.active)


def when(since: float, now: float) -> str:
    """Return a time (seconds since the epoch) and how long ago that is."""
    if not since:
        return "-"
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since))
    return f"{clock} ({elapsed(max(now - since, 0.0))})"


def _jobs(name: str, *, user_scope: bool) -> str:
    """Return what one worker does for all (`cluster.every`), and which one; nothing when there is nothing."""
    folder = turn.folder_of(name, user_scope=user_scope)
    try:
        found = leader.holders(name, folder.parent)
    except PermissionError:
        return "\nOnly root, and the app's own user, can see which worker does jobs for all.\n"
    rows = [(job.job, f"{job.seconds:g} s", str(job.slot), str(job.pid)) for job in found]
    return f"\n{table(('JOB', 'EVERY', 'SLOT', 'PID'), rows)}\n" if rows else ""


def _of_target(state: UnitState) -> str:
    return "running" if state.active == "active" else _STATES.get(state.active, state.active)


def _last_reload(name: str, *, user_scope: bool) -> str:
    lines = progress.read(Folder.of(name, user_scope=user_scope).path)
    if not lines:
        return ""
    first, last = lines[0], lines[-1]
    took = elapsed(last.at - first.at)
    if last.outcome is Outcome.RUNNING:
        return f"; rollout ({last.done} of {last.total}): {last.text}"
    return f"; last reload {last.outcome} after {took}, {when(last.at, time.time())}: {last.text}"
