"""The fair line: who gets which connection, and what happens when descriptors run out."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from svc.worker import loops
from svc.worker.log import Journal
from tests.unit.worker.process import Client, Worker, listen, run_worker, switches


def handled_by(listener: socket.socket) -> str:
    """Which worker answers a request on a new connection."""
    with Client(listener) as client:
        return client.get()[2].decode().rpartition(" ")[2].strip()


def settle(*workers: Worker) -> None:
    """Return when all wait in the kernel: one that still runs when a connection comes is passed by."""
    for worker in workers:
        while Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
            os.sched_yield()


def test_two_workers_take_turns_exactly(loop: str) -> None:
    with (
        listen() as listener,
        run_worker("--workers", "2", "--loop", loop, app="hello:app", listeners=[listener]) as one,
        run_worker("--workers", "2", "--loop", loop, app="hello:app", listeners=[listener]) as two,
    ):
        answers = []
        for _ in range(200):
            settle(one, two)
            answers.append(handled_by(listener))
        assert set(answers) == {str(one.process.pid), str(two.process.pid)}
        # Exactly in turn, except where the sweep, which looks without being woken, came first.
        in_turn = sum(before != after for before, after in pairwise(answers))
        assert in_turn >= 185
        assert max(Counter(answers).values()) <= 110


def test_long_lived_connections_are_spread_evenly(loop: str) -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen())
        for _ in range(3):
            stack.enter_context(
                run_worker("--workers", "3", "--loop", loop, app="hello:app", listeners=[listener])
            )
        spread: Counter[bytes] = Counter()
        for _ in range(300):  # many, because a worker may wait for a CPU for a time in which dozens come
            client = stack.enter_context(Client(listener))
            spread[client.get()[2]] += 1
        assert len(spread) == 3
        assert min(spread.values()) >= 60


@pytest.mark.long
def test_a_connection_wakes_one_of_64_workers(loop: str) -> None:
    workers, rounds = 64, 4
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen())
        options = ("--workers", f"{workers}", "--loop", loop)
        fleet = [
            stack.enter_context(run_worker(*options, app="hello:app", listeners=[listener]))
            for _ in range(workers)
        ]
        settle(*fleet)
        before = sum(switches(worker.process.pid) for worker in fleet)
        answers = Counter(handled_by(listener) for _ in range(rounds * workers))
        woken = sum(switches(worker.process.pid) for worker in fleet) - before
    # For each connection one worker wakes, a few times: to accept, to answer, to close. That all look for
    # lost wake-ups now and then is in it too. Were all woken, it would be 64 and more.
    assert woken <= 8 * rounds * workers
    assert len(answers) == workers
    assert max(answers.values()) <= 2 * rounds


@pytest.mark.parametrize("listeners", [1, 4])
def test_a_worker_starts_while_clients_wait_already(loop: str, listeners: int) -> None:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(listen()) for _ in range(listeners)]
        clients = [stack.enter_context(Client(one)) for one in sockets for _ in range(20)]
        for client in clients:
            client.ask()
        names = ":".join(["http", *(f"http-{number}" for number in range(1, listeners))])
        options = ("--workers", "4", "--loop", loop)
        worker = stack.enter_context(
            run_worker(*options, app="hello:app", listeners=sockets, names=names, slot="0")
        )
        for client in clients:
            assert client.answer()[2].endswith(f"{worker.process.pid}\n".encode())


def test_a_stopped_worker_is_not_in_the_line(loop: str) -> None:
    with (
        listen() as listener,
        run_worker("--workers", "2", "--loop", loop, app="hello:app", listeners=[listener]) as absent,
        run_worker("--workers", "2", "--loop", loop, app="hello:app", listeners=[listener]) as present,
    ):
        absent.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, absent.process.pid, os.WSTOPPED)
        # One wake-up may still go to the stopped one; the sweep finds that connection.
        assert {handled_by(listener) for _ in range(10)} == {str(present.process.pid)}
        absent.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("limit", [40, 300])
def test_without_descriptors_accepting_pauses_and_says_so_once(loop: str, limit: int) -> None:
    with (
        listen() as listener,
        run_worker("--loop", loop, app="hello:app", listeners=[listener], limit=limit) as worker,
        contextlib.ExitStack() as stack,
    ):
        clients = [stack.enter_context(Client(listener)) for _ in range(limit + 20)]
        worker.line("Too many open files; pausing for 1 s")
        before = cpu_seconds(worker.process.pid)
        clients[0].get()  # those that were accepted are served
        for client in clients[:-15]:
            client.sock.close()
        assert clients[-1].get()[0] == 200
        assert cpu_seconds(worker.process.pid) - before < 0.5  # no busy loop in the pause
        worker.terminate()
        for client in clients:
            client.sock.close()
        assert worker.ended() == 0
        assert worker.journal.count("Too many open files") == 1


def test_who_has_no_descriptor_left_takes_no_connection(loop: str) -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen())
        # As units have it: then a request begins before its worker is in line again.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
        worker = stack.enter_context(
            run_worker("--loop", loop, "--workers", "2", listeners=[listener], limit=300)
        )
        known, eater, *strangers = [stack.enter_context(Client(listener)) for _ in range(7)]
        assert known.get()[0] == 200
        assert eater.get("/eat")[2].endswith(b" taken\n")
        for stranger in strangers:
            stranger.ask()
        worker.line("Too many open files; pausing for 1 s")
        assert known.get("/give-back")[0] == 200
        assert [stranger.answer()[0] for stranger in strangers] == [200] * 5


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_idle_worker_uses_no_measurable_cpu(loop: str) -> None:
    with run_worker("--loop", loop, app="hello:app", environment={"WATCHDOG_USEC": "2000000"}) as worker:
        worker.message("WATCHDOG=1")
        before = cpu_seconds(worker.process.pid)
        for _ in range(2):
            worker.message("WATCHDOG=1")
        assert cpu_seconds(worker.process.pid) - before <= 0.03


def test_a_loop_that_fails_the_proof_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    closed: list[bool] = []

    class Unfit(asyncio.SelectorEventLoop):
        def add_reader(self, *_: object) -> None:
            """Watch nothing."""

        def remove_reader(self, *_: object) -> bool:
            """Nothing was watched."""
            return False

        def close(self) -> None:
            closed.append(True)
            super().close()

    monkeypatch.setattr(loops, "_uvloop", Unfit)
    chosen = loops.choose(Journal())
    assert chosen.name == "asyncio"
    assert (
        "uvloop cannot carry the fair line (its epoll instance is not to be found" in capsys.readouterr().err
    )
    assert closed == [True]
    loops.close(chosen)


def test_a_loop_that_is_not_installed_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> asyncio.AbstractEventLoop:
        raise ModuleNotFoundError("No module named 'uvloop'")

    monkeypatch.setattr(loops, "_uvloop", missing)
    chosen = loops.choose(Journal())
    assert chosen.name == "asyncio"
    assert capsys.readouterr().err == ""
    loops.close(chosen)


def test_each_loop_passes_the_proof_and_leaves_no_descriptor_behind(loop: str) -> None:
    numbers = []
    for _ in range(3):
        chosen = loops.choose(Journal(), loop)
        assert chosen.name == loop
        loops.close(chosen)
        del chosen
        gc.collect()  # uvloop closes its own descriptors when it is collected
        numbers.append(len(list(Path("/proc/self/fd").iterdir())))
    assert numbers[1] == numbers[2]  # the first may leave what all loops of a process share
