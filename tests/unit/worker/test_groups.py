"""Groups of listeners: which are whose, who helps whom, and what that costs."""

import contextlib
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from svc.worker.helping import divide, number_of
from svc.worker.listeners import Listener
from tests.unit.worker.process import Client, Worker, listen, run_worker, switches


@contextlib.contextmanager
def group(*names: str, unix: str = "") -> Iterator[list[Listener]]:
    """Listeners of these names on free ports; the one called `unix` is on a path."""
    with contextlib.ExitStack() as stack:
        made = [Listener(name, stack.enter_context(listen())) for name in names]
        if unix:
            made.append(Listener(unix, stack.enter_context(listen(socket.AF_UNIX, ""))))
        yield made


def names(listeners: tuple[Listener, ...]) -> list[str]:
    """The names of some listeners."""
    return [listener.name for listener in listeners]


def test_the_number_of_a_listener() -> None:
    with group("http", "http-0", "http-12", "unknown") as made:
        assert [number_of(one) for one in made] == [0, 0, 12, 0]


def test_a_worker_belongs_to_slot_modulo_listeners() -> None:
    # In the order in which systemd passed them, which is any.
    with group("http-2", "http", "http-1", unix="http") as made:
        for slot in range(9):
            own, others = divide(made, str(slot), 9)
            label = ["http", "http-1", "http-2"][slot % 3]
            assert names(own) == [label, "http"]  # the path is everybody's
            assert label not in names(others)
            assert len(others) == 2


def test_listeners_that_are_left_count_from_those_that_are_there() -> None:
    with group("http-4", "http-7") as made:
        assert [names(divide(made, slot, 3)[0]) for slot in "012"] == [["http-4"], ["http-7"], ["http-4"]]


def test_fewer_workers_than_listeners_share_them() -> None:
    with group("http", "http-1", "http-2", "http-3", "http-4") as made:
        assert names(divide(made, "0", 2)[0]) == ["http", "http-2", "http-4"]
        assert names(divide(made, "1", 2)[0]) == ["http-1", "http-3"]
        assert divide(made, "0", 1) == (tuple(made), ())


def test_two_addresses_of_one_listener_are_one_group() -> None:
    with group("http", "http", "http-1", "http-1") as made:
        assert names(divide(made, "1", 2)[0]) == ["http-1", "http-1"]


@pytest.mark.parametrize("slot", ["0", "3", "surge"])
def test_one_listener_is_everybodys(slot: str) -> None:
    with group("http", unix="http") as made:
        assert divide(made, slot, 4) == (tuple(made), ())


def test_everything_is_the_surge_workers() -> None:
    with group("http", "http-1") as made:
        assert divide(made, "surge", 2) == (tuple(made), ())


# Two listeners with one name scheme, but each on a port of its own: so a test chooses the group.
@contextlib.contextmanager
def two_groups(loop: str, workers: int) -> Iterator[tuple[list[socket.socket], list[Worker]]]:
    """Two listeners and some workers on both."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(listen()) for _ in range(2)]
        started = [
            stack.enter_context(
                run_worker(
                    *("--loop", loop, "--workers", str(workers)),
                    app="hello:app",
                    listeners=sockets,
                    names="http:http-1",
                    slot=str(slot),
                )
            )
            for slot in range(workers)
        ]
        yield sockets, started


def pause(worker: Worker) -> None:
    """Stop a worker, as a long computation does."""
    worker.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, worker.process.pid, os.WSTOPPED)


def answered_by(listener: socket.socket) -> str:
    """Which process answers a request on a new connection."""
    with Client(listener) as client:
        return client.get()[2].decode().rpartition(" ")[2].strip()


def test_long_lived_connections_to_one_group_are_spread_over_all_workers(loop: str) -> None:
    with two_groups(loop, 4) as (sockets, _), contextlib.ExitStack() as stack:
        spread: Counter[bytes] = Counter()
        for number in range(400):  # many, because a worker may wait for a CPU while a dozen come
            client = stack.enter_context(Client(sockets[number % 2]))
            spread[client.get()[2]] += 1
        assert len(spread) == 4
        assert min(spread.values()) >= 70
        assert max(spread.values()) <= 130


def test_others_serve_a_listener_whose_workers_are_away(loop: str) -> None:
    with two_groups(loop, 2) as (sockets, (present, absent)):
        pause(absent)
        assert {answered_by(sockets[1]) for _ in range(20)} == {str(present.process.pid)}
        absent.process.kill()
        assert {answered_by(sockets[1]) for _ in range(20)} == {str(present.process.pid)}


def flood(listener: socket.socket, stop: threading.Event) -> None:
    """Ask on new connections, without a pause."""
    while not stop.is_set():
        answered_by(listener)


def test_traffic_in_its_own_group_does_not_make_others_starve(loop: str) -> None:
    with two_groups(loop, 2) as (sockets, (present, absent)):
        pause(absent)
        stop = threading.Event()
        floods = [threading.Thread(target=flood, args=(sockets[0], stop)) for _ in range(8)]
        for thread in floods:
            thread.start()
        try:
            # Whether it stands in that line at the moment or only looks there now and then.
            answers = {answered_by(sockets[1]) for _ in range(50)}
        finally:
            stop.set()
            for thread in floods:
                thread.join()
        assert answers == {str(present.process.pid)}


def test_after_traffic_a_worker_sleeps_again(loop: str) -> None:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(listen()) for _ in range(8)]
        worker = stack.enter_context(
            run_worker(
                "--loop",
                loop,
                app="hello:app",
                listeners=sockets,
                names=":".join(f"http-{number}" for number in range(8)),
                environment={"WATCHDOG_USEC": "2000000"},
            )
        )
        for _ in range(40):
            answered_by(sockets[0])
        worker.message("WATCHDOG=1")
        before = switches(worker.process.pid)
        for _ in range(2):  # two seconds
            worker.message("WATCHDOG=1")
        # Twice a second for a lost wake-up, once for the Date header and once for the watchdog.
        assert switches(worker.process.pid) - before <= 20
