"""The sticky policies between two real workers: on both event loops, and with every uvicorn."""

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from svc.worker.steering import place_of
from tests.unit.worker.conftest import Variant, hide
from tests.unit.worker.process import Client, Worker, listen, run_worker
from tests.unit.worker.test_steering import group

CLIENTS = [f"127.0.0.{number}" for number in range(1, 21)]


def pid(answer: tuple[int, dict[str, str], bytes]) -> int:
    """The process that gave an answer."""
    assert answer[0] == 200
    return int(answer[2].decode().rpartition(" ")[2])


@contextlib.contextmanager
def cookies(variant: Variant, folder: Path) -> Iterator[list[Worker]]:
    """Two workers on one listener, under sticky-cookie."""
    hidden = hide(folder, variant.missing)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen())
        yield [
            stack.enter_context(
                run_worker(
                    *("--loop", variant.loop, "--policy", "sticky-cookie", "--workers", "2"),
                    python=variant.python,
                    path=[hidden],
                    listeners=[listener],
                    slot=slot,
                    runtime=folder / "run",
                )
            )
            for slot in ("0", "1")
        ]


def ask(worker: Worker, cookie: str = "") -> tuple[int, dict[str, str], bytes]:
    """One request on a new connection."""
    with worker.client() as client:
        client.ask(headers=[f"Cookie: {cookie}"] if cookie else [])
        return client.answer()


def test_a_cookie_leads_to_its_worker(variant: Variant, tmp_path: Path) -> None:
    with cookies(variant, tmp_path) as workers:
        for slot, worker in enumerate(workers):
            for _ in range(10):
                answer = ask(worker, f"svc-demo={slot}")
                assert pid(answer) == worker.process.pid
                assert "set-cookie" not in answer[1]
        answer = ask(workers[0])
        slot = [worker.process.pid for worker in workers].index(pid(answer))
        assert answer[1]["set-cookie"] == f"svc-demo={slot}; Path=/; HttpOnly; SameSite=Lax"


def test_a_stranger_on_a_kept_connection_is_sent_away(variant: Variant, tmp_path: Path) -> None:
    with cookies(variant, tmp_path) as workers, workers[0].client() as client:
        client.ask(headers=["Cookie: svc-demo=0"])
        assert pid(client.answer()) == workers[0].process.pid
        client.ask(headers=["Cookie: svc-demo=1"])
        answer = client.answer()
        assert answer[1]["connection"] == "close"
        assert client.rest() == b""


def test_a_dead_workers_clients_get_another(variant: Variant, tmp_path: Path) -> None:
    with cookies(variant, tmp_path) as (one, other):
        other.process.kill()
        other.process.wait()
        for _ in range(5):
            answer = ask(one, "svc-demo=1")
            assert pid(answer) == one.process.pid
            assert answer[1]["set-cookie"].startswith("svc-demo=0;")


def test_a_connection_that_waits_for_a_worker_that_dies_is_answered(loop: str, tmp_path: Path) -> None:
    with cookies(Variant("here", sys.executable, loop), tmp_path) as (one, other):
        other.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, other.process.pid, os.WSTOPPED)
        with contextlib.ExitStack() as stack:
            # More than go into the queue between two workers at a time.
            clients = [stack.enter_context(one.client()) for _ in range(40)]
            for client in clients:
                client.ask(headers=["Cookie: svc-demo=1"])
            # It has looked at all of them by the time that it answers one that came later.
            assert pid(ask(one, "svc-demo=0")) == one.process.pid
            other.process.kill()
            assert {pid(client.answer()) for client in clients} == {one.process.pid}


def test_a_worker_that_stops_keeps_no_client_waiting(variant: Variant, tmp_path: Path) -> None:
    with cookies(variant, tmp_path) as (one, other), contextlib.ExitStack() as stack:
        silent = [stack.enter_context(one.client()) for _ in range(20)]
        speaking = [stack.enter_context(one.client()) for _ in range(20)]
        for client in speaking:
            client.send(b"GET / HTTP/1.1\r\nHo")
        assert pid(ask(one, "svc-demo=0")) == one.process.pid
        one.terminate()
        for client in speaking:
            client.send(b"st: a\r\n\r\n")
        for client in silent:
            client.ask()
        for client in (*silent, *speaking):
            assert client.answer()[0] == 200
        assert one.ended() == 0
        assert pid(ask(other)) == other.process.pid


@contextlib.contextmanager
def addresses(loop: str, folder: Path) -> Iterator[tuple[list[socket.socket], list[Worker]]]:
    """Two workers with a listener each, under sticky-ip."""
    with group(2) as listeners, contextlib.ExitStack() as stack:
        yield (
            listeners,
            [stack.enter_context(by_ip(loop, folder, listeners, slot)) for slot in ("0", "1")],
        )


def by_ip(
    loop: str, folder: Path, listeners: list[socket.socket], slot: str
) -> contextlib.AbstractContextManager[Worker]:
    """One of these workers."""
    return run_worker(
        *("--loop", loop, "--policy", "sticky-ip", "--workers", "2"),
        listeners=listeners,
        names="http:http-1",
        slot=slot,
        runtime=folder,
    )


def answered_by(listener: socket.socket, source: str) -> int:
    """Which process answers a client from this address."""
    with Client(listener, source) as client:
        return pid(client.get())


def test_an_address_leads_to_its_worker_and_to_the_other_while_that_is_away(
    loop: str, tmp_path: Path
) -> None:
    with addresses(loop, tmp_path) as (listeners, workers):
        pids = [worker.process.pid for worker in workers]
        homes = {client: place_of(client, 2) for client in CLIENTS}
        assert set(homes.values()) == {0, 1}
        for client, home in homes.items():
            assert answered_by(listeners[0], client) == pids[home]
        workers[1].process.kill()
        workers[1].process.wait()
        assert {answered_by(listeners[0], client) for client in CLIENTS} == {pids[0]}
        with by_ip(loop, tmp_path, listeners, "1") as again:
            for client, home in homes.items():
                assert answered_by(listeners[0], client) == (pids[0], again.process.pid)[home]
            again.terminate()
            assert {answered_by(listeners[0], client) for client in CLIENTS} == {pids[0]}
