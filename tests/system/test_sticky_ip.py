"""sticky-ip: whoever comes from one address meets the same worker, over reloads and crashes."""

from contextlib import ExitStack

import pytest

from tests.client import get, load
from tests.system import versions
from tests.system.conftest import THINK, App
from tests.system.test_handover import Address
from tests.unit.worker.process import Client

POLICY = '[balance]\npolicy = "sticky-ip"\n'
CLIENTS = [f"127.0.0.{number}" for number in range(1, 41)]


def start(app: App, workers: int = 4, more: str = "") -> None:
    """Start the app under this policy."""
    app.deploy(versions.good("1"))
    app.start(workers, more=POLICY + more)


def worker_of(app: App, client: str) -> str:
    """The worker that answers a new connection from this address."""
    host = f"[{client}]" if ":" in client else "127.0.0.1"
    record = get(f"http://{host}:{app.port}/", source=client, timeout=10)
    assert not record.failed, record.error
    return record.body.decode().split()[1]


def homes(app: App, clients: list[str] = CLIENTS) -> dict[str, str]:
    """The worker of each client."""
    return {client: worker_of(app, client) for client in clients}


def test_a_client_meets_one_worker_however_often_it_comes(app: App) -> None:
    start(app)
    first = homes(app)
    assert set(first.values()) == {"0", "1", "2", "3"}
    for _ in range(5):
        assert homes(app) == first


def test_a_client_meets_its_worker_again_after_reloads(app: App) -> None:
    start(app)
    first = homes(app)
    for version in ("2", "3"):
        app.deploy(versions.good(version))
        app.systemctl("reload", "app.target")
        assert homes(app) == first
    app.systemctl("restart", "app.target")
    assert homes(app) == first


def test_while_a_worker_is_away_its_siblings_serve_its_clients(app: App) -> None:
    start(app)
    first = homes(app)
    app.systemctl("stop", "app@2.service")
    meanwhile = homes(app)
    moved = {client for client, home in first.items() if home == "2"}
    assert {client: meanwhile[client] for client in CLIENTS if client not in moved} == {
        client: home for client, home in first.items() if home != "2"
    }
    assert {meanwhile[client] for client in moved} <= {"0", "1", "3"}
    app.systemctl("start", "app@2.service")
    assert homes(app) == first


def test_a_crash_costs_nobody_his_worker(app: App) -> None:
    start(app)
    first = homes(app)
    with load(app.url, connections=8, keep_alive=False, timeout=10, source="127.0.0.200") as clients:
        for slot in range(4):
            app.systemctl("kill", "--signal=KILL", f"app@{slot}.service")
            # At this moment nobody accepts for it but its siblings.
            assert set(homes(app).values()) <= {"0", "1", "2", "3"}
            app.machine.wait_until(f"app@{slot}.service", "NRestarts", lambda count: count == "1")
            app.machine.wait_until(f"app@{slot}.service", "ActiveState", lambda state: state == "active")
            clients.wait(50)
    assert homes(app) == first
    seen = clients.stop()
    # What is lost was inside the worker that was killed.
    assert seen.failed <= 8, seen.table()


def test_a_busy_worker_keeps_its_clients(app: App) -> None:
    start(app)
    first = homes(app)
    busy = first["127.0.0.1"]
    app.systemctl("kill", "--signal=STOP", f"app@{busy}.service")
    others = [client for client, home in first.items() if home != busy]
    assert homes(app, others) == {client: first[client] for client in others}
    waits = get(app.url, source="127.0.0.1", timeout=1)
    assert waits.failed
    app.systemctl("kill", "--signal=CONT", f"app@{busy}.service")
    assert homes(app) == first


def test_kept_connections_find_home_after_a_reload(app: App) -> None:
    start(app)
    first = homes(app)
    with ExitStack() as stack:
        address = stack.enter_context(Address(app.port))
        kept = {client: stack.enter_context(Client(address, client)) for client in CLIENTS}
        assert {client: worker(one) for client, one in kept.items()} == first
        app.systemctl("reload", "app.target")
        assert homes(app) == first  # each has learned its place
        went = 0
        for client, one in kept.items():
            one.ask()
            status, headers, body = one.answer()
            assert status == 200
            if body.decode().split()[1] != first[client]:
                assert headers["connection"] == "close"
                went += 1
            else:
                assert "connection" not in headers
        assert went > 0


def worker(client: Client) -> str:
    """The worker of an answer on a connection that is kept."""
    status, headers, body = client.get()
    assert status == 200
    assert "connection" not in headers
    return body.decode().split()[1]


@pytest.mark.parametrize("keep_alive", [False, True], ids=["fresh", "keep-alive"])
def test_no_request_fails_on_a_reload(app: App, keep_alive: bool) -> None:
    start(app)
    app.reload_twice(200, keep_alive=keep_alive)


def test_a_change_of_the_number_of_workers_fails_no_request(app: App) -> None:
    start(app, workers=2)
    with load(app.url, connections=20, keep_alive=False, timeout=10, think=THINK) as clients:
        for workers in (4, 1, 3):
            app.configure(workers, more=POLICY)
            app.systemctl("reload", "app.target")
            first = homes(app)
            assert set(first.values()) == {str(slot) for slot in range(workers)}
            assert homes(app) == first
    seen = clients.stop()
    assert seen.failed == 0, seen.table()


def test_a_policy_can_be_taken_up_and_given_up_by_a_reload(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=3)
    with load(app.url, connections=20, keep_alive=False, timeout=10, think=THINK) as clients:
        app.configure(workers=3, more=POLICY)
        app.systemctl("reload", "app.target")
        first = homes(app)
        assert homes(app) == first
        app.configure(workers=3)
        app.systemctl("reload", "app.target")
        assert len({worker_of(app, "127.0.0.1") for _ in range(60)}) == 3
    seen = clients.stop()
    assert seen.failed == 0, seen.table()


@pytest.mark.parametrize(
    "listen", ['["127.0.0.1:{0}", "[::1]:{0}"]', '["[::]:{0}"]'], ids=["both", "dual stack"]
)
def test_ipv4_and_ipv6_clients(app: App, listen: str) -> None:
    app.deploy(versions.good("1"))
    app.configure(workers=3, more=POLICY)
    app.drop_in("listen", f"listen = {listen.format(app.port)}\n")
    app.systemctl("daemon-reload")
    app.systemctl("start", "app.target")
    clients = ["::1", *CLIENTS[:20]]
    first = homes(app, clients)
    assert set(first.values()) == {"0", "1", "2"}
    app.systemctl("reload", "app.target")
    app.systemctl("kill", "--signal=KILL", f"app@{first['::1']}.service")
    app.systemctl("restart", "app.target")
    for _ in range(3):
        assert homes(app, clients) == first
