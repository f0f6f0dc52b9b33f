"""Several listeners on one address, on a real systemd: all workers work, and no listener is forgotten."""

from collections import Counter
from contextlib import ExitStack

import pytest

from tests.client import get, load
from tests.system import versions
from tests.system.conftest import App
from tests.system.test_handover import open_clients

GROUPS = {"two": "[balance]\nlisteners = 2\n", "per-worker": '[balance]\nlisteners = "per-worker"\n'}


@pytest.fixture(params=GROUPS)
def groups(request: pytest.FixtureRequest, app: App) -> App:
    """Four workers in two groups, and in four."""
    app.deploy(versions.good("1"))
    app.start(4, more=GROUPS[request.param])
    return app


def served(app: App, requests: int) -> Counter[str]:
    """Who answers so many new connections, each of which is asserted to be answered."""
    with load(
        app.url, connections=8, requests=requests, keep_alive=False, keep_bodies=True, timeout=5
    ) as clients:
        clients.wait(requests)
    seen = clients.stop()
    assert seen.failed == 0, seen.table()
    return Counter(record.body.decode().split()[1] for record in seen.records)


def test_every_worker_has_its_share(groups: App) -> None:
    shares = served(groups, 4000)
    assert sorted(shares) == ["0", "1", "2", "3"]
    assert min(shares.values()) > 400, shares


def test_long_lived_connections_are_spread(groups: App) -> None:
    with ExitStack() as stack:
        clients = open_clients(groups, stack, 200)
        spread = Counter(client.get()[2].decode().split()[1] for client in clients)
    assert sorted(spread) == ["0", "1", "2", "3"]
    # The kernel throws dice for the listener, and the line within a group is fair.
    assert min(spread.values()) >= 20, spread


def test_a_group_whose_workers_are_stopped_is_served_by_the_others(groups: App) -> None:
    # Slots 1 and 3 are all that belongs to the second of two listeners.
    groups.systemctl("stop", "app@1.service", "app@3.service")
    assert sorted(served(groups, 400)) == ["0", "2"]
    groups.systemctl("start", "app@1.service", "app@3.service")
    assert sorted(served(groups, 2000)) == ["0", "1", "2", "3"]


def test_a_group_whose_workers_are_killed_or_hang_is_served_by_the_others(groups: App) -> None:
    groups.systemctl("kill", "--signal=STOP", "app@1.service", "app@3.service")
    assert sorted(served(groups, 400)) == ["0", "2"]
    groups.systemctl("kill", "--signal=KILL", "app@1.service", "app@3.service")
    served(groups, 400)
    for unit in ("app@1.service", "app@3.service"):
        groups.machine.wait_until(unit, "NRestarts", lambda count: count == "1")
        groups.machine.wait_until(unit, "ActiveState", lambda state: state == "active")
    assert sorted(served(groups, 2000)) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("keep_alive", [False, True], ids=["fresh", "keep-alive"])
def test_no_request_fails_on_a_reload(groups: App, keep_alive: bool) -> None:
    groups.reload_twice(300, keep_alive=keep_alive)


def test_the_first_client_of_a_further_listener_wakes_the_app(groups: App) -> None:
    groups.systemctl("stop", "app.target")
    for unit in [f"app@{slot}.service" for slot in range(4)]:
        groups.machine.wait_until(unit, "ActiveState", lambda state: state == "inactive")
    groups.systemctl("start", "app@1.socket")
    assert groups.pids() == []
    # It is the only one that is open.
    assert not get(groups.url, timeout=20).failed
    groups.machine.wait_until("app.target", "ActiveState", lambda state: state == "active")
    assert sorted(served(groups, 2000)) == ["0", "1", "2", "3"]
