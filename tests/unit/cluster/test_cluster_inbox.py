"""Reading a worker's queue, and the mark that a killed worker leaves behind at each moment of it."""

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svc.cluster.bus import values, wire
from svc.cluster.bus.inbox import Inbox
from svc.cluster.bus.plain import PlainPost
from svc.cluster.bus.receivers import Receivers
from svc.cluster.errors import QueueFull
from svc.cluster.scoreboard import MARK_INCARNATION, MARK_NUMBER, RECEIVED, REFUSED, Record


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


def test_who_asked_a_worker_that_was_killed_in_the_handler_learns_of_it_at_once(queue: socket.socket) -> None:
    held: list[int] = []

    def take(_slot: int, _incarnation: int, _frame: wire.Frame, fds: list[int]) -> None:
        held.extend(fds)
        raise Killed

    inbox = Inbox(queue, memoryview(bytearray(512)).cast("Q"), take)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    request = wire.header(0, 7) + wire.frame(values.JSON, wire.REQUEST, 1, b"1")
    with ours, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(queue.getsockname())
        with theirs:
            socket.send_fds(sock, [request], [theirs.fileno()])
        with pytest.raises(Killed):
            wait_and_read(inbox)
        for fd in held:
            os.close(fd)  # as the kernel does for whoever is killed
        ours.settimeout(10)
        assert ours.recv(1) == b""


@pytest.fixture
def post(tmp_path: Path) -> Iterator[tuple[PlainPost, list[socket.socket]]]:
    """What worker 0 of three sends with, and the queues; that of worker 1 is full. All live."""
    records = [Record(tmp_path, slot, "") for slot in range(3)]
    queues: list[socket.socket] = []
    for slot in range(3):
        queues.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        queues[-1].bind(str(tmp_path / str(slot)))
        queues[-1].settimeout(10)
    post = PlainPost(tmp_path, wire.header(0, 7), Receivers(3, records[0]), records[0])
    with contextlib.suppress(QueueFull):
        while True:
            post.send(1, "x", 0)
    yield post, queues
    post.close()
    for record, queue in zip(records, queues, strict=True):
        record.close()
        queue.close()


def test_a_plain_broadcast_does_not_wait_for_a_full_queue_while_others_have_room(
    post: tuple[PlainPost, list[socket.socket]],
) -> None:
    sender, queues = post
    thread = threading.Thread(target=sender.broadcast, args=("hello", False, 60))
    thread.start()
    try:
        assert queues[2].recv(wire.LIMIT).endswith(b'"hello"')
    finally:
        while thread.is_alive():
            queues[1].recv(wire.LIMIT)
            thread.join(0.01)


def test_who_is_hopeless_is_not_waited_for(post: tuple[PlainPost, list[socket.socket]]) -> None:
    sender, queues = post
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(sender.broadcast_encoded, *values.encode("hello"), False, 60, hopeless=(1,))
        try:
            with pytest.raises(QueueFull) as caught:
                told.result(10)
        finally:
            queues[1].recv(wire.LIMIT)
    assert caught.value.slots == (1,)
    assert queues[2].recv(wire.LIMIT).endswith(b'"hello"')
    sender.broadcast_encoded(*values.encode("there is room"), False, 60, hopeless=(1,))
    assert queues[2].recv(wire.LIMIT).endswith(b'"there is room"')
