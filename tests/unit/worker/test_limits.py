"""Limits at which a worker replaces itself: when it is due, and that it waits for its turn."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from socket import AF_UNIX, SOCK_DGRAM
from socket import socket as Socket
from typing import Any

import pytest

from svc import turn
from svc.worker.limits import PATIENCE, Inherited, Limits, Recycling, resident
from svc.worker.log import Journal
from svc.worker.notify import Notify
from tests.unit.worker.conftest import Variant, hide
from tests.unit.worker.process import PATIENCE as DEADLINE
from tests.unit.worker.process import listen, run_worker

NO_REQUEST = 0


class Systemd:
    """The other end of NOTIFY_SOCKET, and the sender that a worker has of it."""

    def __init__(self) -> None:
        self.receiver = Socket(AF_UNIX, SOCK_DGRAM)
        self.receiver.bind("")
        self.socket: Socket | None = Socket(AF_UNIX, SOCK_DGRAM)
        self.socket.connect(self.receiver.getsockname())
        self.busy = False
        self.notify_of = Notify(self)

    def notify(self, state: str) -> None:
        """Send one message."""
        if self.busy:
            raise BlockingIOError
        assert self.socket is not None
        self.socket.send(state.encode())

    def received(self) -> list[str]:
        """What was sent. Descriptors are closed, as after the end of a service."""
        self.receiver.setblocking(False)
        found = []
        try:
            while True:
                found.append(self.receiver.recv(4096).decode())
        except BlockingIOError:
            return found

    def close(self) -> None:
        """Close both ends."""
        self.receiver.close()
        if self.socket is not None:
            self.socket.close()


def fill(sock: Socket) -> None:
    """Send until there is no room."""
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.send(b"STATUS=")


@pytest.fixture
def systemd() -> Iterator[Systemd]:
    """A systemd that listens."""
    made = Systemd()
    yield made
    made.close()


Make = Callable[..., Recycling]


@pytest.fixture
def journal() -> io.StringIO:
    """What the worker said."""
    return io.StringIO()


@pytest.fixture
def make(tmp_path: Path, systemd: Systemd, journal: io.StringIO) -> Make:
    """Make a worker's recycling without jitter."""

    def recycling(**more: Any) -> Recycling:
        limits = Limits(**{key: more.pop(key) for key in ("requests", "memory", "lifetime") if key in more})
        given: dict[str, Any] = {"folder": tmp_path, "jitter": lambda: 0.0, "inherited": Inherited()} | more
        return Recycling(limits, given.pop("folder"), systemd.notify_of, Journal(journal), **given)

    return recycling


def test_no_limits_no_end(make: Make) -> None:
    assert not make().is_due(10**9, 0.0)
    assert not make().is_due(10**9, 1e9)


def test_requests_lifetime_and_memory() -> None:
    limits = Limits(requests=10, memory=2**20, lifetime=60.0)
    for requests, memory, age, why in [
        (9, 2**20 - 1, 59.9, ""),
        (10, 0, 0.0, "limits.requests: 10 answered"),
        (0, 0, 60.0, "limits.lifetime: 60 s old"),
        (0, 3 * 2**20, 0.0, "limits.memory: 3 MiB resident"),
    ]:
        assert limits.reached(requests, partial(int, memory), age) == why


def test_memory_is_not_read_without_a_limit() -> None:
    def read() -> int:
        pytest.fail("read")

    assert Limits(requests=1).reached(0, read, 1e9) == ""


def test_jitter_makes_requests_and_lifetime_up_to_a_tenth_lower() -> None:
    limits = Limits(requests=1000, memory=2**30, lifetime=100.0)
    assert limits.with_jitter(lambda: 0.0) == limits
    assert limits.with_jitter(lambda: 1.0) == Limits(900, 2**30, 90.0)
    assert Limits().with_jitter(lambda: 1.0) == Limits()
    assert Limits(requests=1).with_jitter(lambda: 1.0) == Limits(requests=1)
    shares = {limits.with_jitter().requests for _ in range(100)}
    assert len(shares) > 1
    assert min(shares) >= 900
    assert max(shares) <= 1000


