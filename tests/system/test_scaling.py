"""More and fewer workers, by a changed app file and a reload: no request fails, and none is forgotten."""

import pytest

from tests.client import load
from tests.system import versions
from tests.system.conftest import THINK, App

PER_WORKER = '[balance]\nlisteners = "per-worker"\n'
STICKY = '[balance]\npolicy = "sticky-ip"\n'


def scale(app: App, workers: int, more: str) -> None:
    """Change the number of workers, as an administrator does."""
    app.configure(workers, more=more)
    app.systemctl("reload", "app.target")
    assert len(app.pids()) == workers


def listeners(app: App) -> list[str]:
    """The socket units that are open."""
    shown = app.systemctl("list-units", "--plain", "--no-legend", "--state=active", "app*.socket").stdout
    units = [line.split()[0] for line in shown.splitlines()]
    return sorted(unit for unit in units if "-bus@" not in unit)


def serving(app: App) -> set[str]:
    """The workers that answer a hundred new connections. That all are answered is asserted."""
    return {app.get("/").split()[1] for _ in range(100)}


@pytest.mark.parametrize("keep_alive", [False, True], ids=["fresh", "keep-alive"])
@pytest.mark.parametrize("more", ["", PER_WORKER], ids=["one listener", "per-worker"])
def test_two_four_one(app: App, more: str, keep_alive: bool) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=2, more=more)
    with load(app.url, connections=50, keep_alive=keep_alive, timeout=5, think=THINK) as clients:
        for workers in (4, 1, 2):
            clients.wait(300)
            scale(app, workers, more)
    seen = clients.stop()
    assert seen.failed == 0, seen.table()
    assert serving(app) == {"0", "1"}


def test_auto_goes_from_one_listener_to_two_and_back(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=16)
    assert listeners(app) == ["app.socket"]
    with load(app.url, connections=20, keep_alive=False, timeout=5, think=THINK) as clients:
        clients.wait(300)
        scale(app, 17, "")
        assert listeners(app) == ["app.socket", "app@1.socket"]
        clients.wait(300)
        scale(app, 16, "")
        clients.wait(300)
    seen = clients.stop()
    assert seen.failed == 0, seen.table()
