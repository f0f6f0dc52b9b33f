"""Connections that change hands between processes: each is in exactly one pair, whoever hangs or dies."""

import asyncio
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from svc.worker.handover import Door, Meeting, Siblings
from svc.worker.handover.meeting import FOLDER, Report, same_user
from svc.worker.handover.siblings import CROWD, WINDOW
from svc.worker.log import Journal
from tests.unit.worker.process import PATIENCE, ROOT, listen

SCRIPT = Path(__file__).with_name("sibling.py")
MINE = b"mine\n"


@dataclass
class Place:
    """A folder where siblings meet, the siblings, and clients with their connections to us."""

    folder: Path
    stack: ExitStack
    clients: list[socket.socket] = field(default_factory=list)

    def start(
        self, slot: str, mode: str, *rest: str, limit: int = 0, fds: tuple[int, ...] = ()
    ) -> "subprocess.Popen[bytes]":
        """Start a sibling."""

        def limited() -> None:
            if limit:
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(self.folder), slot, mode, *rest],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
            pass_fds=fds,
            preexec_fn=limited,  # noqa: PLW1509 - no thread is running
        )
        self.stack.callback(process.communicate)
        self.stack.callback(process.kill)
        return process

    def taker(self, slot: str, load: int = 0, limit: int = 0) -> "subprocess.Popen[bytes]":
        """Start a sibling that takes."""
        process = self.start(slot, "take", str(load), limit=limit)
        hear(process, b"ready\n")
        return process

    def connections(self, count: int) -> list[socket.socket]:
        """So many accepted connections, each with a client in `clients`."""
        accepted = []
        with listen() as listener:
            for _ in range(count):
                client = self.stack.enter_context(socket.socket())
                client.settimeout(PATIENCE)
                client.connect(listener.getsockname())
                self.clients.append(client)
                accepted.append(self.stack.enter_context(listener.accept()[0]))
        return accepted


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path, stack)


def hear(process: "subprocess.Popen[bytes]", line: bytes) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == line


def stop(process: "subprocess.Popen[bytes]") -> None:
    """SIGSTOP, and wait until it is stopped."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


@dataclass
class Giver:
    """Gives from the test itself; what comes back says `mine` to its client."""

    siblings: Siblings
    changed: asyncio.Event
    returned: list[socket.socket]

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until it is true; it is looked at whenever something changed."""
        async with asyncio.timeout(PATIENCE):
            while not true():
                self.changed.clear()
                await self.changed.wait()

    async def give_all(self, connections: list[socket.socket], slot: str = "") -> None:
        """Give each, as soon as there is room."""
        for connection in connections:
            await self.until(lambda one=connection: self.siblings.give(one, slot))  # type: ignore[misc]
            connection.close()


Giving = Callable[[Giver], Coroutine[Any, Any, None]]


def run_giver(place: Place, giving: Giving, loop: str = "asyncio", patience: float = PATIENCE) -> Giver:
    async def body() -> Giver:
        changed = asyncio.Event()
        returned: list[socket.socket] = []

        def back(connection: socket.socket) -> None:
            returned.append(place.stack.enter_context(connection))
            connection.send(MINE)
            changed.set()

        meeting = Meeting.join(place.folder, "giver")
        siblings = Siblings(asyncio.get_running_loop(), meeting, back, changed.set, patience)
        siblings.seek()
        giver = Giver(siblings, changed, returned)
        await giving(giver)
        siblings.close()
        meeting.leave()
        return giver

    if loop == "asyncio":
        return asyncio.run(body())
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(body())


def heard(client: socket.socket) -> bytes:
    """What the client is told next; empty when its connection has ended."""
    try:
        return client.recv(100)
    except ConnectionResetError:
        return b""


def nobody_else_speaks(client: socket.socket) -> bool:
    """Whether no byte is there beyond what was read."""
    client.setblocking(False)
    try:
        return client.recv(100) == b""
    except BlockingIOError:
        return True


def test_the_sibling_with_the_fewest_connections_takes(place: Place, loop: str) -> None:
    place.taker("0", load=12)
    place.taker("1", load=2)

    async def giving(giver: Giver) -> None:
        await giver.until(lambda: all(one.load is not None for one in giver.siblings._known.values()))
        await giver.give_all(place.connections(10))
        await giver.until(lambda: giver.siblings.waiting == 0)
        assert giver.siblings.given == 10

    run_giver(place, giving, loop)
    assert [heard(client) for client in place.clients] == [b"1\n"] * 10