def test_the_resident_size_of_this_process() -> None:
    before = resident()
    grown = bytearray(os.urandom(1)) * 2**25
    assert 2**24 < resident() - before < 2**27
    del grown


def test_a_worker_that_is_due_leaves_its_turn_with_systemd(
    make: Make, tmp_path: Path, systemd: Systemd, journal: io.StringIO
) -> None:
    worker = make(requests=3)
    assert not worker.is_due(2, 0.0)
    assert worker.is_due(3, 1.0)
    assert systemd.received() == ["FDSTORE=1\nFDNAME=turn\nFDPOLL=0"]
    assert turn.take(tmp_path) is None
    assert journal.getvalue() == "<6>limits.requests: 3 answered; draining, to be replaced\n"


def test_age_counts_from_readiness(make: Make) -> None:
    worker = make(lifetime=10.0)
    assert not worker.is_due(NO_REQUEST, 1000.0)
    assert not worker.is_due(NO_REQUEST, 1009.9)
    assert worker.is_due(NO_REQUEST, 1010.0)


def test_it_waits_while_a_sibling_is_away_and_says_so_once(
    make: Make, tmp_path: Path, systemd: Systemd, journal: io.StringIO
) -> None:
    other = turn.take(tmp_path)
    assert other is not None
    worker = make(requests=1)
    assert not worker.is_due(1, 0.0)
    assert not worker.is_due(1, PATIENCE - 1)
    assert journal.getvalue() == ""
    assert not worker.is_due(1, PATIENCE)
    assert not worker.is_due(1, PATIENCE + 1)
    assert journal.getvalue().count("to be replaced when no rollout goes on") == 1
    assert systemd.received() == []
    turn.give_back(other)
    assert worker.is_due(1, PATIENCE + 2)


def test_it_stays_when_systemd_does_not_listen(make: Make, tmp_path: Path, systemd: Systemd) -> None:
    worker = make(requests=1)
    systemd.busy = True
    systemd.notify_of.status("busy")
    assert not worker.is_due(1, 0.0)
    free = turn.take(tmp_path)
    assert free is not None
    turn.give_back(free)
    systemd.busy = False
    assert worker.is_due(1, 1.0)


def test_it_stays_when_its_queue_is_full(make: Make, tmp_path: Path, systemd: Systemd) -> None:
    worker = make(requests=1)
    assert systemd.socket is not None
    systemd.socket.setblocking(False)
    fill(systemd.socket)
    assert not worker.is_due(1, 0.0)
    free = turn.take(tmp_path)
    assert free is not None
    turn.give_back(free)


def test_a_worker_that_was_started_by_hand_stays(make: Make, systemd: Systemd) -> None:
    assert not make(folder=None, requests=1).is_due(1, 0.0)
    assert systemd.received() == []


def test_a_folder_that_is_gone_is_told_once(make: Make, tmp_path: Path, journal: io.StringIO) -> None:
    folder = tmp_path / "app"
    worker = make(folder=folder, requests=1)
    for now in range(3):
        assert not worker.is_due(1, float(now))
    assert journal.getvalue().count("No such file or directory; trying again") == 1
    folder.mkdir()
    assert worker.is_due(1, 3.0)


def test_a_limit_below_the_size_of_a_fresh_worker_is_ignored(make: Make, journal: io.StringIO) -> None:
    worker = make(memory=2**27, requests=5, size=lambda: 2**27)
    assert not worker.is_due(NO_REQUEST, 0.0)
    assert not worker.is_due(NO_REQUEST, 1.0)
    assert "limits.memory = 128 MiB is ignored" in journal.getvalue()
    assert worker.is_due(5, 2.0)


