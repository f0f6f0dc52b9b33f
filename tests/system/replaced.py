"""Workers that replace themselves at a limit, by systemd's own account: one at a time, without a failure."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.system.conftest import App

DRAINS = r"app@(\d)\.service: Changed running -> stop"
EVER = 120.0  # seconds: nothing here takes so long

# A successor that waits for RestartSec= would never come.
NO_RESTART = '[service]\nRestartSec = "1h"\nRestartSteps = 0\n'


@contextmanager
def watched(app: App) -> Iterator[None]:
    """Let the machine's systemd log each change of a unit.

    Then journald may not know yet to which unit a process belongs that has just started: so lines are looked
    for in the whole journal.
    """
    app.machine.systemctl("log-level", "debug")
    try:
        yield
    finally:
        app.machine.systemctl("log-level", "info")


@dataclass(frozen=True, slots=True)
class Change:
    """A unit's change of its state, or its main process's exit status in `now`, as systemd logged it."""

    unit: str
    now: str


def changes(app: App, since: str) -> list[Change]:
    """All changes since then, in their order: they come from PID 1 alone, so there is one order."""
    found = re.findall(
        r"systemd\[1\]: (app\S*\.service): "
        r"(?:Changed \S+ -> (\S+)|Main process exited, code=exited, status=(\d+))",
        app.machine.journal(since=since),
    )
    return [Change(unit, state or status) for unit, state, status in found]


def most_away(seen: list[Change]) -> int:
    """How many slots were away at the same time, at most: from the begin of the drain to readiness."""
    away: set[str] = set()
    most = 0
    for change in seen:
        if re.fullmatch(r"app@\d+\.service", change.unit) and not change.now.isdigit():
            if change.now == "running":
                away.discard(change.unit)
            else:
                away.add(change.unit)
            most = max(most, len(away))
    return most


def slots(seen: list[Change]) -> list[str]:
    """The units whose worker ended at a limit, in this order."""
    return [change.unit for change in seen if change.now == "75"]


def wait_replaced(app: App, workers: int, since: str, rounds: int = 2) -> None:
    """Wait until each slot was replaced so many times, and is back."""
    for _ in range(rounds):
        for slot in range(workers):
            ended = rf"app@{slot}\.service: Main process exited, code=exited, status=75"
            app.machine.wait_journal(ended, since=since, timeout=EVER)
        since = app.machine.cursor()
    for slot in range(workers):
        app.machine.wait_until(f"app@{slot}.service", "ActiveState", lambda state: state == "active", EVER)


def check(app: App, workers: int, since: str) -> None:
    """Judge by systemd's own account since then."""
    seen = changes(app, since)
    assert most_away(seen) == 1
    assert set(slots(seen)) == {f"app@{slot}.service" for slot in range(workers)}
    for slot in range(workers):
        shown = app.machine.show(f"app@{slot}.service", "NRestarts", "Result")
        assert shown == {"NRestarts": "0", "Result": "success"}
    assert "Failed with result" not in app.machine.journal()