def test_they_level_out(place: Place, loop: str) -> None:
    for slot in ("0", "1", "surge"):
        place.taker(slot)

    async def giving(giver: Giver) -> None:
        await giver.until(lambda: all(one.load is not None for one in giver.siblings._known.values()))
        await giver.give_all(place.connections(150))
        await giver.until(lambda: giver.siblings.waiting == 0)

    run_giver(place, giving, loop)
    told = [heard(client) for client in place.clients]
    assert all(abs(told.count(slot) - 50) <= WINDOW for slot in (b"0\n", b"1\n", b"surge\n"))


def test_one_slot_can_be_named_and_needs_no_report_first(place: Place, loop: str) -> None:
    place.taker("0")
    place.taker("7", load=1000)

    async def giving(giver: Giver) -> None:
        giver.siblings.close()  # nobody is known yet
        for connection in place.connections(WINDOW):
            assert giver.siblings.give(connection, "7")
            connection.close()
        await giver.until(lambda: giver.siblings.waiting == 0)

    run_giver(place, giving, loop)
    assert [heard(client) for client in place.clients] == [b"7\n"] * WINDOW


def test_nobody_takes_where_nobody_is(place: Place) -> None:
    left_behind = place.taker("3")
    left_behind.kill()
    left_behind.wait()
    assert (place.folder / FOLDER / "3").exists()

    async def giving(giver: Giver) -> None:
        assert not giver.siblings
        assert not giver.siblings.ready()
        [connection] = place.connections(1)
        assert not giver.siblings.give(connection)
        assert not giver.siblings.give(connection, "3")
        assert not giver.siblings.give(connection, "4")

    run_giver(place, giving)


def test_what_a_hung_sibling_does_not_take_comes_back(place: Place, loop: str) -> None:
    hung = place.taker("0")

    async def giving(giver: Giver) -> None:
        await giver.until(giver.siblings.ready)
        stop(hung)
        for connection in place.connections(5):
            assert giver.siblings.give(connection)
            connection.close()
        await giver.until(lambda: len(giver.returned) == 5)
        assert not giver.siblings
        assert giver.siblings.given == 0
        giver.siblings.seek()
        assert not giver.siblings  # it is left alone for a while

    run_giver(place, giving, loop, patience=0.2)
    assert [heard(client) for client in place.clients] == [MINE] * 5
    hung.send_signal(signal.SIGCONT)
    assert hung.stdin is not None
    hung.stdin.write(b"\n")
    hung.stdin.flush()
    hear(hung, b"closed\n")  # it has seen all that there was for it to see
    assert all(nobody_else_speaks(client) for client in place.clients)


def test_a_sibling_that_hangs_before_its_first_report_gets_nothing(place: Place) -> None:
    stop(place.taker("0"))

    async def giving(giver: Giver) -> None:
        assert giver.siblings
        assert not giver.siblings.ready()
        await giver.until(lambda: not giver.siblings)

    run_giver(place, giving, patience=0.2)


def test_a_named_one_that_hangs_gives_back_too(place: Place) -> None:
    stop(place.taker("0"))

    async def giving(giver: Giver) -> None:
        [connection] = place.connections(1)
        assert giver.siblings.give(connection, "0")
        connection.close()
        await giver.until(lambda: bool(giver.returned))

    run_giver(place, giving, patience=0.2)
    assert heard(place.clients[0]) == MINE


def test_our_own_loop_standing_still_is_no_fault_of_the_sibling(place: Place, loop: str) -> None:
    place.taker("0")

    async def giving(giver: Giver) -> None:
        await giver.until(giver.siblings.ready)
        for connection in place.connections(3):
            assert giver.siblings.give(connection)
            connection.close()
        assert [heard(client) for client in place.clients] == [b"0\n"] * 3  # blocks until it has reported
        time.sleep(0.3)  # as an application's own code would
        await giver.until(lambda: giver.siblings.waiting == 0)
        assert giver.siblings

    assert not run_giver(place, giving, loop, patience=0.2).returned


def test_what_a_killed_sibling_has_not_taken_comes_back(place: Place, loop: str) -> None:
    dying = place.taker("0")

    async def giving(giver: Giver) -> None:
        await giver.until(giver.siblings.ready)
        stop(dying)
        for connection in place.connections(5):
            assert giver.siblings.give(connection)
            connection.close()
        dying.kill()
        await giver.until(lambda: len(giver.returned) == 5)

    run_giver(place, giving, loop)
    assert [heard(client) for client in place.clients] == [MINE] * 5


def test_what_a_killed_giver_had_given_is_taken(place: Place) -> None:
    taker = place.taker("0")
    connections = place.connections(5)
    fds = tuple(connection.fileno() for connection in connections)
    giver = place.start("1", "give", *map(str, fds), fds=fds)
    for connection in connections:
        connection.close()
    assert giver.stdin is not None
    # It gives when it is told to, by then the sibling has reported and hangs.
    stop_when_known(taker, giver)
    giver.stdin.write(b"\n")
    giver.stdin.flush()
    hear(giver, b"ready\n")
    giver.kill()
    giver.wait()
    taker.send_signal(signal.SIGCONT)
    assert [heard(client) for client in place.clients] == [b"0\n"] * 5


