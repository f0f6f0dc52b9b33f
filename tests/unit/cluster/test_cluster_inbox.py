"""Reading a worker's queue, and the mark that a killed worker leaves behind at each moment of it."""

import os
import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svc.cluster.bus import values, wire
from svc.cluster.bus.inbox import Inbox
from svc.cluster.scoreboard import MARK_INCARNATION, MARK_NUMBER, RECEIVED, REFUSED


class Killed(BaseException):
    """The worker is killed at this moment."""


class Memory(list[int]):
    """The words of a record, whose writer is killed before one of its writes."""

    writes_left = 1 << 30

    def __setitem__(self, key: Any, value: Any) -> None:
        if not self.writes_left:
            raise Killed
        self.writes_left -= 1
        super().__setitem__(key, value)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[socket.socket]:
    """A worker's queue."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        sock.bind(str(tmp_path / "queue"))
        yield sock


def send(queue: socket.socket, incarnation: int, *numbers: int) -> None:
    """Put a datagram into the queue, of messages whose values are their numbers."""
    kind, _ = values.encode(1)
    frames = [wire.frame(kind, wire.MESSAGE, number, str(number).encode()) for number in numbers]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(wire.header(0, incarnation) + b"".join(frames), queue.getsockname())


def wait_and_read(inbox: Inbox) -> None:
    """Do what an event loop does until the queue is empty."""
    while select.select([inbox.sock], [], [], 0)[0]:
        inbox.readable()


def read_all(inbox: Inbox) -> None:
    """Do what one does who reads without an event loop."""
    inbox.read(1 << 30)


SENT = [(7, (1,)), (7, (100, 101)), (8, (3, 4, 5)), (7, (102,)), (9, (100,)), (8, (6,)), (8, (7,)), (8, (8,))]


@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize("read", [read_all, wait_and_read])
@pytest.mark.parametrize("moment", range(40))
def test_a_kill_costs_at_most_the_message_that_was_being_begun(
    queue: socket.socket, moment: int, read: Callable[[Inbox], None], one_by_one: bool
) -> None:
    memory = Memory([0] * 64)
    memory.writes_left = moment
    begun: list[tuple[int, int]] = []

    def take(_slot: int, incarnation: int, frame: wire.Frame, _fds: list[int]) -> None:
        begun.append((incarnation, frame[3]))

    inbox = Inbox(queue, memory, take)  # type: ignore[arg-type]
    killed = 0
    for position, (incarnation, numbers) in enumerate(SENT):
        send(queue, incarnation, *numbers)
        if one_by_one or position == len(SENT) - 1:
            try:
                read(inbox)
            except Killed:
                killed += 1
                memory.writes_left = 1 << 30
                inbox = Inbox(queue, memory, take)  # type: ignore[arg-type]
                read(inbox)
    sent = [(incarnation, number) for incarnation, numbers in SENT for number in numbers]
    lost = [message for message in sent if message not in begun]
    assert begun == [message for message in sent if message in begun]  # in order, and none twice
    assert len(lost) <= killed <= 1, (lost, memory[MARK_INCARNATION], memory[MARK_NUMBER])
    assert memory[RECEIVED] == len(sent) - len(lost)


def take_nothing(*_taken: object) -> None:
    """Be given a message that should have been refused."""
    raise AssertionError


@pytest.mark.parametrize("read", [read_all, wait_and_read])
def test_what_another_user_sends_is_refused(
    queue: socket.socket, read: Callable[[Inbox], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)  # then we are the stranger
    words = memoryview(bytearray(512)).cast("Q")
    inbox = Inbox(queue, words, take_nothing)
    for number in (1, 2):
        send(queue, 7, number)
        read(inbox)
        assert words[REFUSED] == number


@pytest.mark.parametrize("read", [read_all, wait_and_read])
def test_what_is_too_long_is_refused(queue: socket.socket, read: Callable[[Inbox], None]) -> None:
    frame = wire.frame(values.BYTES, wire.MESSAGE, 1, bytes(wire.INLINE))
    words = memoryview(bytearray(512)).cast("Q")
    inbox = Inbox(queue, words, take_nothing)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        for number in (1, 2):
            sock.sendto(wire.header(0, 7) + frame + b"1", queue.getsockname())
            read(inbox)
            assert words[REFUSED] == number


def test_a_handler_that_waits_reads_on(queue: socket.socket) -> None:
    begun: list[int] = []

    def take(_slot: int, _incarnation: int, frame: wire.Frame, _fds: list[int]) -> None:
        begun.append(frame[3])
        if frame[3] in (2, 5):
            inbox.read(2 if frame[3] == 2 else 1 << 30)
        begun.append(-frame[3])

    inbox = Inbox(queue, memoryview(bytearray(512)).cast("Q"), take)
    send(queue, 7, 1)
    wait_and_read(inbox)
    send(queue, 7, 2)
    send(queue, 7, 3)
    send(queue, 8, 4, 5, 6)
    send(queue, 7, 7)
    wait_and_read(inbox)
    assert begun == [1, -1, 2, 3, -3, 4, -4, -2, 5, 6, -6, 7, -7, -5]


def datagrams() -> st.SearchStrategy[bytes]:
    """Datagrams: of one message, of several, with bytes cut off or changed, and of anything."""
    value = st.integers(0, 1000).map(lambda number: str(number).encode())
    frame = st.builds(
        wire.frame,
        st.integers(0, 3),
        st.integers(0, 4),
        st.integers(1, 1 << 40),
        value,
        st.sampled_from([0, 0, 0, wire.IN_MEMFD, 2]),
    )
    whole = st.builds(
        lambda incarnation, frames: wire.header(3, incarnation) + b"".join(frames),
        st.integers(7, 9),
        st.lists(frame, min_size=1, max_size=3),
    )
    cut = st.builds(lambda data, size: data[:-size], whole, st.integers(1, 40))
    longer = st.builds(lambda data, more: data + more, whole, st.binary(min_size=1, max_size=40))
    changed = st.builds(
        lambda data, at, byte: data[:at] + bytes([byte]) + data[at + 1 :],
        whole,
        st.integers(0, 31),
        st.integers(0, 255),
    )
    return st.one_of(whole, cut, longer, changed, st.binary(max_size=80))


@given(st.lists(datagrams(), max_size=12))
def test_both_ways_to_read_take_the_same(sent: list[bytes]) -> None:
    found = []
    for read in (read_all, wait_and_read):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        words = memoryview(bytearray(512)).cast("Q")
        taken: list[object] = []

        def take(
            slot: int, incarnation: int, frame: wire.Frame, fds: list[int], taken: list[object] = taken
        ) -> None:
            taken.append((slot, incarnation, frame[:4], bytes(frame[4]), fds))

        with ours, theirs:
            inbox = Inbox(ours, words, take)
            for data in sent:
                theirs.send(data)
                read(inbox)
        found.append((taken, words.tolist()))
    assert found[0] == found[1]