def test_a_successor_gives_the_turn_back_when_systemd_knows_that_it_is_ready(
    make: Make, tmp_path: Path, systemd: Systemd
) -> None:
    left = turn.take(tmp_path)
    assert left is not None
    worker = make(inherited=Inherited((os.dup(left),)))
    systemd.busy = True
    systemd.notify_of.ready("idle")
    assert not worker.is_due(NO_REQUEST, 0.0)
    assert turn.take(tmp_path) is None
    systemd.busy = False
    assert not worker.is_due(NO_REQUEST, 1.0)
    assert systemd.received() == ["READY=1\nSTATUS=idle", "FDSTOREREMOVE=1\nFDNAME=turn"]
    free = turn.take(tmp_path)
    assert free is not None
    for fd in (free, left):
        os.close(fd)


def test_a_real_worker_ends_at_its_limit_and_asks_for_a_successor(variant: Variant, tmp_path: Path) -> None:
    with run_worker(
        "--requests", "3", "--loop", variant.loop, python=variant.python, runtime=tmp_path
    ) as worker:
        with worker.client() as client:
            for _ in range(3):
                assert client.get()[0] == 200
            worker.message("FDSTORE=1")
            worker.message("STOPPING=1")
            # No sibling is there to take the connection: it ends with an answer, like in any drain.
            status, headers, _ = client.get()
            assert (status, headers["connection"]) == (200, "close")
        assert worker.ended() == turn.EXIT_STATUS
        assert "<6>limits.requests: 3 answered; draining, to be replaced" in worker.journal


def test_a_real_wsgi_worker_of_an_age(loop: str, tmp_path: Path) -> None:
    with run_worker("--lifetime", "0.1", "--loop", loop, app="wsgi_app:app", runtime=tmp_path) as worker:
        worker.message("STOPPING=1")
        assert worker.ended() == turn.EXIT_STATUS
        assert "limits.lifetime: " in worker.journal


def test_who_stops_a_worker_that_drains_decides_what_comes_after(tmp_path: Path) -> None:
    with run_worker("--requests", "1", runtime=tmp_path) as worker:
        with worker.client() as slow, worker.client() as quick:
            slow.ask("/slow?seconds=2")
            assert quick.get()[0] == 200
            worker.message("STOPPING=1")
            worker.process.terminate()
            assert slow.answer()[0] == 200
        assert worker.ended() == 0


class Folder:
    """Passed to a worker as if it were a listener."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def fileno(self) -> int:
        """Its descriptor."""
        return self.fd


def test_a_real_successor_serves_and_gives_the_turn_back(tmp_path: Path) -> None:
    left = turn.take(tmp_path)
    assert left is not None
    given: list[Any] = [listen(), Folder(left)]
    with given[0], run_worker(listeners=given, names="http:turn", runtime=tmp_path) as worker:
        worker.message("FDSTOREREMOVE=1")
        free = turn.take(tmp_path)
        assert free is not None
        os.close(free)
        with worker.client() as client:
            assert client.get()[0] == 200
    os.close(left)


@pytest.mark.parametrize(
    ("app", "environment", "missing"),
    [
        pytest.param("asgi_app:app", {"STARTUP_FAILS": "raise"}, (), id="start-up"),
        pytest.param("asgi_app:missing", {}, (), id="import"),
        pytest.param("asgi_app:app", {}, ("uvicorn",), id="environment"),
    ],
)
def test_a_successor_that_cannot_start_leaves_the_turn_to_a_rollout(
    tmp_path: Path, app: str, environment: dict[str, str], missing: tuple[str, ...]
) -> None:
    path = [hide(tmp_path, missing)] if missing else []
    left = turn.take(tmp_path)
    assert left is not None
    given: list[Any] = [listen(), Folder(left)]
    with (
        given[0],
        run_worker(
            listeners=given,
            names="http:turn",
            app=app,
            environment=environment,
            path=path,
            runtime=tmp_path,
            ready=False,
        ) as worker,
    ):
        assert worker.ended() == 1
    assert turn.take(tmp_path) is None
    with turn.shared(tmp_path, DEADLINE, lambda: pytest.fail("waited")) as had:
        assert had
    os.close(left)