def stop_when_known(taker: "subprocess.Popen[bytes]", giver: "subprocess.Popen[bytes]") -> None:
    hear(giver, b"found\n")
    stop(taker)


def test_who_closes_its_door_takes_what_is_given_and_then_no_more(place: Place, loop: str) -> None:
    leaving = place.taker("0")

    async def giving(giver: Giver) -> None:
        await giver.until(giver.siblings.ready)
        first, second = place.connections(2)
        stop(leaving)
        assert giver.siblings.give(first)
        first.close()
        assert leaving.stdin is not None
        leaving.stdin.write(b"\n")
        leaving.stdin.flush()
        leaving.send_signal(signal.SIGCONT)
        await giver.until(lambda: not giver.siblings)
        giver.siblings.seek()
        assert not giver.siblings.give(second)
        assert not giver.siblings.give(second, "0")

    assert not run_giver(place, giving, loop).returned
    assert heard(place.clients[0]) == b"0\n"


def test_at_its_limit_of_descriptors_a_sibling_loses_none(place: Place, loop: str) -> None:
    place.taker("0", limit=40)
    connections = place.connections(60)

    async def giving(giver: Giver) -> None:
        await giver.until(giver.siblings.ready)
        for connection in connections:
            while giver.siblings and not giver.siblings.give(connection):
                giver.changed.clear()
                await giver.changed.wait()
            if not giver.siblings:
                connection.send(MINE)
        await giver.until(lambda: giver.siblings.waiting == 0)

    run_giver(place, giving, loop)
    told = [heard(client) for client in place.clients]
    assert set(told) == {b"0\n", MINE}
    assert told.count(b"0\n") >= 20


@pytest.mark.parametrize("seed", range(5))
def test_when_siblings_die_each_connection_has_one_owner_or_died_with_it(place: Place, seed: int) -> None:
    chance = random.Random(seed)
    takers = [place.taker(str(number)) for number in range(4)]
    connections = place.connections(200)
    deaths = sorted(chance.sample(range(200), 3))

    async def giving(giver: Giver) -> None:
        for number, connection in enumerate(connections):
            if number in deaths:
                takers[deaths.index(number)].kill()
            await giver.give_all([connection])
        await giver.until(lambda: giver.siblings.waiting == 0)

    returned = run_giver(place, giving).returned
    alive = {b"3\n", MINE}
    dead = {b"0\n", b"1\n", b"2\n"}
    told = [heard(client) for client in place.clients]
    assert told.count(MINE) == len(returned)
    assert set(told) <= alive | dead | {b""}  # one owner spoke, or it ended with its owner
    assert all(nobody_else_speaks(client) for client in place.clients)


def test_only_some_of_a_crowd_are_asked(place: Place) -> None:
    async def body() -> int:
        loop = asyncio.get_running_loop()
        with ExitStack() as closing:
            for number in range(CROWD + 10):
                meeting = Meeting.join(place.folder, str(number))
                closing.callback(meeting.leave)
                door = Door(loop, meeting, lambda _: None, lambda: 0, Journal())
                door.open()
                closing.callback(door.close)
            mine = Meeting.join(place.folder, "giver")
            closing.callback(mine.leave)
            siblings = Siblings(loop, mine, lambda _: None)
            closing.callback(siblings.close)
            siblings.seek()
            siblings.seek()
            return len(siblings._known)

    assert asyncio.run(body()) == CROWD


def test_a_long_path_is_no_hindrance(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    with ExitStack() as stack:
        place = Place(deep, stack)
        place.taker("0")

        async def giving(giver: Giver) -> None:
            await giver.give_all(place.connections(1))
            await giver.until(lambda: giver.siblings.waiting == 0)

        run_giver(place, giving)
        assert heard(place.clients[0]) == b"0\n"


def test_another_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        assert same_user(ours)
        other = os.geteuid() + 1
        monkeypatch.setattr(os, "geteuid", lambda: other)
        assert not same_user(ours)


def test_the_folder_is_for_its_user_alone(tmp_path: Path) -> None:
    Meeting.join(tmp_path, "0").leave()
    assert (tmp_path / FOLDER).stat().st_mode & 0o777 == 0o700


def test_another_version_s_words_are_not_understood() -> None:
    assert Report.parse(Report(3, 4).packed()) == Report(3, 4)
    assert Report.parse(b"svc2" + bytes(8)) is None
    assert Report.parse(b"") is None
