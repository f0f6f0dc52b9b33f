"""Kept-alive connections outlive the workers that serve them: judged by raw clients, on a real systemd."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.client import load
from tests.system import versions
from tests.system.conftest import App
from tests.unit.worker.process import Client

EVERYTHING = Path(__file__).parent.parent.joinpath("apps", "asgi_app.py").read_text()
RESTARTS = {
    "reload": ("reload", "app.target"),
    "restart of a slot": ("restart", "app@1.service"),
    "stop of a slot": ("stop", "app@1.service"),
}


class Address(socket.socket):
    """What Client wants to know of a listener."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", self.port


def open_clients(app: App, stack: ExitStack, count: int) -> list[Client]:
    """So many connections, each with its first answer."""
    address = stack.enter_context(Address(app.port))
    clients = [stack.enter_context(Client(address)) for _ in range(count)]
    for client in clients:
        assert still_there(client)
    return clients


def still_there(client: Client) -> bool:
    """Ask on the connection that is there: whether it is answered, and kept."""
    status, headers, _ = client.get()
    return status == 200 and "connection" not in headers


@pytest.mark.parametrize("workers", [1, 4])
def test_idle_connections_outlive_three_reloads(app: App, workers: int) -> None:
    app.deploy(versions.good("0"))
    app.start(workers=workers)
    with ExitStack() as stack:
        clients = open_clients(app, stack, 200)
        for version in ("1", "2", "3"):
            app.deploy(versions.good(version))
            app.systemctl("reload", "app.target")
            assert all(still_there(client) for client in clients)
            assert f"version {version}" in clients[0].get()[2].decode()


@pytest.mark.parametrize("name", RESTARTS)
def test_500_idle_connections_do_not_notice(app: App, name: str) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=4)
    with ExitStack() as stack:
        clients = open_clients(app, stack, 500)
        app.systemctl(*RESTARTS[name])
        assert all(still_there(client) for client in clients)


@pytest.mark.parametrize("name", RESTARTS)
@pytest.mark.parametrize("think", [0.0, 0.02], ids=["no pause", "a pause"])
def test_busy_clients_need_no_other_connection(app: App, name: str, think: float) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=4)
    with load(app.url, connections=50, keep_alive=True, think=think) as clients:
        clients.wait(500)
        app.systemctl(*RESTARTS[name])
        clients.wait(500)
    seen = clients.stop()
    assert seen.failed == 0, seen.table()
    assert (seen.reconnects, seen.connections) == (0, 50)


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[None]:
    """Do `work` in a thread; its exception is raised at the end."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if errors:
        raise errors[0]


def how_it_ended(websocket: ClientConnection) -> int | None:
    """The code with which a WebSocket was closed; None when it still echoes."""
    try:
        websocket.send("after")
        websocket.recv()
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 1006
    return None


@pytest.mark.parametrize("name", RESTARTS)
def test_clients_of_every_kind_get_their_answers(app: App, name: str) -> None:
    app.deploy(EVERYTHING)
    app.start(workers=2)
    with ExitStack() as stack:
        trickling, leaving, slow, *uploading = open_clients(app, stack, 5)
        websocket = stack.enter_context(connect(f"ws://127.0.0.1:{app.port}/echo", proxy=None))
        websocket.send("before")
        assert websocket.recv() == "before"
        leaving.send(b"GET / HTTP/1.1\r\nHo")
        slow.ask("/slow?seconds=2")
        trickling.send(b"GET / HT")
        piece = b"x" * 1_000_000
        for client in uploading:
            client.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" + piece)
        in_one_go = open_clients(app, stack, 8)
        for client in in_one_go:
            client.send(b"GET /slow?seconds=0.3 HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
        with meanwhile(lambda: app.systemctl(*RESTARTS[name])):
            for client in in_one_go:
                assert [client.answer()[2] for _ in range(3)] == [b"slow, but here\n"] * 3
            for byte in b"TP/1.1\r\nHost: a\r\n\r":
                trickling.send(bytes([byte]))
            leaving.sock.close()
            for _ in range(9):
                for client in uploading:
                    client.send(piece)
            assert [client.answer()[2] for client in uploading] == [b"10000000 bytes\n"] * 2
            assert slow.answer()[2] == b"slow, but here\n"
            trickling.send(b"\n")
            assert trickling.answer()[0] == 200
        assert all(still_there(client) for client in [trickling, slow, *uploading, *in_one_go])
        ending = how_it_ended(websocket)
        assert ending == 1012 or (ending is None and name != "reload")


def test_a_hung_sibling_swallows_no_connection(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=3)
    with ExitStack() as stack:
        clients = open_clients(app, stack, 90)
        app.systemctl("kill", "--signal=STOP", "app@2.service")
        app.systemctl("stop", "app@0.service")
        app.systemctl("kill", "--signal=CONT", "app@2.service")
        assert all(still_there(client) for client in clients)


def test_a_stop_of_all_is_quick(app: App) -> None:
    app.deploy(versions.good("1"))
    app.start(workers=4)
    with ExitStack() as stack:
        clients = open_clients(app, stack, 100)
        app.systemctl("stop", "app.target")
        for unit in (f"app@{slot}.service" for slot in range(4)):
            app.machine.wait_until(unit, "ActiveState", lambda state: state == "inactive", timeout=10)
            assert app.show(unit, "Result") == "success"
        assert all(client.rest() == b"" for client in clients)
    assert "cut off" not in app.machine.journal("app@*.service")
