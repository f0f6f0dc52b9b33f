"""What svcctl shows of a rollout and of workers."""

import pytest

from svc.ctl.bar import bar, elapsed, milestone, shown
from svc.ctl.status import when, worker_state
from svc.ctl.table import table
from svc.rollout.events import Outcome
from svc.rollout.progress import Line
from svc.rollout.systemd import UnitState

LINE = Line(103.25, "1", "app@1.service ready (1 of 4)", ("app@1.service",), 1, 4, Outcome.RUNNING)


def test_a_bar_that_fits_the_terminal() -> None:
    assert shown(LINE, 100.0, 105.0, 80) == f"[{'#' * 6}{'.' * 18}] 1/4  5.0 s  app@1.service ready (1 of 4)"
    assert len(shown(LINE, 100.0, 105.0, 40)) == 39
    assert bar(0, 0) == f"[{'.' * 24}] 0/0"
    assert bar(3, 3) == f"[{'#' * 24}] 3/3"
    assert milestone(LINE, 100.0) == "     3.2 s  app@1.service ready (1 of 4)"


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "0.0 s"), (59.94, "59.9 s"), (65, "1 min 05 s"), (3600, "60 min 00 s")]
)
def test_durations(seconds: float, expected: str) -> None:
    assert elapsed(seconds) == expected


def test_a_table() -> None:
    assert table(("A", "LONG"), [("1", "x"), ("333", "")]) == "A    LONG\n1    x\n333"
    assert table(("A", "B"), []) == "A  B"


def test_the_states_of_a_worker() -> None:
    def state(active: str, sub: str = "", result: str = "success") -> str:
        return worker_state(UnitState(active, sub, result, "", started=True, job=0))

    assert state("active", "running") == "running"
    assert state("activating", "start") == "starting"
    assert state("activating", "auto-restart", "exit-code") == "crashed (exit-code), starts again"
    assert state("deactivating", "stop-sigterm") == "draining"
    assert state("inactive") == "stopped"
    assert state("odd") == "odd"


def test_times() -> None:
    assert when(0, 100) == "-"
    assert when(1_764_080_000, 1_764_080_003).endswith(" (3.0 s)")
